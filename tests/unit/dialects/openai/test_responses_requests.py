"""Bodies of /v1/responses -> what an engine is asked; what is refused is in tests/paths/test_responses.py."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from corral.dialects.openai.requests import encode
from corral.dialects.openai.responses_requests import ResponseRequest, response

USER = {"role": "user", "content": "hello"}
FUNCTIONS: list[dict[str, Any]] = [
    {"type": "function", "name": name, "description": "d", "parameters": {"type": "object"}, "strict": True}
    for name in ("a", "b")
]
TOOLS = [
    {
        "type": "function",
        "function": {"name": name, "description": "d", "parameters": {"type": "object"}, "strict": True},
    }
    for name in ("a", "b")
]
SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}}}


def read(**fields: Any) -> ResponseRequest:
    return response(json.dumps({"model": "m", "input": "hello", **fields}).encode())


def sent(extensions: bool = False, **fields: Any) -> dict[str, Any]:
    """As an engine gets it."""
    made: dict[str, Any] = json.loads(encode(read(**fields).chat, "m", extensions=extensions))
    return made


def text(words: str, kind: str = "input_text") -> dict[str, str]:
    return {"type": kind, "text": words}


CALL = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "a", "arguments": '{"x":1}', "status": "x"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "4"}
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [], "content": [text("Hm.", "reasoning_text")]}
SAID = {"type": "message", "id": "msg_1", "role": "assistant", "content": [text("Hi.", "output_text")]}
CALLED = {"id": "c1", "type": "function", "function": {"name": "a", "arguments": '{"x":1}'}}
RESULT = {"role": "tool", "tool_call_id": "c1", "name": "a", "content": "4"}


@pytest.mark.parametrize(
    ("fields", "messages"),
    [
        ({"input": "hello"}, [USER]),
        ({"input": [{"type": "message", **USER}]}, [USER]),
        ({"input": [{"role": "user", "content": [text("hel"), text("lo")]}]}, [USER]),
        ({"instructions": "Be kind."}, [{"role": "system", "content": "Be kind."}, USER]),
        (  # whoever says what goes for all says it in one message
            {
                "instructions": "Be kind.",
                "input": [{"role": "developer", "content": "Be short."}, {"role": "system", "content": "."}, USER],
            },
            [{"role": "system", "content": "Be kind.\n\nBe short.\n\n."}, USER],
        ),
        (  # the items of one turn are one message
            {"input": [USER, THOUGHT, SAID, CALL, OUTPUT]},
            [
                USER,
                {"role": "assistant", "content": "Hi.", "reasoning_content": "Hm.", "tool_calls": [CALLED]},
                RESULT,
            ],
        ),
        ({"input": [CALL, OUTPUT, CALL | {"call_id": "c2"}, OUTPUT | {"call_id": "c2"}]}, [
            {"role": "assistant", "content": None, "tool_calls": [CALLED]}, RESULT,
            {"role": "assistant", "content": None, "tool_calls": [CALLED | {"id": "c2"}]},
            RESULT | {"tool_call_id": "c2"},
        ]),
        (  # what another server has encrypted says nothing here
            {"input": [{"type": "reasoning", "summary": [], "encrypted_content": "gAAA"}, SAID, USER]},
            [{"role": "assistant", "content": "Hi."}, USER],
        ),
        (
            {"input": [{"type": "reasoning", "summary": [text("Short.", "summary_text")]}, SAID, USER]},
            [{"role": "assistant", "content": "Hi.", "reasoning_content": "Short."}, USER],
        ),
    ],
)  # fmt: skip
def test_what_was_said(fields: dict[str, Any], messages: list[dict[str, Any]]) -> None:
    assert sent(**fields)["messages"] == messages


@pytest.mark.parametrize(
    ("part", "told"),
    [
        (
            {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "high"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        ),
        (
            {"type": "input_image", "image_url": "https://a/b.png"},
            {"type": "image_url", "image_url": {"url": "https://a/b.png"}},
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
        ),
        (
            {"type": "input_file", "filename": "a.png", "file_data": "data:image/png;base64,AAAA"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        ),
    ],
)
def test_what_is_shown(part: dict[str, Any], told: dict[str, Any]) -> None:
    told_text = {"type": "text", "text": "look"}
    asked = sent(input=[{"role": "user", "content": [text("look"), part]}])
    assert asked["messages"] == [{"role": "user", "content": [told_text, told]}]
    asked = sent(input=[CALL, OUTPUT | {"output": [text("look"), part]}])  # a tool may show something too
    assert asked["messages"][1] == RESULT | {"content": [told_text, told]}


@pytest.mark.parametrize("kind", ["text/plain", "text/csv;charset=utf-8", "application/json"])
def test_a_file_of_text_is_text(kind: str) -> None:
    part = {"type": "input_file", "filename": "a.txt", "file_data": f"data:{kind};base64,R3LDvMOf"}
    asked = sent(input=[{"role": "user", "content": [part]}])
    assert asked["messages"] == [{"role": "user", "content": "a.txt:\n\nGrüß"}]


@pytest.mark.parametrize(
    ("choice", "tools", "told"),
    [
        (None, "ab", None),
        ("auto", "ab", "auto"),
        ("none", "ab", "none"),
        ("required", "ab", "required"),
        ({"type": "function", "name": "b"}, "ab", {"type": "function", "function": {"name": "b"}}),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "b"}]}, "b", "auto"),
        ({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "a"}]}, "a", "required"),
    ],
)
def test_tools(choice: Any, tools: str, told: Any) -> None:
    asked = sent(tools=[{"type": "web_search"}, *FUNCTIONS], tool_choice=choice, parallel_tool_calls=False)
    assert asked["tools"] == [tool for tool in TOOLS if tool["function"]["name"] in tools]  # type: ignore[index]
    assert asked.get("tool_choice") == told and asked["parallel_tool_calls"] is False


def test_a_named_tool_is_all_that_llama_cpp_is_offered() -> None:
    asked = sent(True, tools=FUNCTIONS, tool_choice={"type": "function", "name": "b"})
    assert (asked["tools"], asked["tool_choice"]) == (TOOLS[1:], "required")


@pytest.mark.parametrize("effort", ["minimal", "low", "medium", "high", "xhigh", "max"])
def test_effort(effort: str) -> None:
    assert sent(reasoning={"effort": effort, "summary": "auto"})["reasoning_effort"] == effort
    asked = sent(True, reasoning={"effort": effort})
    assert asked["chat_template_kwargs"] == {"enable_thinking": True, "reasoning_effort": effort}


def test_no_reasoning() -> None:
    assert sent(reasoning={"effort": "none"})["reasoning_effort"] == "none"
    assert sent(True, reasoning={"effort": "none"})["chat_template_kwargs"] == {"enable_thinking": False}
    for unsaid in (None, {}, {"effort": None, "summary": "auto"}):
        assert "reasoning_effort" not in sent(True, reasoning=unsaid)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (None, None),
        ({"verbosity": "low"}, None),
        ({"format": {"type": "text"}}, None),
        ({"format": {"type": "json_object"}}, {"type": "json_object"}),
        (
            {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}},
            {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
        ),
    ],
)
def test_formats(given: dict[str, Any] | None, told: dict[str, Any] | None) -> None:
    assert sent(text=given).get("response_format") == told


def test_other_fields() -> None:
    """What has another name gets it, what is OpenAI's own goes nowhere, and what is the engine's goes to it."""
    asked = sent(
        stream=True, max_output_tokens=5, temperature=0, top_p=0.5, user="u", seed=0, top_k=3, store=True,
        metadata={"a": "b"}, include=["reasoning.encrypted_content"], truncation="auto", service_tier="auto",
        prompt_cache_key="k", safety_identifier="s", stream_options={"include_obfuscation": False}, max_tool_calls=3,
        chat_template_kwargs={"x": 1},
    )  # fmt: skip
    assert asked == {
        "model": "m", "messages": [USER], "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 5,
        "temperature": 0, "top_p": 0.5, "user": "u", "seed": 0, "top_k": 3, "chat_template_kwargs": {"x": 1},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "most"),
    [({"top_logprobs": 3}, 3), ({"include": ["message.output_text.logprobs"]}, 0)],
)
def test_log_probabilities(fields: dict[str, Any], most: int) -> None:
    asked = sent(**fields)
    assert (asked["logprobs"], asked["top_logprobs"]) == (True, most)


def test_what_the_answer_repeats() -> None:
    """Of tools only those that the model was offered; of what is not kept here that it is not."""
    said = {"effort": "low", "summary": "auto"}
    fields: dict[str, Any] = {
        "instructions": "Be kind.", "metadata": {"a": "b"}, "reasoning": said, "temperature": 0.0, "store": True,
        "text": {"format": {"type": "json_object"}}, "tool_choice": {"type": "function", "name": "a"},
    }  # fmt: skip
    echo = json.loads(msgspec.json.encode(read(**fields, tools=[{"type": "web_search"}, *FUNCTIONS]).echo))
    assert {name: echo[name] for name in fields} == {**fields, "store": False}
    assert [tool["name"] for tool in echo["tools"]] == ["a", "b"]
    plain = json.loads(msgspec.json.encode(read().echo))
    assert (plain["tool_choice"], plain["text"]) == ("auto", {"format": {"type": "text"}})
