"""
Texts to vectors for clients of another dialect.

    /v1/embeddings -> vectors
                   -> too long -> /tokenize for nothing, /tokenize for each long text -> /v1/embeddings with tokens, cut

Only llama.cpp says where its limit is and takes tokens; with other engines a text that is too long is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from corral.contracts.dialect import Outgoing, Served
from corral.dialects.openai import embeddings as openai
from corral.domain.embed import EmbedRequest
from corral.domain.errors import CorralError, EngineProtocolError, EngineRefused
from corral.domain.fleet import OptionValue
from corral.domain.launch import LLAMA

Vector = Sequence[float] | msgspec.Raw
Written = Callable[[Served, list[Vector], int | None], bytes]
"""Vectors in the order of the texts, and the tokens of all of them -> the client's answer."""

_REFUSED: Final = 400


@dataclass(frozen=True, slots=True)
class AskedEmbedding:
    """Implements `contracts.dialect.Asked`. `too_long` are the words for a text that is."""

    request: EmbedRequest
    model: str
    written: Written
    too_long: str
    keep_s: float | None = None
    load_options: Mapping[str, OptionValue] = field(default_factory=dict)
    stream: bool = False
    weight: int | None = None

    def towards(self, served: Served) -> Outgoing:
        """The texts as they are; when one is too long there will be more to do."""
        return _Steps(self, served).begin()


class _Steps:
    """The way of one request. Implements `contracts.dialect.Reply` for each of its answers."""

    media_type = b"application/json"
    failure: CorralError | None = None

    def __init__(self, asked: AskedEmbedding, served: Served) -> None:
        self._asked = asked
        self._served = served
        self._native = LLAMA in served.speaks
        self._limit = 0
        self._empty: list[int] = []  # the tokens of no text at all
        self._long: list[int] = []  # places of texts that may be too long
        self._inputs: list[str | list[int]] = list(asked.request.inputs)

    def begin(self) -> Outgoing:
        """The texts as they are."""
        cuts = self._native and self._asked.request.truncate
        return self._embeddings(self._measure if cuts else None)

    def _embeddings(self, follow: Callable[[int, bytes], Outgoing | None] | None = None) -> Outgoing:
        asked = self._asked
        normalised = self._native and asked.request.normalised
        return Outgoing(
            openai.EMBEDDINGS, openai.encode(self._inputs, asked.model, normalised=normalised), self, follow
        )

    def _measure(self, status: int, body: bytes) -> Outgoing | None:
        limit = openai.limit_tokens(body) if openai.too_long(status, body) else None
        if not limit:
            return None
        self._limit = limit
        # No text has more tokens than bytes, but for those that the model wants around it.
        texts = self._asked.request.inputs
        self._long = [place for place, text in enumerate(texts) if len(text.encode()) > limit // 2]
        return Outgoing(openai.TOKENIZE, openai.encode_tokenize("", self._asked.model), self, self._know_empty)

    def _know_empty(self, status: int, body: bytes) -> Outgoing | None:
        if status >= 300:
            return None
        self._empty = openai.decode_tokens(body)
        return self._tokenize(self._long[0]) if self._long else None

    def _tokenize(self, place: int) -> Outgoing:
        text = self._asked.request.inputs[place]
        return Outgoing(openai.TOKENIZE, openai.encode_tokenize(text, self._asked.model), self, self._cut)

    def _cut(self, status: int, body: bytes) -> Outgoing | None:
        if status >= 300:
            return None
        tokens = openai.decode_tokens(body)
        place = self._long.pop(0)
        if len(tokens) > self._limit:
            self._inputs[place] = openai.cut(tokens, self._empty, self._limit)
        return self._tokenize(self._long[0]) if self._long else self._embeddings()

    def stream(self, events: bytes) -> bytes:
        """There is none to be had."""
        self.failure = EngineProtocolError("The engine gave a stream where vectors were asked for.")
        return b""

    def end(self) -> bytes:
        """Nothing follows."""
        return b""

    def whole(self, body: bytes) -> bytes:
        """The answer."""
        request = self._asked.request
        found = openai.decode(body, len(request.inputs))
        rows: list[Vector] = list(found.rows)
        if request.normalised and not (self._native and request.dimensions is None):
            rows = [openai.unit(row, request.dimensions) for row in found.rows]
        return self._asked.written(self._served, rows, found.tokens)

    def refused(self, status: int, body: bytes) -> EngineRefused:
        """The words of the client's dialect where a text was too long."""
        if openai.too_long(status, body):
            return EngineRefused(self._asked.too_long, engine_status=_REFUSED)
        return openai.refused(status, body)

    def failed(self, error: CorralError) -> bytes:
        """The dialect says it all."""
        return b""
