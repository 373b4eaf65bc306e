"""Bodies of /api/chat, /api/generate and /api/embed: what they ask for, and what is wrong with them."""

from __future__ import annotations

import contextlib
import json
import math
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.dialects.ollama.context import text_of, told
from corral.dialects.ollama.embed import embed, embeddings
from corral.dialects.ollama.generate import generate
from corral.dialects.ollama.requests import chat
from corral.domain.chat import ChatRequest, Media, MediaKind, Role, Text, Think, Thinking, ToolCall, ToolResult
from corral.domain.completion import CompletionRequest
from corral.domain.embed import EmbedRequest
from corral.domain.errors import BadRequest
from corral.domain.facts import NOTHING, ModelFacts

ALL = ModelFacts(task="chat", capabilities=("chat", "completion", "tools", "reasoning", "infill", "vision", "audio"))
PLAIN = ModelFacts(task="chat", capabilities=("chat", "completion"))
BASE = ModelFacts(task="completion", capabilities=("completion",))
VECTORS = ModelFacts(task="embeddings", capabilities=("embeddings",))
PNG = b64encode(b"\x89PNG\r\n\x1a\n" + bytes(16)).decode()
WAV = b64encode(b"RIFF\0\0\0\0WAVE" + bytes(12)).decode()
READERS: list[Callable[[bytes, str, ModelFacts], Any]] = [chat, generate, embed, embeddings]


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", **fields}).encode()


def chatting(facts: ModelFacts = ALL, **fields: Any) -> ChatRequest:
    request, _ = chat(body(**{"messages": [{"role": "user", "content": "hi"}], **fields}), "m", facts)
    assert request is not None
    return request


def generating(facts: ModelFacts = ALL, **fields: Any) -> ChatRequest | CompletionRequest:
    request, _, _ = generate(body(**{"prompt": "hi", **fields}), "m", facts)
    assert request is not None
    return request


# --- chat ---


def test_a_stream_is_the_default() -> None:
    assert chatting().stream and chatting(stream=True).stream and not chatting(stream=False).stream
    assert chatting(stream=None).stream and generating().stream and not generating(stream=False).stream


def test_a_conversation_with_everything() -> None:
    call = {"function": {"name": "add", "arguments": {"a": 1}}}
    request = chatting(
        messages=[
            {"role": "System", "content": "Be."},
            {"role": "user", "content": "see", "images": [PNG, WAV]},
            {"role": "assistant", "content": "", "thinking": "Hm", "tool_calls": [call, {**call, "id": "x"}]},
            {"role": "tool", "tool_name": "add", "content": "1"},
            {"role": "tool", "tool_call_id": "x", "content": "2"},
        ]
    )
    system, user, assistant, first, second = request.messages
    assert system.role is Role.SYSTEM and system.parts == (Text("Be."),)
    assert [part.kind for part in user.parts if isinstance(part, Media)] == [MediaKind.IMAGE, MediaKind.AUDIO]
    assert assistant.parts[0] == Thinking("Hm")
    calls = [part for part in assistant.parts if isinstance(part, ToolCall)]
    assert [json.loads(each.arguments) for each in calls] == [{"a": 1}, {"a": 1}] and calls[1].id == "x"
    assert first.parts == (ToolResult(calls[0].id, (Text("1"),), "add"),)
    assert second.parts == (ToolResult("x", (Text("2"),), "add"),)


def test_results_belong_to_the_call_that_they_name() -> None:
    """An earlier translator made ids of the message's number, which never were those of the calls."""
    calls: list[dict[str, Any]] = [{"function": {"name": name, "arguments": {}}} for name in ("a", "b", "a")]
    results = [{"role": "tool", "tool_name": name, "content": name} for name in ("b", "a", "a")]
    request = chatting(messages=[{"role": "assistant", "content": "", "tool_calls": calls}, *results])
    made = [part.id for part in request.messages[0].parts if isinstance(part, ToolCall)]
    told = [part.call_id for each in request.messages[1:] for part in each.parts if isinstance(part, ToolResult)]
    assert len(set(made)) == 3 and told == [made[1], made[0], made[2]]


def test_a_result_may_be_a_picture() -> None:
    result = {"role": "tool", "tool_name": "look", "content": "there:", "images": [PNG]}
    (part,) = chatting(messages=[result]).messages[0].parts
    assert isinstance(part, ToolResult)
    assert part.parts == (Text("there:"), Media(MediaKind.IMAGE, "image/png", PNG))
    with pytest.raises(BadRequest, match="vision"):
        chatting(PLAIN, messages=[result])


def test_results_without_calls_pass_as_they_are() -> None:
    request = chatting(messages=[{"role": "tool", "tool_name": "f", "content": ""}, {"role": "tool", "content": "x"}])
    assert [part for each in request.messages for part in each.parts] == [
        ToolResult("", (Text(""),), "f"),
        ToolResult("", (Text("x"),), ""),
    ]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [({"a": [1]}, {"a": [1]}), ('{"a": 2}', {"a": 2}), (None, {}), ({"n": 10**40}, {"n": 10**40})],
)
def test_arguments_are_an_object(arguments: Any, text: Any) -> None:
    called = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}
    part = chatting(messages=[called]).messages[0].parts[0]
    assert isinstance(part, ToolCall) and json.loads(part.arguments) == text


@pytest.mark.parametrize(
    ("think", "meant"),
    [
        (True, Think(True)), (False, Think(False)), (None, None), ("", None), ("low", Think(True, "low")),
        ("medium", Think(True, "medium")), ("high", Think(True, "high")), ("max", Think(True, "max")),
    ],
)  # fmt: skip
def test_think_in_all_its_forms(think: Any, meant: Think | None) -> None:
    assert chatting(think=think).think == meant
    told = generating(think=think)
    assert isinstance(told, ChatRequest) and told.think == meant


def test_null_says_nothing_wherever_a_field_may_be_left_out() -> None:
    """Clients in languages with null write what they leave out."""
    nothing: dict[str, Any] = dict.fromkeys(("thinking", "images", "tool_calls", "tool_name", "tool_call_id"))
    called = {"id": None, "type": None, "function": {"name": "f", "arguments": None, "index": 0}}
    tool = {"type": None, "function": {"name": "f", "description": None, "parameters": None}}
    turns = [
        {"role": "user", "content": "hi", **nothing},
        {"role": "assistant", "content": None, **nothing, "tool_calls": [called]},
        {"role": "tool", "content": "6", **nothing},
    ]
    fields = ("model", "stream", "format", "options", "keep_alive", "think", "truncate", "logprobs", "top_logprobs")
    unsaid: dict[str, Any] = dict.fromkeys(fields)
    asked = chatting(messages=turns, tools=[tool], **unsaid)
    assert asked == chatting(
        messages=[turns[0] | {"images": []}, {"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]},
                  {"role": "tool", "content": "6"}],
        tools=[{"type": "function", "function": {"name": "f"}}],
    )  # fmt: skip
    prompt: dict[str, Any] = dict.fromkeys(("suffix", "system", "template", "context", "raw", "images", *fields))
    assert generating(**prompt) == generating()
    given_ = dict.fromkeys(("model", "truncate", "dimensions", "options", "keep_alive"))
    assert embed(body(input="a", **given_), "m", VECTORS) == embed(body(input="a"), "m", VECTORS)


def test_format_and_logprobs() -> None:
    schema = {"type": "object", "required": ["a"]}
    wanted = chatting(format=schema).format
    assert wanted is not None and wanted.schema is not None and json.loads(bytes(wanted.schema)) == schema
    plain = chatting(format="json").format
    assert plain is not None and plain.schema is None
    assert chatting(format="").format is None and chatting(format=None).format is None
    assert chatting(logprobs=True, top_logprobs=3).extra == {"logprobs": True, "top_logprobs": 3}
    assert chatting(logprobs=True).extra == {"logprobs": True} and chatting(top_logprobs=3).extra == {}


def test_no_messages_and_no_prompt_ask_for_nothing_but_the_load() -> None:
    for asked in (chat(body(messages=[]), "m", ALL), chat(body(), "m", ALL), generate(body(prompt=""), "m", ALL)):
        assert asked[0] is None and not asked[1].unloads
    request, stays, _ = generate(body(keep_alive=0), "m", ALL)
    assert request is None and stays.unloads
    _, stays = chat(body(keep_alive="-1m", options={"num_ctx": 4096, "numa": True}), "m", ALL)
    assert stays.keep_s == math.inf and stays.load_options == {"ctx_size": 4096}
    assert stays.unknown_options == ("numa",)


def test_a_thousand_tools() -> None:
    tools = [{"type": "function", "function": {"name": f"f{n}", "parameters": {"type": "object"}}} for n in range(1000)]
    assert len(chatting(tools=tools).tools) == 1000


@pytest.mark.parametrize(
    ("facts", "fields", "words"),
    [
        (PLAIN, {"think": True}, '"m" does not support thinking'),
        (PLAIN, {"think": "high"}, '"m" does not support thinking'),
        (PLAIN, {"tools": [{"type": "function", "function": {"name": "f"}}]}, '"m" does not support tools'),
        (PLAIN, {"messages": [{"role": "user", "images": [PNG]}]}, '"m" does not support vision'),
        (PLAIN, {"messages": [{"role": "user", "images": [WAV]}]}, '"m" does not support audio'),
        (VECTORS, {}, '"m" does not support chat'),
    ],
)
def test_what_the_model_cannot(facts: ModelFacts, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequest) as error:
        chatting(facts, **fields)
    assert error.value.sentence() == words
    chatting(NOTHING, **fields)  # of which nothing is known, its engine is asked


def test_false_says_nothing_to_a_model_that_never_thinks() -> None:
    assert chatting(PLAIN, think=False).think is None and chatting(NOTHING, think=False).think == Think(False)


# --- generate ---


def test_a_prompt_is_one_turn() -> None:
    request = generating(system="Be.", images=[PNG], format="json", options={"stop": "x", "num_predict": 3})
    assert isinstance(request, ChatRequest)
    system, user = request.messages
    assert system.parts == (Text("Be."),) and user.parts[0] == Text("hi") and isinstance(user.parts[1], Media)
    assert (request.stop, request.max_tokens, request.format is not None) == (("x",), 3, True)


def test_what_is_continued_as_it_stands() -> None:
    raw = generating(raw=True, logprobs=True, top_logprobs=2, options={"top_k": 1})
    assert isinstance(raw, CompletionRequest)
    assert (raw.prompt, raw.suffix, raw.logprobs, raw.extra) == ("hi", None, 2, {"top_k": 1})
    between = generating(suffix="end")
    assert isinstance(between, CompletionRequest) and between.suffix == "end"
    written = generating(template="[{{ .System }}]{{ .Prompt }}", system="S")
    assert isinstance(written, CompletionRequest) and written.prompt == "[S]hi"
    base = generating(BASE, system="S")
    assert isinstance(base, CompletionRequest) and base.prompt == "S\n\nhi"


def earlier(facts: ModelFacts = ALL, **fields: Any) -> list[int]:
    """The `context` of an answer."""
    turns = generate(body(**{"prompt": "one", **fields}), "m", facts).turns
    assert turns is not None
    return told(turns, "1") or []


def test_a_prompt_goes_on_from_the_context_of_an_answer() -> None:
    request, _, turns = generate(body(prompt="two", context=earlier(system="S"), images=[PNG]), "m", ALL)
    assert isinstance(request, ChatRequest) and request.messages == turns and request.forgets
    said = [(each.role, text_of(each)) for each in request.messages]
    assert said == [(Role.SYSTEM, "S"), (Role.USER, "one"), (Role.ASSISTANT, "1"), (Role.USER, "two")]
    other = generating(context=earlier(system="S"), system="T", truncate=False)
    assert isinstance(other, ChatRequest) and not other.forgets
    assert [text_of(each) for each in other.messages] == ["T", "one", "1", "hi"]
    alone = generating()
    assert isinstance(alone, ChatRequest) and not alone.forgets


def test_a_text_goes_on_from_the_context_of_an_answer() -> None:
    request, _, turns = generate(body(prompt="two", context=earlier(BASE, system="S")), "m", BASE)
    assert isinstance(request, CompletionRequest) and request.prompt == "S\n\none1two"
    assert turns is not None and "".join(map(text_of, turns)) == request.prompt
    template = "[{{ .Prompt }}]"
    again = generating(prompt="two", context=earlier(template=template), template=template)
    assert isinstance(again, CompletionRequest) and again.prompt == "[one]1[two]"


def test_what_stands_alone_has_no_context() -> None:
    for fields in ({"raw": True}, {"suffix": "x"}, {"prompt": ""}):
        assert generate(body(**{"prompt": "hi", **fields}), "m", ALL).turns is None


@pytest.mark.parametrize(
    ("facts", "fields", "words"),
    [
        (ALL, {"raw": True, "system": "x"}, "raw mode does not support"),
        (ALL, {"raw": True, "template": "x"}, "raw mode does not support"),
        (ALL, {"context": [1, 2]}, "`context` is none that was given here"),
        (ALL, {"raw": True, "context": [1, 2]}, "raw mode does not support template, system, or context"),
        (ALL, {"suffix": "x", "context": [1, 2]}, "`suffix` goes with a prompt alone"),
        (ALL, {"suffix": "x", "system": "y"}, "`suffix` goes with a prompt alone"),
        (ALL, {"raw": True, "images": [PNG]}, "`images` go with"),
        (ALL, {"template": "{{ range }}"}, "`template`"),
        (PLAIN, {"suffix": "x"}, '"m" does not support insert'),
        (PLAIN, {"images": [PNG]}, '"m" does not support vision'),
        (PLAIN, {"think": True}, '"m" does not support thinking'),
        (PLAIN, {"think": True, "raw": True}, '"m" does not support thinking'),
        (VECTORS, {}, '"m" does not support generate'),
        (ALL, {"images": ["nonsense!"]}, "images: this is not base64"),
    ],
)
def test_what_cannot_be_generated(facts: ModelFacts, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequest) as error:
        generating(facts, **fields)
    assert words in error.value.sentence()


# --- embed ---


def test_texts() -> None:
    assert embed(body(input="a"), "m", VECTORS)[0] == EmbedRequest(inputs=("a",))
    assert embed(body(input=["a", ""], truncate=False, dimensions=8), "m", VECTORS)[0] == EmbedRequest(
        inputs=("a", ""), truncate=False, dimensions=8
    )
    assert embeddings(body(prompt="a"), "m", VECTORS)[0] == EmbedRequest(inputs=("a",), normalised=False)
    empty: tuple[dict[str, Any], ...] = ({}, {"input": None}, {"input": ""}, {"input": []})
    for nothing in empty:
        assert embed(body(**nothing), "m", VECTORS)[0] is None
    assert embeddings(body(), "m", VECTORS)[0] is None


@pytest.mark.parametrize("wrong", [3, {"a": 1}, ["a", 3], [["a"]], True])
def test_what_is_no_text(wrong: Any) -> None:
    with pytest.raises(BadRequest) as error:
        embed(body(input=wrong), "m", VECTORS)
    assert error.value.sentence() == "invalid input type"


def test_a_model_without_vectors() -> None:
    for read, field in ((embed, "input"), (embeddings, "prompt")):
        with pytest.raises(BadRequest, match='"m" does not support embeddings'):
            read(body(**{field: "a"}), "m", PLAIN)
        read(body(**{field: "a"}), "m", NOTHING)


# --- any of them ---


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    "wrong",
    [
        b"", b"[]", b"{", b'"x"', b'{"model": "m", "keep_alive": "soon"}', b'{"keep_alive": [1]}',
        b'{"options": [1]}', b'{"options": {"num_ctx": "x"}}', b'{"model": 3}', b'{"model": "m"} x',
        b'{"options": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)  # fmt: skip
def test_a_wrong_body(read: Any, wrong: bytes) -> None:
    with pytest.raises(BadRequest):
        read(wrong, "m", NOTHING)


@pytest.mark.parametrize("read", READERS)
def test_unknown_fields_are_passed_over(read: Any) -> None:
    read(body(whatever={"a": 1}, _debug_render_only=False), "m", NOTHING)


@pytest.mark.parametrize(
    "fields",
    [
        {"stream": "yes"}, {"stream": 1}, {"messages": {}}, {"messages": [3]}, {"messages": [{"content": "no role"}]},
        {"messages": [{"role": "wizard", "content": ""}]}, {"messages": [{"role": "user", "content": [1]}]},
        {"messages": [{"role": "user", "content": "x", "images": ["?"]}]},
        {"messages": [{"role": "user", "content": "x", "images": [b64encode(b"no image at all..").decode()]}]},
        {"messages": [{"role": "user", "content": "x", "images": ["A" * 4_000_001]}]},
        {"tools": [{"type": "retrieval", "function": {"name": "f"}}]}, {"tools": [{}]}, {"tools": {}},
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": 3}}]}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "\ud800"}}]}]},
        {"format": "yaml"}, {"format": 3}, {"think": "hard"}, {"think": 3}, {"logprobs": "x"}, {"top_logprobs": 21},
        {"top_logprobs": -1},
    ],
)  # fmt: skip
def test_a_wrong_field_of_a_chat(fields: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as error:
        chatting(**fields)
    assert len(error.value.sentence()) < 300


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["messages", "prompt", "input", "suffix", "system", "template", "context", "raw", "images", "options", "think",
     "format", "keep_alive", "tools", "stream", "logprobs", "top_logprobs", "dimensions", "truncate"]
)  # fmt: skip


@pytest.mark.parametrize("read", READERS)
@given(st.dictionaries(FIELDS, JSON, max_size=5))
def test_any_body_is_read_or_refused(read: Any, fields: dict[str, Any]) -> None:
    with contextlib.suppress(BadRequest):
        read(json.dumps(fields).encode(), "m", ALL)
