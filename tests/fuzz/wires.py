"""A whole gateway between two wires that fuzzed bytes come from, and a judge of what goes out on them."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import httptools

from corral.domain.launch import Endpoint
from corral.gateway.connection import ClientConnection
from corral.gateway.links import Link
from tests.bench.hotpath import KEY, Relay, Wire

ENGINE_KEY: Final = b"Bearer engine-key"
TURNS: Final = 5
"""Rounds of the event loop after each piece: enough for whatever it sets off."""


class Remembering(Wire):
    """A wire that remembers all that was written and tells its protocol, as a real one does, when it has closed."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.written = b""
        self.closed = False
        self._protocol = protocol
        protocol.connection_made(self)

    def write(self, data: Any) -> None:
        """Take it."""
        self.written += bytes(data)

    def writelines(self, list_of_data: Any) -> None:
        """Take them."""
        self.written += b"".join(list_of_data)

    def can_write_eof(self) -> bool:
        """As TCP."""
        return True

    def write_eof(self) -> None:
        """Nothing more is sent; the peer does not care."""

    def is_closing(self) -> bool:
        """Closed or aborted."""
        return self.closed

    def abort(self) -> None:
        """End it."""
        self.close()

    def close(self) -> None:
        """End it; the protocol hears of it later."""
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    def pause_reading(self) -> None:
        """Nothing comes by itself."""

    def resume_reading(self) -> None:
        """Nothing comes by itself."""


class Fuzzed(Relay):
    """One gateway for all inputs, because building one takes longer than fuzzing it; a fresh connection for each."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[Link] = []
        self.wires: list[Remembering] = []
        self.lost: list[str] = []
        self.link.drop()
        self.gateway.links.connect = self._connect  # type: ignore[assignment, method-assign]

    async def _connect(self, endpoint: Endpoint, make: Any) -> Link:
        link: Link = make()
        self.links.append(link)
        self.wires.append(Remembering(link))
        return link

    def note(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What a callback of the loop raised, which nobody else would hear of."""
        self.lost.append(str(context.get("exception") or context.get("message")))

    async def talk(self, parts: list[bytes]) -> None:
        """
        Each piece begins with a letter that says who sends it: `C` the client, `E` the engine, `K` the client with its
        key in the place of a `%`, `X` the engine goes away. Others are the client's as they are.
        """
        self.links, self.wires = [], []
        client = ClientConnection(self.gateway, local=False)
        wire = Remembering(client)
        for part in parts:
            who, rest = part[:1], part[1:]
            if who in (b"E", b"X"):
                self._engine(rest, ends=who == b"X")
            elif not wire.closed:
                client.data_received(rest.replace(b"%", KEY.encode()) if who == b"K" else part if who != b"C" else rest)
            await _turns()
        for each in (wire, *self.wires):
            each.close()
        await _turns()
        self._judge(wire, b"".join(parts))

    def _engine(self, data: bytes, *, ends: bool) -> None:
        for link, wire in zip(self.links, self.wires, strict=True):
            if wire.closed:
                continue
            if data:
                link.data_received(data)
            if ends:
                wire.close()

    def _judge(self, wire: Remembering, sent: bytes) -> None:
        if b"HEAD" not in sent:  # an answer to HEAD has a length and no body: a parser would have to know
            httptools.HttpResponseParser(_Anything()).feed_data(wire.written)
        for each in self.wires:
            _judge_requests(each.written)
        lost = self.lost.copy()
        self.lost.clear()
        assert not lost, lost
        assert [view.leases for view in self.gateway.leases.views() if view.leases] == []


class _Anything:
    """Only the parser's own judgement counts."""


class _Heads:
    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.count = 0

    def on_message_begin(self) -> None:
        self.count += 1

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))


def _judge_requests(written: bytes) -> None:
    """Whatever the client sent, an engine hears well-formed requests with its own key and nobody else's."""
    heads = _Heads()
    httptools.HttpRequestParser(heads).feed_data(written)
    values = [value for name, value in heads.headers if name == b"authorization"]
    assert values == [ENGINE_KEY] * heads.count, values
    assert not [name for name, value in heads.headers if KEY.encode() in value]


async def _turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


class _Ear(logging.Handler):
    """Hears of tasks that failed: their guard logs it and goes on."""

    def __init__(self, lost: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._lost = lost

    def emit(self, record: logging.LogRecord) -> None:
        """Only errors that nobody expected come with their traceback."""
        if record.exc_info:
            self._lost.append(record.getMessage())


_loop: asyncio.AbstractEventLoop | None = None
_ear: _Ear | None = None
_fuzzed: Fuzzed | None = None


def talk(parts: list[bytes]) -> None:
    """One conversation; the gateway and its loop are made with the first."""
    global _loop, _fuzzed, _ear
    if _loop is None or _fuzzed is None:
        _loop = asyncio.new_event_loop()
        _fuzzed = _loop.run_until_complete(_make())
        _loop.set_exception_handler(_fuzzed.note)
        _ear = _Ear(_fuzzed.lost)
        logging.getLogger("corral").addHandler(_ear)
    _loop.run_until_complete(_fuzzed.talk(parts))


def close() -> None:
    """End the gateway and its loop, for who cares about open files."""
    global _loop, _fuzzed, _ear
    if _loop is not None:
        _loop.close()
    if _ear is not None:
        logging.getLogger("corral").removeHandler(_ear)
    _loop = _fuzzed = _ear = None


async def _make() -> Fuzzed:
    fuzzed = Fuzzed()
    await asyncio.sleep(0.01)  # the waiter of the first load
    return fuzzed
