"""Texts continued as they stand: what engines are asked, and what they answer."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.dialects.openai.completions import CompletionReader, encode
from corral.domain.chat import Counts, Finished, Format, LogProbs, Reason, TextDelta, Timings
from corral.domain.completion import CompletionRequest
from corral.domain.errors import EngineDied, EngineFailed, EngineProtocolError

FULL = CompletionRequest(
    prompt="a", stream=True, max_tokens=5, stop=("x",), logprobs=0, extra={"top_k": 1, "n_keep": 2},
    format=Format(msgspec.Raw(b'{"type":"string"}')),
)  # fmt: skip


def event(**fields: Any) -> bytes:
    return b"data: %b\n\n" % json.dumps(fields).encode()


def test_llama_cpp_is_asked_by_its_own_routes() -> None:
    path, body = encode(FULL, "m", extensions=True)
    assert path == b"/completion" and json.loads(body) == {
        "model": "m", "prompt": "a", "stream": True, "n_predict": 5, "stop": ["x"], "n_probs": 1, "top_k": 1,
        "n_keep": 2, "json_schema": {"type": "string"},
    }  # fmt: skip
    path, body = encode(CompletionRequest(prompt="a", suffix="b", format=Format()), "m", extensions=True)
    assert path == b"/infill" and json.loads(body) == {
        "model": "m", "input_prefix": "a", "input_suffix": "b", "json_schema": {"type": "object"},
    }  # fmt: skip


def test_others_are_asked_by_openai_s() -> None:
    path, body = encode(FULL, "m", extensions=False)
    assert path == b"/v1/completions" and json.loads(body) == {
        "model": "m", "prompt": "a", "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 5,
        "stop": ["x"], "logprobs": 0, "top_k": 1,
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "string"}}},
    }  # fmt: skip
    path, body = encode(CompletionRequest(prompt="a", suffix="b"), "m", extensions=False)
    assert path == b"/v1/completions" and json.loads(body) == {"model": "m", "prompt": "a", "suffix": "b"}


def test_a_stream_of_llama_cpp() -> None:
    reader = CompletionReader()
    probability = {"token": "a", "logprob": -1.0, "bytes": [97], "top_logprobs": []}
    found = reader.stream(event(content="a", stop=False, completion_probabilities=[probability]))
    assert found[0] == TextDelta("a") and isinstance(found[1], LogProbs)
    assert json.loads(bytes(found[1].content)) == [probability]
    found = reader.stream(
        event(
            content="", stop=True, stop_type="limit", tokens_evaluated=7, tokens_predicted=3,
            timings={"prompt_ms": 1.5, "predicted_ms": 2.5, "cache_n": 2},
        )
    )  # fmt: skip
    assert found == [Finished(Reason.LENGTH), Counts(7, 3, 2), Timings(0.0015, 0.0025)]
    reader.end()
    assert reader.failure is None


def test_a_stream_of_others() -> None:
    reader = CompletionReader()
    old = {"tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": [{"b": -2.0}]}
    found = reader.stream(event(choices=[{"index": 0, "text": "a", "logprobs": old}]))
    assert found[0] == TextDelta("a") and isinstance(found[1], LogProbs)
    assert json.loads(bytes(found[1].content)) == [
        {"token": "a", "logprob": -1.0, "bytes": None, "top_logprobs": [{"token": "b", "logprob": -2.0}]}
    ]
    found = reader.stream(
        event(choices=[{"index": 0, "text": "", "finish_reason": "stop", "stop_reason": "x"}])
        + event(choices=[], usage={"prompt_tokens": 7, "completion_tokens": 3})
        + b"data: [DONE]\n\n"
    )
    assert found == [Finished(Reason.STOP, "x"), Counts(7, 3)]


def test_whole_answers() -> None:
    whole = {"content": "ab", "stop": True, "stop_type": "word", "stopping_word": "x", "tokens_predicted": 2}
    assert CompletionReader().whole(json.dumps(whole).encode()) == [
        TextDelta("ab"), Finished(Reason.STOP, "x"), Counts(None, 2),
    ]  # fmt: skip
    with pytest.raises(EngineProtocolError):
        CompletionReader().whole(b'{"content": "ab"}')
    with pytest.raises(EngineProtocolError):
        CompletionReader().whole(b"nonsense")


def test_streams_that_break() -> None:
    for broken, kind in (
        (event(error={"message": "no memory"}), EngineFailed),
        (b"data: nonsense\n\n", EngineProtocolError),
        (b"", EngineDied),
    ):
        reader = CompletionReader()
        assert reader.stream(event(content="a") + broken) == [TextDelta("a")]
        reader.end()
        assert isinstance(reader.failure, kind)


@given(st.binary(max_size=80) | st.sampled_from([b'{"choices":[{"text":3}]}', b'{"content":"a","stop":1}']))
def test_any_answer_is_read_or_a_failure(data: bytes) -> None:
    reader = CompletionReader()
    reader.stream(b"data: %b\n\n" % data)
    reader.end()
    assert reader.failure is not None
    reader.refused(500, data)
