"""Vectors and tokens."""

from __future__ import annotations

import json
import math

import msgspec
import pytest

from corral.dialects.openai.embeddings import cut, decode, decode_tokens, encode, limit_tokens, too_long, unit
from corral.domain.errors import EngineProtocolError

EXCEEDED = b'{"error":{"code":400,"message":"no","type":"exceed_context_size_error","n_prompt_tokens":9,"n_ctx":8}}'
TOO_LARGE = (
    b'{"error":{"code":500,"message":"input (600 tokens) is too large to process. increase the physical batch size '
    b'(current batch size: 512)","type":"server_error"}}'
)


def test_what_is_asked() -> None:
    assert json.loads(encode(["a", [1, 2]], "m", normalised=True)) == {
        "model": "m", "input": ["a", [1, 2]], "encoding_format": "float", "embd_normalize": 2,
    }  # fmt: skip
    assert "embd_normalize" not in json.loads(encode(["a"], "m", normalised=False))


def test_vectors_are_in_the_order_of_the_texts() -> None:
    answer = {
        "data": [{"index": 1, "embedding": [2]}, {"index": 0, "embedding": [1]}],
        "usage": {"prompt_tokens": 5},
    }
    found = decode(json.dumps(answer).encode(), 2)
    assert [json.loads(bytes(row)) for row in found.rows] == [[1], [2]] and found.tokens == 5
    for wrong, count in (
        (b"[]", 0),
        (b'{"data": []}', 1),
        (b'{"data": [{}]}', 1),
        (b'{"data": [{"embedding": "x"}]}', 1),
        (b"nonsense", 1),
    ):
        with pytest.raises(EngineProtocolError):
            decode(wrong, count)


def test_a_vector_of_length_1() -> None:
    assert unit(msgspec.Raw(b"[3, 4]"), None) == pytest.approx([0.6, 0.8])
    cut_off = unit(msgspec.Raw(b"[0.6, 0.0, 0.8]"), 2)
    assert cut_off == pytest.approx([1, 0]) and math.hypot(*cut_off) == 1
    assert unit(msgspec.Raw(b"[3, 4]"), 9) == pytest.approx([0.6, 0.8])
    assert unit(msgspec.Raw(b"[0, 0]"), None) == [0, 0] and unit(msgspec.Raw(b"[]"), None) == []
    with pytest.raises(EngineProtocolError):
        unit(msgspec.Raw(b'"base64"'), None)


def test_what_is_too_long() -> None:
    assert too_long(400, EXCEEDED) and limit_tokens(EXCEEDED) == 8
    assert too_long(500, TOO_LARGE) and limit_tokens(TOO_LARGE) == 512
    assert too_long(400, b"This model's maximum context length is 512 tokens") and limit_tokens(b"no number") is None
    assert not too_long(200, EXCEEDED) and not too_long(500, b'{"error": "out of memory"}')


@pytest.mark.parametrize(
    ("tokens", "empty", "kept"),
    [
        ([1, 5, 6, 7, 8, 2], [1, 2], [1, 5, 6, 2]),  # a beginning and an end
        ([1, 5, 6, 7, 8, 9], [1], [1, 5, 6, 7]),  # a beginning alone
        ([5, 6, 7, 8, 9, 2], [2], [5, 6, 7, 2]),  # an end alone
        ([5, 6, 7, 8, 9, 3], [], [5, 6, 7, 8]),
        ([1, 5, 2], [1, 2], [1, 5, 2]),
    ],
)
def test_a_text_is_cut_and_its_end_stays(tokens: list[int], empty: list[int], kept: list[int]) -> None:
    assert cut(tokens, empty, 4) == kept


def test_tokens() -> None:
    assert decode_tokens(b'{"tokens": [1, 2]}') == [1, 2]
    with pytest.raises(EngineProtocolError):
        decode_tokens(b'{"tokens": "x"}')
