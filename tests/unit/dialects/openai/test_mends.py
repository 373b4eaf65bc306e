"""What is mended in chats that pass: nothing else, and nothing within a string."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.dialects.openai.mends import both_names, error, for_llama, in_both_names
from corral.dialects.openai.reading import refused
from corral.domain.errors import BadRequest

TOOLS = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("a", "b", "c")]
OFF = {"reasoning_effort": "none", "chat_template_kwargs": {"enable_thinking": False}}
SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}}}


def mended(**fields: Any) -> dict[str, Any]:
    """What became of the fields that are others now."""
    before = {"model": "m", "messages": [], **fields}
    after = json.loads(for_llama(json.dumps(before).encode()))
    assert {name for name in before if name not in after} == set()
    return {name: value for name, value in after.items() if before.get(name) != value}


def offered(**fields: Any) -> tuple[list[str], Any]:
    after = {"tools": TOOLS, **fields, **mended(tools=TOOLS, **fields)}
    return [tool["function"]["name"] for tool in after["tools"]], after["tool_choice"]


@pytest.mark.parametrize(("choice", "names", "mode"), [
    ({"type": "function", "function": {"name": "b"}}, "b", "required"),
    ({"type": "function", "name": "b"}, "b", "required"),
    ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": TOOLS[1:]}}, "bc", "auto"),
    ({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "c"}]}, "c", "required"),
    ("required", "abc", "required"), ("auto", "abc", "auto"),
])  # fmt: skip
def test_only_tools_that_may_be_called_are_offered(choice: Any, names: str, mode: str) -> None:
    assert offered(tool_choice=choice) == (list(names), mode)


@pytest.mark.parametrize(("given", "wanted"), [
    ({"reasoning": {"effort": "high"}}, {"reasoning_effort": "high"}),
    ({"reasoning": {"effort": "none"}}, {**OFF}),
    ({"reasoning": {"enabled": True, "max_tokens": 7}},
     {"chat_template_kwargs": {"enable_thinking": True}, "thinking_budget_tokens": 7}),
    ({"thinking": {"type": "disabled"}}, {**OFF}),
    ({"thinking": {"type": "enabled", "budget_tokens": 9}},
     {"chat_template_kwargs": {"enable_thinking": True}, "thinking_budget_tokens": 9}),
    ({"enable_thinking": False, "chat_template_kwargs": {"x": 1}},
     {**OFF, "chat_template_kwargs": {"enable_thinking": False, "x": 1}}),
    ({"enable_thinking": False, "chat_template_kwargs": {"enable_thinking": True}, "reasoning_effort": "low"}, {}),
    ({"reasoning": {"effort": "high"}, "reasoning_effort": "low"}, {}),
    ({"reasoning": None, "thinking": "on", "enable_thinking": "yes"}, {}),
])  # fmt: skip
def test_thinking_has_one_name(given: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert mended(**given) == wanted


def test_a_schema_is_where_it_is_looked_for() -> None:
    inside = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}
    assert mended(response_format={"type": "json_schema", "schema": SCHEMA}) == {"response_format": inside}
    for fine in (inside, {"type": "json_object", "schema": SCHEMA}, {"type": "text"}, None):
        assert mended(response_format=fine) == {}


@pytest.mark.parametrize(("given", "wanted"), [
    ({"reasoning": 'H"m'}, {"reasoning": 'H"m', "reasoning_content": 'H"m'}),
    ({"reasoning": "Hm", "reasoning_content": None}, {"reasoning": "Hm", "reasoning_content": "Hm"}),
    ({"reasoning": "Hm", "reasoning_content": "So"}, None),
    ({"reasoning": None, "reasoning_content": "So"}, None),
    ({"reasoning": {"text": "Hm"}}, None), ({"reasoning": ""}, {"reasoning": "", "reasoning_content": ""}),
    ({"content": '"reasoning": "x"'}, None), ({"tool_calls": [{"reasoning": "x"}]}, None),
])  # fmt: skip
def test_earlier_thoughts_are_where_llama_cpp_looks_for_them(
    given: dict[str, Any], wanted: dict[str, Any] | None
) -> None:
    said = {"role": "assistant", "content": "x", **given}
    others: list[Any] = [{"role": "user", "content": 'the "reasoning" of'}, 7, "x"]
    changed = mended(messages=[*others, said, *others])
    assert changed == ({} if wanted is None else {"messages": [*others, {**said, **wanted}, *others]})
    assert mended(messages={"reasoning": "x"}) == {}


def test_a_body_without_need_is_the_same_to_the_byte() -> None:
    body = b'{ "model":"m", "tool_choice" : "auto","odd": [1.0, 1e5], "response_format": {"type":"text"} }'
    assert for_llama(body) is body


@pytest.mark.parametrize("wrong", [
    b"{", b"[]", b"\xff", b'{"thinking":{"type":7}}', b'{"reasoning":{"effort":"heroic"}}',
    b'{"tool_choice":{"type":"function","function":{"name":"nobody"}},"tools":[]}',
    b'{"tool_choice":{"type":"function","function":{"name":"nobody"}}}',
    b'{"tool_choice":{"type":"function"},"tools":7}',
    b'{"enable_thinking":true,"chat_template_kwargs":7}',
    b'{"reasoning":{"effort":' + b"[" * 9999 + b"]" * 9999 + b"}}",
])  # fmt: skip
def test_what_cannot_be_read_is_refused_with_words(wrong: bytes) -> None:
    with pytest.raises(BadRequest):
        for_llama(wrong)


def chunk(**delta: Any) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode() + b"\n\n"


def deltas(events: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[5:])["choices"][0]["delta"] for line in events.splitlines() if line.startswith(b"data: {")]


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thoughts_have_both_names(name: str) -> None:
    events = (
        chunk(role="assistant") + chunk(**{name: 'H"m\\'}) + b": ping\n\n" + chunk(content="x") + b"data: [DONE]\n\n"
    )
    after = both_names(events)
    assert deltas(after)[1] == {"reasoning_content": 'H"m\\', "reasoning": 'H"m\\'}
    assert after.replace(b', "reasoning": "H\\"m\\\\"', b"").count(b"data:") == 4 and b": ping\n\n" in after
    assert both_names(after) == after
    whole = json.dumps({"choices": [{"message": {name: "a", "content": ""}}, {"message": {name: "a", "content": ""}}]})
    for choice in json.loads(in_both_names(whole.encode()))["choices"]:
        assert choice["message"] == {"reasoning_content": "a", "reasoning": "a", "content": ""}


def test_an_empty_second_name_is_filled() -> None:
    assert deltas(both_names(chunk(reasoning=None, reasoning_content="a", content=None)))[0]["reasoning"] == "a"


@pytest.mark.parametrize("same", [
    chunk(content='{"reasoning_content": "no", "reasoning": "no"}'), chunk(reasoning=None), chunk(reasoning={"a": 1}),
    chunk(reasoning="a", reasoning_content="b"), b'data: {"reasoning": "a"}\n\n',
    b'data: {"choices":[{"reasoning":"a"}\n\n',
    b'data: "reasoning"\n\n', b'id: {"reasoning": "a"}\r\n\r\n', chunk(tool_calls=[{"reasoning": "a"}]),
])  # fmt: skip
def test_everything_else_passes_untouched(same: bytes) -> None:
    assert both_names(same) == same
    assert in_both_names(same[6:]) == same[6:]


@pytest.mark.parametrize("words", [
    "image input is not supported - hint", "Failed to parse tools: Missing", "Failed to parse messages: Missing",
    "Failed to parse tool call arguments as JSON: parse error", "Cannot use both json_schema and grammar",
    "Invalid base64 value", "error: cannot make GET request", "Failed to download image", "error: invalid URL format",
    "Unknown reasoning format: x", "the current context does not support logits computation. skipping",
])  # fmt: skip
def test_the_clients_mistake_is_none_of_the_engine(words: str) -> None:
    said = json.dumps(
        {"error": {"code": 500, "message": words, "type": "server_error"}}, separators=(",", ":")
    ).encode()
    status, body = error(500, said)
    assert status == 400
    assert json.loads(body)["error"] == {"code": 400, "message": words, "type": "invalid_request_error"}
    told = refused(500, said)  # as translated routes have it
    assert (told.engine_status, told.engine_type, told.message) == (400, "invalid_request_error", words)


def test_what_the_engine_cannot_help_stays_its_own() -> None:
    assert error(500, b"Out of memory") == (500, b"Out of memory")
    assert error(501, b"audio input is not supported") == (501, b"audio input is not supported")


@given(st.text(), st.sampled_from(["reasoning", "reasoning_content", "content"]))
def test_whatever_is_thought_is_what_was_thought(text: str, name: str) -> None:
    said = deltas(both_names(chunk(**{name: text})))[0]
    assert set(said.values()) == {text} and set(said) == (
        {name} if name == "content" else {"reasoning", "reasoning_content"}
    )


@given(st.binary())
def test_no_bytes_are_too_odd(junk: bytes) -> None:
    for events in (
        junk,
        b'data: {"reasoning": ' + junk,
        b'data: {"choices":[{"delta":{"reasoning":"' + junk + b'"}}]}\n\n',
    ):
        both_names(events)
        in_both_names(events)
