"""Token counts and first tokens out of bytes that go by."""

from __future__ import annotations

import gc
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.gateway.usage import Watch


def counts(watch: Watch) -> tuple[int | None, int | None, int | None]:
    """Prompt, cached, completion."""
    watch.finish()
    return watch.prompt_tokens, watch.cached_tokens, watch.completion_tokens


def stream(*events: Any) -> Watch:
    """A watch that saw these events, one a piece."""
    watch = Watch()
    for event in events:
        watch.piece(b"data: " + json.dumps(event).encode() + b"\n\n")
    return watch


def test_the_last_word_counts() -> None:
    watch = stream(
        {"usage": {"prompt_tokens": 1, "completion_tokens": 1}}, {"x": 1}, {"usage": {"completion_tokens": 5}}
    )
    assert counts(watch) == (1, None, 5)


def test_usage_null_in_every_chunk_but_one() -> None:
    one = b'data: {"usage": null}\n\n' * 3
    watch = Watch()
    watch.piece(one + b'data: {"usage":{"prompt_tokens":4,"completion_tokens":0}}\n\n' + one)
    assert counts(watch) == (4, None, 0)


def test_anthropic_says_it_in_two_places() -> None:
    watch = stream(
        {
            "type": "message_start",
            "message": {"usage": {"input_tokens": 9, "output_tokens": 0, "cache_read_input_tokens": 3}},
        },
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "hi"}},
        {"type": "message_delta", "usage": {"output_tokens": 7}},
    )
    assert counts(watch) == (9, 3, 7)


def test_a_long_stream_is_not_kept_but_its_end_is() -> None:
    """Counts in the last pieces, a packet each, and those from before the first token."""
    text, said = {"choices": [{"delta": {"content": "a"}}]}, {"usage": {"prompt_tokens": 3, "completion_tokens": 500}}
    began = {"type": "message_start", "message": {"usage": {"cache_read_input_tokens": 2}}}
    watch = stream({"x": 1}, began)
    assert watch.saw_first_token(b"data: " + json.dumps(text).encode() + b"\n\n")
    for event in (*[text] * 500, said, {"timings": {"prompt_n": 1}}, {"choices": []}, "[DONE]"):
        watch.piece(b"data: " + json.dumps(event).encode() + b"\n\n")
    assert sum(isinstance(each, bytes) and b"data" in each for each in gc.get_referents(*_held(watch))) < 10
    assert counts(watch) == (3, 2, 500)


def _held(watch: Watch) -> list[Any]:
    values = [getattr(watch, name) for name in Watch.__slots__]
    return [value for value in values if not isinstance(value, bytes | bool)]


def test_responses_say_it_inside() -> None:
    usage = {"input_tokens": 2, "output_tokens": 3, "input_tokens_details": {"cached_tokens": 1}}
    assert counts(stream({"type": "response.completed", "response": {"usage": usage}})) == (2, 1, 3)


def test_timings_fill_what_usage_leaves_open() -> None:
    event = {
        "usage": {"prompt_tokens": 10, "completion_tokens": 4},
        "timings": {"prompt_n": 3, "cache_n": 7, "predicted_n": 4},
    }
    assert counts(stream(event)) == (10, 7, 4)
    assert counts(stream({"timings": {"prompt_n": 3, "predicted_n": 4}})) == (3, None, 4)


def test_a_large_body_is_looked_at_from_both_ends() -> None:
    numbers = [0.25] * 100_000
    for body in ({"usage": {"prompt_tokens": 6}, "data": numbers}, {"data": numbers, "usage": {"prompt_tokens": 6}}):
        watch = Watch()
        text = json.dumps(body).encode()
        watch.body([text[:1000], text[1000:]])
        assert counts(watch) == (6, None, None)


@pytest.mark.parametrize(
    "event",
    [
        {"choices": [{"delta": {"content": "a"}}]},
        {"choices": [{"delta": {"reasoning_content": "a"}}]},
        {"choices": [{"delta": {"reasoning": "a"}}]},
        {"choices": [{"delta": {"tool_calls": [{"index": 0}]}}]},
        {"choices": [{"delta": {}}, {"delta": {"content": "a"}}]},
        {"choices": [{"text": "a"}]},
        {"content": "a", "stop": False},
        {"type": "response.output_text.delta", "delta": "a"},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "a"}},
        {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "a"}},
        {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": "{"}},
    ],
)
def test_first_tokens(event: dict[str, Any]) -> None:
    data = b": ping\n\n" + b"data: " + json.dumps(event).encode() + b"\n\n"
    assert Watch().saw_first_token(data)
    assert Watch().saw_first_token(data.replace(b"\n", b"\r\n"))


@pytest.mark.parametrize(
    "event",
    [
        {"choices": [{"delta": {"role": "assistant", "content": None}}]},
        {"choices": [{"delta": {"content": ""}}]},
        {"choices": [{"delta": {}, "finish_reason": "stop"}]},
        {"choices": [{"text": ""}]},
        {"choices": []},
        {"content": "", "prompt_progress": {"total": 5}},
        {"type": "response.created", "response": {}},
        {"type": "message_start", "message": {"content": []}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        {"error": {"message": "x"}},
        [],
        "content",
        None,
    ],
)
def test_what_is_no_token(event: Any) -> None:
    assert not Watch().saw_first_token(b"data: " + json.dumps(event).encode() + b"\n\n")
    assert not Watch().saw_first_token(b"data: [DONE]\n\n")


@given(st.text(max_size=200))
def test_what_a_model_says_is_never_taken_for_usage(text: str) -> None:
    said = text + ' "usage":{"prompt_tokens":5} "timings":{"prompt_n":5}'
    assert counts(stream({"choices": [{"delta": {"content": said}}]})) == (None, None, None)


@given(st.binary(max_size=200))
def test_noise(noise: bytes) -> None:
    watch = Watch()
    watch.saw_first_token(noise)
    watch.piece(b'"usage":' + noise)
    watch.piece(b'"timings":{' + noise)
    watch.finish()


@pytest.mark.parametrize(
    "value",
    [
        b'{"x":' + b"[" * 1500 + b"]" * 1500 + b"}",  # nested as deep as a hostile engine likes
        b'{"prompt_tokens":-5}',
        b'{"prompt_tokens":1' + b"0" * 400 + b"}",  # no float holds that: sums of it would break for good
        b'{"prompt_tokens":"\xff"}',
    ],
)
def test_usage_that_is_none(value: bytes) -> None:
    event = b'{"choices":[],"usage":' + value + b"}"
    whole, piece = Watch(), Watch()
    whole.body([event])
    piece.piece(b"data: " + event + b"\n\n")
    assert counts(whole) == counts(piece) == (None, None, None)
