"""What is the same in reading any answer of an OpenAI-speaking engine: events one after the other, ends, errors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Final

import msgspec

from corral.dialects.openai.again import Again
from corral.dialects.openai.mistakes import TYPE, is_mistake
from corral.domain.chat import Delta
from corral.domain.errors import CorralError, EngineDied, EngineFailed, EngineProtocolError, EngineRefused
from corral.kit import sse

_WORDS: Final = 2000
"""Of an engine's error that is no JSON."""


class EngineError(msgspec.Struct, gc=False):
    """The object below `error`."""

    message: str = ""
    type: str = ""


class _Refusal(msgspec.Struct, gc=False):
    error: EngineError | str | None = None
    message: str | None = None
    detail: str | None = None


_refusal = msgspec.json.Decoder(_Refusal, strict=False).decode


def failed(error: EngineError | str) -> EngineFailed:
    """What an engine says in the middle of a stream."""
    return EngineFailed(error if isinstance(error, str) else error.message)


def refused(status: int, body: bytes) -> EngineRefused:
    """The engine's own words; its status where that is one of an error."""
    nothing = f"The engine answered with status {status}."
    status = status if 400 <= status <= 599 else 502
    try:
        said = _refusal(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        words = body[:_WORDS].decode("utf-8", "replace").strip()
        return EngineRefused(words or nothing, engine_status=status)
    error = said.error
    if isinstance(error, EngineError):
        if is_mistake(status, error.message):
            return EngineRefused(error.message, engine_status=400, engine_type=TYPE)
        return EngineRefused(error.message, engine_status=status, engine_type=error.type)
    return EngineRefused(error or said.message or said.detail or "", engine_status=status)


class EventReader(ABC):
    """Implements `contracts.dialect.Reader` but for what an event means (`take`). One for each answer."""

    incomplete: ClassVar[str]
    """What is said of a whole answer that has no end."""

    def __init__(self) -> None:
        self.failure: CorralError | None = None
        self._finished = False
        self._known = Again()

    @abstractmethod
    def take(self, payload: bytes, deltas: list[Delta]) -> None:
        """Read one event, or a whole answer. Sets `_finished` where it ends. Raises EngineFailed."""

    def stream(self, events: bytes) -> list[Delta]:
        """Whole events, up to a failure."""
        deltas: list[Delta] = []
        for payload in sse.payloads(events):
            if payload == b"[DONE]":
                continue
            try:
                self.take(payload, deltas)
            except EngineFailed as failure:
                self.failure = failure
                break
        self._known.learn(events, deltas)
        return deltas

    def again(self, events: bytes) -> tuple[type[Delta], bytes] | None:
        """See Reader."""
        text = self._known.text(events)
        return None if text is None else (self._known.kind, text)

    def end(self) -> None:
        """An engine that is cut off mid-stream may still end its body properly."""
        if not self._finished and self.failure is None:
            self.failure = EngineDied("The engine's stream ended before its answer did.")

    def whole(self, body: bytes) -> list[Delta]:
        """The same deltas as a stream of the same answer would give, in one."""
        deltas: list[Delta] = []
        self.take(body, deltas)
        if not self._finished:
            raise EngineProtocolError(self.incomplete)
        return deltas

    def refused(self, status: int, body: bytes) -> EngineRefused:
        """See `refused`: the words are the same on all routes of an engine."""
        return refused(status, body)
