"""
What the relay's tests share: a gateway on a free port, engines scripted to the byte, clients that speak raw.

Engines and clients are plain asyncio streams: a test writes exactly what it wants to be on the wire.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from corral.contracts.changes import Changes
from corral.contracts.control import Control
from corral.contracts.requests import OwnFields
from corral.domain.events import Notice, RequestFinished
from corral.domain.fleet import ModelSpec, Timeouts
from corral.domain.launch import Endpoint
from corral.domain.serving import ServerSpec
from corral.fakes.leases import FakeLeases
from corral.gateway.auth import KeyRing
from corral.gateway.directory import ModelDirectory
from corral.gateway.server import Gateway
from corral.kit.clock import SystemClock

DEADLINE_S = 5.0
CHAT = "/v1/chat/completions"

Script = Callable[["Heard", asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Heard:
    """One request as an engine got it."""

    line: str
    headers: dict[str, str]
    body: bytes
    reader: asyncio.StreamReader

    async def until_closed(self) -> float:
        """Wait until the gateway closes the connection; when that was."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                pass
        return time.monotonic()


async def read_request(reader: asyncio.StreamReader) -> Heard | None:
    """The next request on a connection, None at its end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    lines = head.decode("latin-1").split("\r\n")
    headers = {line.split(": ", 1)[0].lower(): line.split(": ", 1)[1] for line in lines[1:] if ": " in line}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Heard(lines[0], headers, body, reader)


class Upstream:
    """An engine: runs `script` for each request and keeps the connection as long as the script does not close it."""

    def __init__(self, script: Script | None = None) -> None:
        self.script: Script = script or say({"hello": "world"})
        self.heard: list[Heard] = []
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._handlers: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.endpoint = Endpoint()

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._handle, "127.0.0.1", 0)
        self.endpoint = Endpoint(host="127.0.0.1", port=self._server.sockets[0].getsockname()[1], key="engine-key")

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        self._writers.add(writer)
        self.connections += 1
        try:
            while (request := await read_request(reader)) is not None:
                self.heard.append(request)
                await self.script(request, writer)
                if writer.is_closing():
                    break
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._handlers.discard(task)
            self._writers.discard(writer)
            writer.close()

    async def stop(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        for task in list(self._handlers):
            task.cancel()
        if self._handlers:
            await asyncio.wait(self._handlers, timeout=2)


def answer(body: bytes, *, status: str = "200 OK", headers: str = "content-type: application/json\r\n") -> bytes:
    """A whole answer with its length."""
    return f"HTTP/1.1 {status}\r\n{headers}content-length: {len(body)}\r\n\r\n".encode() + body


def say(value: Any, *, status: str = "200 OK") -> Script:
    """A script that answers JSON."""
    return write(answer(json.dumps(value).encode(), status=status))


def write(*pieces: bytes, close: bool = False, pause_s: float = 0.0) -> Script:
    """A script that writes these bytes, then maybe closes."""

    async def script(request: Heard, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            if pause_s:
                await asyncio.sleep(pause_s)
        if close:
            writer.close()

    return script


SSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def delta(text: str) -> bytes:
    """One event of a chat stream."""
    return f'data: {{"choices":[{{"index":0,"delta":{{"content":{json.dumps(text)}}}}}]}}\n\n'.encode()


@dataclass
class Got:
    """An answer as a client got it. `complete` False: it was cut off."""

    status: int
    headers: dict[str, str]
    body: bytes
    complete: bool

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error code in the body."""
        return str(self.json()["error"]["code"])


class Raw:
    """A client connection that sends exactly what it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        """Write."""
        self.writer.write(data)

    def post(self, path: str, body: Any, *headers: str, version: str = "1.1") -> None:
        """Send a POST with a length."""
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        extra = "".join(f"{line}\r\n" for line in headers)
        self.send(
            f"POST {path} HTTP/{version}\r\nHost: localhost\r\n{extra}Content-Length: {len(text)}\r\n\r\n".encode()
            + text
        )

    def get(self, path: str, *headers: str, method: str = "GET", host: str = "localhost") -> None:
        """Send a request without a body."""
        extra = "".join(f"{line}\r\n" for line in headers)
        self.send(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{extra}\r\n".encode())

    async def head(self) -> tuple[int, dict[str, str]]:
        """The next answer's status and headers (names in lower case). Repeated headers fail the test."""
        raw = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), DEADLINE_S)
        lines = raw.decode("latin-1").split("\r\n")
        pairs = [tuple(line.split(": ", 1)) for line in lines[1:] if line]
        names = [pair[0].lower() for pair in pairs]
        assert len(set(names)) == len(names), f"a header is there twice: {names}"
        return int(lines[0].split()[1]), {pair[0].lower(): pair[1] for pair in pairs}

    async def got(self, *, bodiless: bool = False) -> Got:
        """The next whole answer, or as much as came of it."""
        status, headers = await self.head()
        if bodiless or status in (204, 304):
            return Got(status, headers, b"", True)
        try:
            body = await asyncio.wait_for(self._body(headers), DEADLINE_S)
        except asyncio.IncompleteReadError as error:
            return Got(status, headers, error.partial, False)
        return Got(status, headers, *body)

    async def _body(self, headers: dict[str, str]) -> tuple[bytes, bool]:
        if "content-length" in headers:
            return await self.reader.readexactly(int(headers["content-length"])), True
        if headers.get("transfer-encoding") != "chunked":
            return await self.reader.read(-1), True
        out = b""
        while True:
            try:
                line = await self.reader.readuntil(b"\r\n")
                size = int(line, 16)
                data = await self.reader.readexactly(size + 2)
            except (asyncio.IncompleteReadError, ConnectionError):
                return out, False
            assert data.endswith(b"\r\n")
            if size == 0:
                return out, True
            out += data[:-2]

    async def chunk(self) -> bytes:
        """The next chunk of a chunked body."""
        size = int(await asyncio.wait_for(self.reader.readuntil(b"\r\n"), DEADLINE_S), 16)
        return (await asyncio.wait_for(self.reader.readexactly(size + 2), DEADLINE_S))[:-2]

    async def closed(self, within_s: float = DEADLINE_S) -> bytes:
        """Wait for the end of the connection; what came before it."""
        try:
            return await asyncio.wait_for(self.reader.read(-1), within_s)
        except ConnectionError:
            return b""

    async def silent(self, for_s: float = 0.05) -> bool:
        """True when nothing comes for that long."""
        try:
            await asyncio.wait_for(self.reader.readexactly(1), for_s)
        except TimeoutError:
            return True
        return False


@dataclass
class Recorder:
    """A publisher that keeps what it is told."""

    notices: list[Notice] = field(default_factory=list)

    def publish(self, notice: Notice) -> None:
        """Keep it."""
        self.notices.append(notice)

    @property
    def finished(self) -> list[RequestFinished]:
        """The requests that have ended."""
        return [notice for notice in self.notices if isinstance(notice, RequestFinished)]

    async def one(self) -> RequestFinished:
        """The one request that has ended (waits for it)."""
        await until(lambda: bool(self.finished))
        await asyncio.sleep(0.02)
        assert len(self.finished) == 1, self.finished
        return self.finished[0]


@dataclass
class Stage:
    """A running gateway and what is around it."""

    gateway: Gateway
    leases: FakeLeases
    record: Recorder
    upstream: Upstream
    directory: ModelDirectory
    clients: list[Raw] = field(default_factory=list)

    async def client(self) -> Raw:
        """A new connection to the gateway."""
        raw = Raw(*await asyncio.open_connection("127.0.0.1", self.gateway.port, limit=2**24))
        self.clients.append(raw)
        return raw

    async def post(self, path: str, body: Any, *headers: str) -> Got:
        """One POST on a connection of its own."""
        client = await self.client()
        client.post(path, body, *headers)
        return await client.got()

    async def get(self, path: str, *headers: str, **more: Any) -> Got:
        """One GET on a connection of its own."""
        client = await self.client()
        client.get(path, *headers, **more)
        return await client.got(bodiless=more.get("method") == "HEAD")

    def at_rest(self) -> bool:
        """Nothing is held: no lease, no place in a queue, no bytes of a body."""
        return not self.leases.held and not self.leases.waiting and not self.gateway.bodies.held


async def until(condition: Callable[[], bool], within_s: float = DEADLINE_S) -> float:
    """Wait until it is true; the seconds that took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within_s, "it did not become true in time"
        await asyncio.sleep(0.005)
    return time.monotonic() - began


async def _metrics() -> bytes:
    return b"corral_up 1\n"


@contextlib.asynccontextmanager
async def stage(
    script: Script | None = None,
    *,
    models: tuple[ModelSpec, ...] | None = None,
    control: Control | None = None,
    changes: Changes | None = None,
    timeouts: Timeouts | None = None,
    key_ring: KeyRing | None = None,
    speaks: tuple[str, ...] = (),
    own_fields: OwnFields | None = None,
    **server: Any,
) -> AsyncIterator[Stage]:
    """A gateway with one engine behind all Models (by default one, `m`), loopback, without keys."""
    spec = ServerSpec(**{"port": 0, **server})
    upstream = Upstream(script)
    await upstream.start()
    upstream.endpoint = replace(upstream.endpoint, speaks=speaks)
    fleet = models or (ModelSpec("m", timeouts=timeouts or Timeouts()),)
    leases = FakeLeases({model.name: upstream.endpoint for model in fleet})
    record, directory = Recorder(), ModelDirectory(fleet)
    gateway = Gateway(
        spec,
        leases,
        directory,
        key_ring or KeyRing(spec),
        record,
        SystemClock(),
        control=control,
        metrics=_metrics,
        own_fields=own_fields,
        changes=changes,
    )
    scene = Stage(gateway, leases, record, upstream, directory)
    try:
        await gateway.start()
        yield scene
    finally:
        for client in scene.clients:
            client.writer.transport.abort()
        await gateway.close()
        await upstream.stop()
        await asyncio.sleep(0)
