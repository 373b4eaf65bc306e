"""
What a client says to a server and what it is told: every byte goes through untouched, and is read afterwards.

    async with tap("127.0.0.1", port) as listening:
        ...  # a client calls listening.address
    for call in listening.calls(): ...
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Final

import h11

_LARGEST_HEAD_BYTES: Final = 1 << 16


@dataclass
class Call:
    """One request and its answer."""

    method: str
    path: str  # without the query
    headers: dict[str, str]
    body: bytes = b""
    status: int = 0  # 0: the client has left before there was one
    answer: bytes = b""
    whole: bool = False  # the answer has ended as its framing says
    answer_headers: dict[str, str] = field(default_factory=dict)


@dataclass
class _Wire:
    """Both directions of one connection."""

    up: bytearray = field(default_factory=bytearray)
    down: bytearray = field(default_factory=bytearray)


class Tap:
    """The connections so far."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._wires: list[_Wire] = []
        self._handlers: set[asyncio.Task[None]] = set()
        self.address = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        wire = _Wire()
        self._wires.append(wire)
        upstream, server = await asyncio.open_connection(*self._target)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_carry(reader, server, wire.up))
                both.create_task(_carry(upstream, writer, wire.down))
        finally:
            self._handlers.discard(task)
            writer.close()
            server.close()

    def calls(self) -> list[Call]:
        """All calls, connection by connection."""
        return [call for wire in self._wires for call in _read(wire)]

    async def stop(self) -> None:
        """End what is left of the connections."""
        for task in list(self._handlers):
            task.cancel()
        if self._handlers:
            await asyncio.wait(self._handlers, timeout=5)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            kept += data
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(ConnectionError, OSError):
        writer.close()  # both directions: no client of HTTP goes on talking after one has ended


def _read(wire: _Wire) -> list[Call]:
    """The calls of one connection: each side is replayed to a parser that is told what the other has said."""
    client = h11.Connection(h11.SERVER, max_incomplete_event_size=_LARGEST_HEAD_BYTES)
    server = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LARGEST_HEAD_BYTES)
    for parser, data in ((client, wire.up), (server, wire.down)):
        if data:
            parser.receive_data(bytes(data))
        parser.receive_data(b"")
    calls: list[Call] = []
    with contextlib.suppress(h11.ProtocolError):  # what has been cut short ends the list
        while isinstance(request := client.next_event(), h11.Request):
            path = request.target.decode("latin-1").partition("?")[0]
            calls.append(Call(request.method.decode(), path, _named(request.headers)))
            _one(client, server, request, calls[-1])
            client.start_next_cycle()
            server.start_next_cycle()
    return calls


def _one(client: h11.Connection, server: h11.Connection, request: h11.Request, call: Call) -> None:
    server.send(request)
    while not isinstance(event := client.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data)
        call.body += event.data
        server.send(event)
    server.send(event)
    while isinstance(answer := server.next_event(), h11.InformationalResponse):
        client.send(answer)
    assert isinstance(answer, h11.Response)
    call.status, call.answer_headers = answer.status_code, _named(answer.headers)
    client.send(answer)
    while not isinstance(piece := server.next_event(), h11.EndOfMessage):
        assert isinstance(piece, h11.Data)
        call.answer += piece.data
        client.send(piece)
    call.whole = True
    client.send(piece)


def _named(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}


@contextlib.asynccontextmanager
async def tap(host: str, port: int) -> AsyncIterator[Tap]:
    """Listen on a free port of loopback, and carry what comes to `host` and `port`."""
    listening = Tap(host, port)
    server = await asyncio.start_server(listening.handle, "127.0.0.1", 0)
    listening.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield listening
    finally:
        server.close()
        await listening.stop()
