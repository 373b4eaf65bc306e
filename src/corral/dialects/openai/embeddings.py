"""Texts to vectors over /v1/embeddings, and the texts' tokens over llama-server's /tokenize."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Annotated, Any, Final, NamedTuple

import msgspec

from corral.dialects.openai import reading
from corral.domain.errors import EngineProtocolError, EngineRefused

EMBEDDINGS: Final = b"/v1/embeddings"
TOKENIZE: Final = b"/tokenize"
_EUCLIDEAN: Final = 2
_TOO_LONG: Final = re.compile(
    rb"exceed_context_size_error|too large to process|maximum context length|context length exceeded", re.IGNORECASE
)
_LIMIT: Final = re.compile(rb'"n_ctx"\s*:\s*(\d{1,9})|current batch size: (\d{1,9})')
_UNIT: Final = 1e-6  # how far from 1 the length of a unit vector may be
_encode = msgspec.json.Encoder().encode


class Vectors(NamedTuple):
    """In the order of the inputs, as the engine wrote them; `tokens` of all inputs, where it says so."""

    rows: list[msgspec.Raw]
    tokens: int | None


class _Row(msgspec.Struct):
    embedding: msgspec.Raw
    index: int = 0


class _Usage(msgspec.Struct):
    prompt_tokens: Annotated[int, msgspec.Meta(ge=0, le=2**53)] | None = None


class _Answer(msgspec.Struct):
    data: list[_Row]
    usage: _Usage | None = None


class _Tokens(msgspec.Struct):
    tokens: list[int]


_answer = msgspec.json.Decoder(_Answer).decode
_tokens = msgspec.json.Decoder(_Tokens).decode
_floats = msgspec.json.Decoder(list[float]).decode


def encode(inputs: Sequence[str | Sequence[int]], model: str, *, normalised: bool) -> bytes:
    """The body; `normalised` is for llama.cpp, which makes unit vectors itself when it is asked."""
    fields: dict[str, Any] = {"model": model, "input": inputs, "encoding_format": "float"}
    if normalised:
        fields["embd_normalize"] = _EUCLIDEAN
    return _encode(fields)


def decode(body: bytes, count: int) -> Vectors:
    """`count` vectors. Raises EngineProtocolError."""
    try:
        answer = _answer(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise EngineProtocolError(f"The engine's answer holds no embeddings: {error}.") from None
    rows = sorted(answer.data, key=lambda row: row.index)
    if not all(text[:1] == b"[" and text.isascii() for text in (bytes(row.embedding) for row in rows)):
        raise EngineProtocolError("The engine's answer holds no embeddings that are lists of numbers.")
    if len(rows) != count:
        raise EngineProtocolError(f"The engine gave {len(rows)} embeddings for {count} texts.")
    return Vectors([row.embedding for row in rows], answer.usage.prompt_tokens if answer.usage is not None else None)


def unit(row: msgspec.Raw, dimensions: int | None) -> list[float]:
    """A vector of length 1, of the first `dimensions` numbers (all where there are not so many). Raises as decode."""
    try:
        found = _floats(row)
    except msgspec.MsgspecError as error:
        raise EngineProtocolError(f"The engine's answer holds no embeddings: {error}.") from None
    if dimensions:
        del found[dimensions:]
    length = math.hypot(*found)
    return found if length == 0 or abs(length - 1) < _UNIT else [each / length for each in found]


def refused(status: int, body: bytes) -> EngineRefused:
    """The engine's own words."""
    return reading.refused(status, body)


def too_long(status: int, body: bytes) -> bool:
    """Whether the engine refuses a text for its length; llama-server does so with 400 and with 500."""
    return status >= 400 and _TOO_LONG.search(body[:4096]) is not None


def limit_tokens(body: bytes) -> int | None:
    """How long a text may be, where such a refusal says so."""
    found = _LIMIT.search(body[:4096])
    return int(found[1] or found[2]) if found is not None else None


def encode_tokenize(text: str, model: str) -> bytes:
    """With the tokens that the model wants around a text."""
    return _encode({"model": model, "content": text, "add_special": True})


def decode_tokens(body: bytes) -> list[int]:
    """Raises EngineProtocolError."""
    try:
        return _tokens(body).tokens
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise EngineProtocolError(f"The engine's answer holds no tokens: {error}.") from None


def cut(tokens: Sequence[int], empty: Sequence[int], limit: int) -> list[int]:
    """
    The first `limit` tokens of a text; `empty` are those of no text at all.

    What the model wants at the end stays there: a token of `empty` that ends the text and does not also begin it.
    """
    end = empty[-1] if empty else None
    kept = end is not None and tokens[-1] == end and (len(empty) > 1 or tokens[0] != end)
    return [*tokens[: limit - 1], tokens[-1]] if kept and len(tokens) > limit else list(tokens[:limit])
