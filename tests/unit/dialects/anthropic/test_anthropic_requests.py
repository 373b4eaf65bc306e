"""Bodies of /v1/messages -> what is asked; what is refused is in tests/paths/test_anthropic.py, with its status."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.dialects.anthropic import requests
from corral.dialects.openai.requests import encode
from corral.domain.chat import ChatRequest, Choice, Format, Think, ToolChoice
from corral.domain.errors import BadRequest

PNG = "iVBORw0KGgoAAAAA"
TOOLS = [
    {"name": name, "description": "d", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}
    for name in ("a", "b")
]
OPENAI_TOOLS = [
    {"type": "function", "function": {"name": name, "description": "d", "parameters": {"type": "object"}}}
    for name in ("a", "b")
]


def read(**fields: Any) -> requests.Asked:
    body = {"max_tokens": 9, "messages": [{"role": "user", "content": "hello"}], **fields}
    return requests.messages(json.dumps(body).encode())


def chat_of(body: bytes) -> ChatRequest:
    return requests.messages(body).chat


def sent(extensions: bool = False, **fields: Any) -> dict[str, Any]:
    """As an engine gets it."""
    made: dict[str, Any] = json.loads(encode(read(**fields).chat, "m", extensions=extensions))
    return made


def turns(*blocks: dict[str, Any], role: str = "user") -> list[dict[str, Any]]:
    """The messages that a message of these blocks becomes."""
    said: list[dict[str, Any]] = sent(messages=[{"role": role, "content": list(blocks)}])["messages"]
    return said


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


def test_the_fields_of_sampling_and_what_is_passed_over() -> None:
    asked = sent(
        temperature=0, top_p=0.5, top_k=3, stop_sequences=["x"], stream=True, metadata={"user_id": "u"},
        service_tier="auto", container="c", mcp_servers=[], context_management={}, cache_control={"type": "ephemeral"},
    )  # fmt: skip
    assert asked == {
        "model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 9, "temperature": 0,
        "top_p": 0.5, "top_k": 3, "stop": ["x"], "stream": True, "stream_options": {"include_usage": True},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("system", "told"),
    [
        ("Be kind.", "Be kind."),
        ([text("Be kind.", cache_control={"type": "ephemeral"}), text("And short.")], "Be kind.\nAnd short."),
        ([text("x-anthropic-billing-header: cc_version=1; cch=0a;"), text("Be kind.")], "Be kind."),
        ("x-anthropic-billing-header: cc_version=1;\n\nBe kind.", "Be kind."),
        ("Say x-anthropic-billing-header: 1", "Say x-anthropic-billing-header: 1"),
        ("x-anthropic-billing-header: cc_version=1;", None),
        ([], None),
        (None, None),
    ],
)
def test_the_system_prompt(system: Any, told: str | None) -> None:
    first = sent(system=system)["messages"][0]
    assert first == ({"role": "user", "content": "hello"} if told is None else {"role": "system", "content": told})


def test_a_message_of_the_system_in_the_middle() -> None:
    said = [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}, {"role": "user", "content": "c"}]
    words = "a\n\n<system-reminder>\nb\n</system-reminder>\n\nc"  # templates raise for a system that is not the first
    assert sent(messages=said)["messages"] == [{"role": "user", "content": words}]


def test_blocks_of_a_user() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": PNG}}
    by_url = {"type": "image", "source": {"type": "url", "url": "https://a/b.png"}}
    assert turns(text("a"), text("b", cache_control={"type": "ephemeral"})) == [{"role": "user", "content": "a\nb"}]
    content = turns(text("a"), image, by_url)[0]["content"]
    assert content == [
        {"type": "text", "text": "a"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},  # what it is, not what is said
        {"type": "image_url", "image_url": {"url": "https://a/b.png"}},
    ]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ({"type": "text", "media_type": "text/plain", "data": "words"}, "title\ncontext\nwords\nask"),
        ({"type": "content", "content": "words"}, "title\ncontext\nwords\nask"),
        ({"type": "content", "content": [text("some"), text("words")]}, "title\ncontext\nsome\nwords\nask"),
    ],
)
def test_documents(source: dict[str, Any], told: str) -> None:
    document = {"type": "document", "source": source, "title": "title", "context": "context", "citations": {}}
    assert turns(document, text("ask")) == [{"role": "user", "content": told}]


def test_what_was_found() -> None:
    found = {"type": "search_result", "source": "https://a", "title": "A", "content": [text("x"), text("y")]}
    assert turns(found) == [{"role": "user", "content": "A\nhttps://a\nx\ny"}]


CALL = {"type": "tool_use", "id": "c1", "name": "a", "input": {"n": 1}}


def after_a_call(*blocks: dict[str, Any]) -> list[dict[str, Any]]:
    said = [{"role": "assistant", "content": [CALL]}, {"role": "user", "content": list(blocks)}]
    told: list[dict[str, Any]] = sent(messages=said)["messages"][1:]
    return told


def test_a_turn_of_the_assistant() -> None:
    blocks = (
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"type": "web_search_result"}]},
        text("I look."),
        CALL,
    )
    assert turns(*blocks, role="assistant") == [
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "a", "arguments": '{"n": 1}'}}],
            "reasoning_content": "hm",
        }
    ]


def test_a_turn_of_thoughts_alone() -> None:
    said = turns({"type": "thinking", "thinking": "hm", "signature": "s"}, role="assistant")
    assert said == [{"role": "assistant", "content": "", "reasoning_content": "hm"}]


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ({"content": "sunny"}, "sunny"),
        ({"content": [text("sun"), text("ny")]}, "sun\nny"),
        ({}, ""),
        ({"content": "gone", "is_error": True}, "Error:\ngone"),
        ({"is_error": True}, "Error:"),
        ({"content": [{"type": "tool_reference", "tool_name": "b"}]}, "b"),
    ],
)
def test_results(result: dict[str, Any], told: str) -> None:
    block = {"type": "tool_result", "tool_use_id": "c1", **result}
    one = {"role": "tool", "tool_call_id": "c1", "name": CALL["name"], "content": told}  # some templates want the name
    assert after_a_call(block) == [one]
    assert after_a_call(block, text("and?")) == [one, {"role": "user", "content": "and?"}]


def test_a_result_with_an_image() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    block = {"type": "tool_result", "tool_use_id": "c1", "content": [text("see"), image]}
    url = {"url": f"data:image/png;base64,{PNG}"}
    content = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": url}]
    assert after_a_call(block) == [{"role": "tool", "tool_call_id": "c1", "name": CALL["name"], "content": content}]


@pytest.mark.parametrize(
    ("choice", "kind", "parallel"),
    [
        (None, None, None),
        ({"type": "auto"}, ToolChoice(Choice.AUTO), None),
        ({"type": "auto", "disable_parallel_tool_use": True}, ToolChoice(Choice.AUTO), False),
        ({"type": "any", "disable_parallel_tool_use": False}, ToolChoice(Choice.REQUIRED), None),
        ({"type": "tool", "name": "b", "disable_parallel_tool_use": True}, ToolChoice(Choice.NAMED, "b"), False),
        ({"type": "none"}, ToolChoice(Choice.NONE), None),
    ],
)
def test_choices(choice: Any, kind: ToolChoice | None, parallel: bool | None) -> None:
    chat = read(tools=TOOLS, tool_choice=choice).chat
    assert (chat.tool_choice, chat.parallel_tool_calls) == (kind, parallel)


def test_a_named_tool_is_all_that_llama_cpp_is_offered() -> None:
    """It takes a name for `required`."""
    choice = {"type": "tool", "name": "b"}
    plain, llama = sent(tools=TOOLS, tool_choice=choice), sent(True, tools=TOOLS, tool_choice=choice)
    assert plain["tools"] == OPENAI_TOOLS
    assert plain["tool_choice"] == {"type": "function", "function": {"name": "b"}}
    assert (llama["tools"], llama["tool_choice"]) == (OPENAI_TOOLS[1:], "required")


def test_a_thousand_tools() -> None:
    tools = [{**TOOLS[0], "name": f"tool_{number}"} for number in range(1000)]
    assert len(sent(tools=tools)["tools"]) == 1000


@pytest.mark.parametrize(
    ("fields", "think", "extra"),
    [
        ({}, None, {}),
        ({"thinking": {"type": "disabled"}}, Think(False), {}),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, Think(True, None, 1024), {}),
        ({"thinking": {"type": "adaptive"}}, Think(True), {}),
        ({"thinking": {"type": "between_tools"}}, Think(True), {}),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, Think(True, "max"), {}),
        ({"output_config": {"effort": "low"}}, None, {"reasoning_effort": "low"}),
        ({"output_config": {"effort": "xhigh"}}, None, {"reasoning_effort": "xhigh"}),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}}, Think(False), {}),
    ],
)
def test_thinking(fields: dict[str, Any], think: Think | None, extra: dict[str, Any]) -> None:
    chat = read(**fields).chat
    assert (chat.think, chat.extra) == (think, extra)


def test_thinking_off_is_said_in_all_the_ways_that_engines_know() -> None:
    asked = sent(True, thinking={"type": "disabled"})
    assert asked["chat_template_kwargs"] == {"enable_thinking": False}
    assert asked["reasoning_effort"] == "none"
    budget = sent(True, thinking={"type": "enabled", "budget_tokens": 7})
    assert budget["thinking_budget_tokens"] == 7


@pytest.mark.parametrize("name", ["output_config", "output_format"])
def test_structured_output(name: str) -> None:
    form = {"type": "json_schema", "schema": {"type": "object"}}
    found = read(**{name: form if name == "output_format" else {"format": form}}).chat.format
    assert isinstance(found, Format) and json.loads(bytes(found.schema or b"")) == {"type": "object"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
WORDS = st.text(max_size=9)
KINDS = ["text", "image", "document", "thinking", "tool_use", "tool_result", "search_result", "x"]
SOURCE = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "base64", "url", "content"])},
    optional={"data": WORDS, "url": WORDS, "content": JSON},
)
TEXTS = st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": WORDS}), max_size=3)
BLOCK = st.fixed_dictionaries(
    {"type": st.sampled_from(KINDS)},
    optional={
        "text": WORDS | JSON,
        "source": JSON | SOURCE,
        "thinking": WORDS | JSON,
        "id": st.just("c1"),
        "tool_use_id": st.just("c1"),
        "name": st.just("a"),
        "input": JSON,
        "content": JSON | TEXTS,
        "is_error": JSON,
    },
)
ROLES = ["user", "assistant", "system", "tool"]
MESSAGE = st.fixed_dictionaries({"role": st.sampled_from(ROLES), "content": WORDS | st.lists(BLOCK, max_size=4)})
CHOICES: list[Any] = [{"type": "any"}, {"type": "tool", "name": "a"}, {"type": "tool", "name": "x"}]
BODY = st.fixed_dictionaries(
    {"max_tokens": st.integers(-1, 3) | JSON, "messages": st.lists(MESSAGE, max_size=4) | JSON},
    optional={
        "system": JSON,
        "tools": st.just(TOOLS) | JSON,
        "thinking": JSON,
        "stream": st.booleans() | JSON,
        "tool_choice": st.sampled_from(CHOICES) | JSON,
        "stop_sequences": st.lists(WORDS) | JSON,
        "output_config": JSON,
        "zork": JSON,
    },
)


@settings(max_examples=300, deadline=None, database=None)
@given(BODY)
def test_any_body_is_refused_in_words_or_can_be_sent_on(body: dict[str, Any]) -> None:
    data = json.dumps(body).encode()
    for read_it in (chat_of, requests.count):
        try:
            chat = read_it(data)
        except BadRequest as error:
            said = error.sentence()
        else:
            said = json.loads(encode(chat, "m", extensions=True))["messages"][0]["role"]
        assert said


@settings(max_examples=200, deadline=None, database=None)
@given(st.binary(max_size=60))
def test_any_bytes(data: bytes) -> None:
    with pytest.raises(BadRequest):
        requests.messages(data)
