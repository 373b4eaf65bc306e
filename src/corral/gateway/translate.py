"""A chat request of one dialect on its way to an engine that speaks another, and the answer on its way back. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from corral.contracts.dialect import Outgoing, Reader, Served, TellsFailure, Told, Writer
from corral.dialects.openai import completions
from corral.dialects.openai import requests as openai
from corral.dialects.openai.answers import ChatReader
from corral.dialects.openai.begun import BegunReader, begun
from corral.domain.chat import ChatRequest
from corral.domain.completion import CompletionRequest
from corral.domain.errors import CorralError, EngineRefused
from corral.domain.fleet import OptionValue
from corral.domain.launch import LLAMA
from corral.gateway.forgetting import Forgetting


class Translated:
    """Implements `contracts.dialect.Reply`: what the engine says, read and written anew."""

    def __init__(self, reader: Reader, writer: Writer) -> None:
        self._reader, self._writer = reader, writer
        self.media_type = writer.media_type

    @property
    def failure(self) -> CorralError | None:
        """What the engine's stream told of, if anything."""
        return self._writer.failure or self._reader.failure

    def stream(self, events: bytes) -> bytes:
        """Whole events -> what the client gets of them."""
        piece = self._reader.again(events)
        if piece is not None:
            told = self._writer.again(*piece)
            if told is not None:
                return told
        return self._writer.stream(self._reader.stream(events))

    def end(self) -> bytes:
        """The engine's stream is complete."""
        self._reader.end()
        return b"" if self.failure is not None else self._writer.end()

    def whole(self, body: bytes) -> bytes:
        """An answer that is no stream."""
        return self._writer.whole(self._reader.whole(body))

    def refused(self, status: int, body: bytes) -> EngineRefused:
        """What an answer with such a status means."""
        return self._reader.refused(status, body)

    def failed(self, error: CorralError) -> bytes:
        """The terminal event, where the writer has one of its own."""
        return self._writer.failed(error) if isinstance(self._writer, TellsFailure) else b""


@dataclass(frozen=True, slots=True)
class AskedChat:
    """Implements `contracts.dialect.Asked` by way of /v1/chat/completions, which every engine has."""

    request: ChatRequest
    model: str
    writer: Callable[[Served], Writer]
    keep_s: float | None = None
    load_options: Mapping[str, OptionValue] = field(default_factory=dict)
    weight: int | None = None
    for_llama: Mapping[str, Any] = field(default_factory=dict)
    """Fields for engines that take llama.cpp's own."""

    @property
    def stream(self) -> bool:
        """Whether the client wants a stream."""
        return self.request.stream

    def towards(self, served: Served) -> Outgoing:
        """The request in OpenAI's dialect."""
        if self.request.forgets and LLAMA in served.speaks:
            return Forgetting(self.request, self.model, lambda request: self._outgoing(request, served)).begin()
        return self._outgoing(self.request, served)

    def _outgoing(self, request: ChatRequest, served: Served) -> Outgoing:
        extensions = LLAMA in served.speaks
        if extensions and self.for_llama:
            request = msgspec.structs.replace(request, extra={**request.extra, **self.for_llama})
        body = openai.encode(request, self.model, extensions=extensions)
        echo = begun(request) if extensions else ""
        reader = BegunReader(echo) if echo else ChatReader()
        return Outgoing(openai.CHAT, body, Translated(reader, self.writer(served)))

    def failed(self, error: CorralError) -> bytes:
        """Implements `contracts.dialect.TellsFailure`: of a stream that was open before there was an engine for it."""
        return Translated(ChatReader(), self.writer(Served(frozenset()))).failed(error)


@dataclass(frozen=True, slots=True)
class AskedCompletion:
    """Implements `contracts.dialect.Asked`: llama.cpp's own routes where the engine has them, else OpenAI's."""

    request: CompletionRequest
    model: str
    writer: Callable[[Served], Writer]
    keep_s: float | None = None
    load_options: Mapping[str, OptionValue] = field(default_factory=dict)
    weight: int | None = None

    @property
    def stream(self) -> bool:
        """Whether the client wants a stream."""
        return self.request.stream

    def towards(self, served: Served) -> Outgoing:
        """The text to be continued."""
        path, body = completions.encode(self.request, self.model, extensions=LLAMA in served.speaks)
        return Outgoing(path, body, Translated(completions.CompletionReader(), self.writer(served)))


@dataclass(frozen=True, slots=True)
class AskedLoad:
    """Implements `contracts.dialect.Asked`: its Model shall be loaded, and nothing else. It takes no slot."""

    answer: Callable[[Served], bytes]
    model: str
    keep_s: float | None = None
    load_options: Mapping[str, OptionValue] = field(default_factory=dict)
    stream: bool = False
    weight: int | None = 0

    def towards(self, served: Served) -> Told:
        """The engine has nothing to say to it."""
        return Told(self.answer(served))


@dataclass(frozen=True, slots=True)
class AskedUnload(AskedLoad):
    """Its Model shall go: never asked of an engine, see `unloading`."""
