"""Lines of /api/chat and /api/generate."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.dialects.ollama.answers import ChatWriter, GenerateWriter, loaded
from corral.dialects.ollama.embed import embed_answer, embeddings_answer
from corral.domain.chat import (
    Counts,
    Delta,
    Finished,
    LogProbs,
    Message,
    Reason,
    Role,
    Text,
    TextDelta,
    ThinkingDelta,
    Timings,
    ToolCallDelta,
)

PROBABILITIES = [{"id": 7, "token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": [{"id": 8, "token": "b", "logprob": -1.0}]}]  # fmt: skip # noqa: E501
TOLD = [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": [{"token": "b", "logprob": -1.0}]}]
ENDED: list[Delta] = [Finished(Reason.STOP), Counts(7, 3, 2), Timings(0.0015, 0.25)]


def writer(kind: type[ChatWriter] | type[GenerateWriter], wall: float = 1000.5) -> Any:
    return kind("m", wall=lambda: wall, began=1000.0, load_s=0.25)


def lines(told: bytes) -> list[dict[str, Any]]:
    assert told.endswith(b"\n")
    return [json.loads(line) for line in told.decode().split("\n")[:-1]]


def streamed(kind: type[ChatWriter] | type[GenerateWriter], deltas: Sequence[Delta]) -> list[dict[str, Any]]:
    answer = writer(kind)
    return lines(b"".join(answer.stream([delta]) for delta in deltas) + answer.end())


def test_a_chat() -> None:
    hm, text, last = streamed(ChatWriter, [ThinkingDelta("Hm"), TextDelta("Grüß\n"), *ENDED])
    assert hm["message"] == {"role": "assistant", "content": "", "thinking": "Hm"} and not hm["done"]
    assert text["message"] == {"role": "assistant", "content": "Grüß\n"} and text["model"] == "m"
    assert last == {
        "model": "m", "created_at": "1970-01-01T00:16:40.500000Z", "message": {"role": "assistant", "content": ""},
        "done": True, "done_reason": "stop", "total_duration": 500_000_000, "load_duration": 250_000_000,
        "prompt_eval_count": 7, "prompt_eval_duration": 1_500_000, "eval_count": 3, "eval_duration": 250_000_000,
    }  # fmt: skip


def test_generated_text() -> None:
    hm, text, last = streamed(GenerateWriter, [ThinkingDelta("Hm"), TextDelta("hi"), Finished(Reason.LENGTH)])
    assert (hm["response"], hm["thinking"], text["response"], last["response"]) == ("", "Hm", "hi", "")
    assert (last["done"], last["done_reason"]) == (True, "length") and "eval_count" not in last
    whole = json.loads(writer(GenerateWriter).whole([ThinkingDelta("Hm"), TextDelta("h"), TextDelta("i"), *ENDED]))
    assert (whole["response"], whole["thinking"], whole["done"], whole["eval_count"]) == ("hi", "Hm", True, 3)


@pytest.mark.parametrize("kind", [ChatWriter, GenerateWriter])
def test_calls_are_told_whole_and_before_the_line_that_says_done(kind: Any) -> None:
    """Clients that read none in the last line lost them with an earlier translator."""
    deltas: list[Delta] = [
        ToolCallDelta(1, "c2", "sub", "{}"),
        ToolCallDelta(0, "c1", "add", '{"a":\n'),
        ToolCallDelta(0, arguments=" 100000000000000000000001}"),
        Finished(Reason.TOOL_CALLS),
    ]
    calls, last = streamed(kind, deltas)
    found = calls["message"]["tool_calls"] if kind is ChatWriter else calls["tool_calls"]
    assert found == [
        {"id": "c1", "function": {"index": 0, "name": "add", "arguments": {"a": 100000000000000000000001}}},
        {"id": "c2", "function": {"index": 1, "name": "sub", "arguments": {}}},
    ]
    assert not calls["done"] and last["done"] and last["done_reason"] == "stop"


@pytest.mark.parametrize(("said", "told"), [("", {}), ("[1]", {"arguments": "[1]"}), ("{oops", {"arguments": "{oops"})])
def test_arguments_are_always_an_object(said: str, told: Any) -> None:
    whole = json.loads(writer(ChatWriter).whole([ToolCallDelta(0, "c", "f", said), *ENDED]))
    assert whole["message"]["tool_calls"][0]["function"]["arguments"] == told


@pytest.mark.parametrize("kind", [ChatWriter, GenerateWriter])
def test_probabilities_are_in_the_line_of_their_text(kind: Any) -> None:
    raw = LogProbs(msgspec.Raw(json.dumps(PROBABILITIES).encode()))
    answer = writer(kind)
    first, second, third = lines(answer.stream([TextDelta("a"), raw, TextDelta("b"), raw, raw]))
    assert first["logprobs"] == second["logprobs"] == third["logprobs"] == TOLD
    whole = json.loads(writer(kind).whole([TextDelta("ab"), raw, raw, *ENDED]))
    assert whole["logprobs"] == TOLD * 2
    (odd,) = lines(writer(kind).stream([TextDelta("a"), LogProbs(msgspec.Raw(b'{"tokens": 1}'))]))
    assert odd["logprobs"] == []


def test_loads_and_vectors() -> None:
    chat, generated = (json.loads(loaded(kind, "m", 0.0, reason="load")) for kind in (ChatWriter, GenerateWriter))
    assert chat == {
        "model": "m", "created_at": "1970-01-01T00:00:00.000000Z", "message": {"role": "assistant", "content": ""},
        "done": True, "done_reason": "load",
    }  # fmt: skip
    assert generated["response"] == "" and "message" not in generated
    vectors = json.loads(embed_answer("m", [[1.0], msgspec.Raw(b"[0.5]")], tokens=3, total_s=1.5, load_s=0.5))
    assert vectors == {
        "model": "m", "embeddings": [[1.0], [0.5]], "total_duration": 1_500_000_000, "load_duration": 500_000_000,
        "prompt_eval_count": 3,
    }  # fmt: skip
    assert json.loads(embeddings_answer([[1.0]])) == {"embedding": [1.0]}
    assert json.loads(embeddings_answer([])) == {"embedding": []}


DELTAS = st.lists(
    st.builds(TextDelta, st.text())
    | st.builds(ThinkingDelta, st.text())
    | st.builds(ToolCallDelta, st.integers(0, 3), st.text(max_size=3), st.text(max_size=3), st.text(max_size=9))
    | st.builds(LogProbs, st.sampled_from([msgspec.Raw(b"[]"), msgspec.Raw(b"{}"), msgspec.Raw(b"nonsense")]))
    | st.builds(Timings, st.none() | st.floats(allow_nan=False), st.none() | st.floats(allow_nan=False))
    | st.builds(Counts, st.none() | st.integers(0, 2**53)),
    max_size=8,
)


@pytest.mark.parametrize("kind", [ChatWriter, GenerateWriter])
@given(DELTAS)
def test_any_deltas_are_lines_and_a_stream_says_what_a_whole_answer_does(kind: Any, deltas: list[Delta]) -> None:
    def text(line: dict[str, Any]) -> tuple[str, str]:
        told = line["message"] if kind is ChatWriter else line
        return told["content" if kind is ChatWriter else "response"], told.get("thinking", "")

    found = streamed(kind, deltas)
    whole = json.loads(writer(kind).whole(deltas))
    assert [line["done"] for line in found] == [False] * (len(found) - 1) + [True]
    assert tuple("".join(parts) for parts in zip(*map(text, found), strict=True)) == text(whole)
    assert found[-1].get("eval_duration") == whole.get("eval_duration")


@pytest.mark.parametrize("kind", [ChatWriter, GenerateWriter])
def test_what_was_likely_too_is_shown_only_to_who_asked(kind: Any) -> None:
    """llama-server tells twenty of them wherever probabilities are asked for."""
    raw = LogProbs(msgspec.Raw(json.dumps(PROBABILITIES).encode()))
    answer = kind("m", wall=lambda: 1_000.0, began=1_000.0, likely=False)
    (line,) = lines(answer.stream([TextDelta("a"), raw]))
    assert line["logprobs"] == [{"token": "a", "logprob": -0.5, "bytes": [97]}]


def test_a_string_that_is_none_costs_the_context_alone() -> None:
    turns = (Message(Role.USER, (Text("hello"),)),)
    for text, has in ((b'"Hi"', True), (b'"\\ud800"', False), (b'"\\x"', False)):
        writing = GenerateWriter("m", wall=lambda: 1000.5, began=1000.0, turns=turns)
        writing.again(TextDelta, text)
        writing.stream(ENDED)
        assert ("context" in json.loads(writing.end())) == has
