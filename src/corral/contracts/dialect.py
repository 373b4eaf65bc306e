"""
Dialects: how a client's request becomes one that its engine understands, and the answer one that the client does.

    decode -> Asked         the request is read and found right, before anything is loaded for it
    Asked.towards -> Outgoing   once it is known which engine serves: path, body, and the way back
                  -> Told       or the answer, where being loaded was all that was asked
    Reply                   the way back: None where the engine speaks as the client does, and bytes pass untouched

All of it is pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from corral.domain.chat import Delta
from corral.domain.errors import CorralError, EngineRefused
from corral.domain.facts import ModelFacts
from corral.domain.fleet import OptionValue


class Asking(NamedTuple):
    """
    What is known of a request beside its body: `model` is the name that the client used, `facts` what is known of the
    Model behind it. `wall` gives seconds since the epoch.
    """

    model: str
    facts: ModelFacts
    request_id: str
    wall: Callable[[], float]
    headers: Mapping[bytes, bytes] = {}


class Served(NamedTuple):
    """
    What is known once the engine is. `speaks` as in `Endpoint`; `load_s` is how long the request waited.
    """

    speaks: frozenset[str]
    load_s: float = 0.0


class Reply(Protocol):
    """The way back of one answer. Called in order, for whole events; never after `end` or an error."""

    media_type: bytes
    """Of a stream; what is no stream is JSON."""

    @property
    def failure(self) -> CorralError | None:
        """Set where the engine's stream told of a failure, made no sense or was cut: what came before it counts."""
        ...

    def stream(self, events: bytes) -> bytes:
        """Whole server-sent events of the engine -> what the client gets of them, up to a failure."""
        ...

    def end(self) -> bytes:
        """The engine's stream is complete: what the client still gets; nothing where there is a failure."""
        ...

    def whole(self, body: bytes) -> bytes:
        """An answer (2xx) that is no stream. Raises EngineProtocolError for what makes no sense."""
        ...

    def refused(self, status: int, body: bytes) -> EngineRefused:
        """What an answer with such a status means."""
        ...

    def failed(self, error: CorralError) -> bytes:
        """The terminal event of a stream that cannot go on; empty where the dialect's own says it all."""
        ...


class Outgoing(NamedTuple):
    """
    What the engine is sent. Without a `reply` its answer passes untouched: it speaks as the client does.

    `follow` looks at the status and the body of an answer that is no stream, before `reply` does: what it gives is
    sent to the same engine, with the same lease, instead of telling the client anything.
    """

    path: bytes
    body: bytes
    reply: Reply | None = None
    follow: Callable[[int, bytes], Outgoing | None] | None = None


class Told(NamedTuple):
    """A whole answer, JSON, for which the engine is not asked at all."""

    body: bytes


class Asked(Protocol):
    """A request that was read and found right."""

    @property
    def model(self) -> str:
        """The name that the client used for its Model; the answer has it."""
        ...

    @property
    def stream(self) -> bool:
        """Whether the client wants a stream."""
        ...

    @property
    def weight(self) -> int | None:
        """As in `Requested`, where it is another than the route's."""
        ...

    @property
    def keep_s(self) -> float | None:
        """How long its Model shall stay loaded after it; None where the client does not say, infinity for ever."""
        ...

    @property
    def load_options(self) -> Mapping[str, OptionValue]:
        """What its Model shall be loaded with, by the names that llama.cpp's options have."""
        ...

    def towards(self, served: Served) -> Outgoing | Told:
        """The request for an engine like this. Raises CorralError for what such an engine cannot be asked."""
        ...


class Reader(Protocol):
    """What an engine says in its dialect, read. `failure` as in Reply."""

    failure: CorralError | None

    def stream(self, events: bytes) -> list[Delta]:
        """Whole server-sent events, up to a failure."""
        ...

    def again(self, events: bytes) -> tuple[type[Delta], bytes] | None:
        """
        Where `stream` would find one piece of text, of the same kind as the last time, and can tell without reading:
        TextDelta or ThinkingDelta, and the text as a JSON string. None where it must be read.
        """
        ...

    def end(self) -> None:
        """The stream is complete."""
        ...

    def whole(self, body: bytes) -> list[Delta]:
        """An answer that is no stream. Raises EngineProtocolError."""
        ...

    def refused(self, status: int, body: bytes) -> EngineRefused:
        """What an answer with a status that is no success says."""
        ...


class Writer(Protocol):
    """What a client is told in its dialect."""

    media_type: bytes
    failure: CorralError | None
    """Set where what the engine said cannot be told in this dialect: what came before it counts."""

    def stream(self, deltas: Sequence[Delta]) -> bytes:
        """The next pieces of a stream."""
        ...

    def again(self, kind: type[Delta], text: bytes) -> bytes | None:
        """One more piece of what was told last, a JSON string that is not empty; None where it is no such piece."""
        ...

    def end(self) -> bytes:
        """What ends a stream that is complete."""
        ...

    def whole(self, deltas: Sequence[Delta]) -> bytes:
        """An answer that is no stream."""
        ...


@runtime_checkable
class TellsFailure(Protocol):
    """
    A Writer whose terminal event depends on what it told before; an Asked whose dialect has such a Writer.

    The latter is needed for streams that were opened for signs of life and never got an engine.
    """

    def failed(self, error: CorralError) -> bytes:
        """The event of a stream that cannot go on."""
        ...


class Dialect(Protocol):
    """What is the same for all routes of one dialect."""

    name: str
    stream_type: bytes
    """The media type of its streams."""

    def error_status(self, error: CorralError) -> int:
        """The HTTP status."""
        ...

    def error_body(self, error: CorralError, request_id: str) -> bytes:
        """The JSON body of an answer that is this error."""
        ...

    def error_event(self, error: CorralError, request_id: str) -> bytes:
        """The one terminal event of a stream that cannot go on; no mark of success follows it."""
        ...

    def id_line(self, request_id: bytes) -> bytes:
        """The header line, if any, that this dialect's clients read the request's id from, beside x-request-id."""
        ...


class Voice(Protocol):
    """What the client of a stream hears before its answer begins, on one route. One for each request."""

    def alive(self, words: str) -> bytes:
        """Keeps an open stream alive: no part of the answer. The words are in it where the dialect has such a place."""
        ...

    def thought(self, words: str) -> bytes:
        """The words as something that the model thinks; nothing where the route has no thoughts."""
        ...

    def over(self) -> bytes:
        """The answer begins: ends what `thought` has begun."""
        ...

    @property
    def mends(self) -> bool:
        """Whether the answer has to pass through `mended`, so that it goes on from what was said."""
        ...

    def mended(self, events: bytes) -> bytes:
        """Whole events of the answer, as they follow."""
        ...
