"""
The smallest HTTP/1.1 server that can misbehave on demand. Standard library only.

It notices a client that leaves at once, whatever it is doing, and says when: that is what tests of cancellation
measure. Times are of `time.monotonic`, which all processes of a Linux machine share.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

_MAX_HEAD: Final = 64 * 1024
_IDLE_S: Final = 5.0  # llama-server closes a kept connection after this silence
_REQUESTS: Final = 100  # and after this many requests


class ClientLeft(Exception):
    """The client closed its connection, or its half of it."""


class BadHttp(Exception):
    """The client does not speak HTTP."""


@dataclass(slots=True)
class Request:
    """A request and what became of it; `report` is what GET /fake/requests shows."""

    number: int
    connection: int
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    at: float = field(default_factory=time.monotonic)
    status: int | None = None
    first_byte_at: float | None = None
    ended_at: float | None = None
    left_at: float | None = None
    chunks_sent: int = 0

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    def header(self, name: str) -> str:
        """The first header of this name (lower case), or ""."""
        return next((value for key, value in self.headers if key.lower() == name), "")

    def json(self) -> dict[str, Any]:
        """The body as a JSON object. Raises ValueError."""
        value = json.loads(self.body or b"{}")
        if not isinstance(value, dict):
            raise ValueError("the body is not a JSON object")
        return value

    def report(self) -> dict[str, Any]:
        """The request as JSON: the body only as its length and SHA-256."""
        return {
            "number": self.number,
            "connection": self.connection,
            "method": self.method,
            "target": self.target,
            "headers": [list(each) for each in self.headers],
            "body_bytes": len(self.body),
            "sha256": hashlib.sha256(self.body).hexdigest(),
            "status": self.status,
            "at": self.at,
            "first_byte_at": self.first_byte_at,
            "ended_at": self.ended_at,
            "left_at": self.left_at,
            "chunks_sent": self.chunks_sent,
        }


Handler = Callable[[Request, "Connection"], Awaitable[None]]


class Connection(asyncio.Protocol):
    """One client. `serve` answers its requests one after another."""

    def __init__(self, number: int, next_number: Callable[[], int], handler: Handler) -> None:
        self.number = number
        self.next_number = next_number
        self.handler = handler
        self.buffer = bytearray()
        self.transport: asyncio.Transport
        self.gone = asyncio.Event()
        self.left_at: float | None = None
        self.closing = False
        self._more = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        self._more.set()

    def eof_received(self) -> bool:
        self._leave()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _leave(self) -> None:
        if self.left_at is None:
            self.left_at = time.monotonic()
        for each in (self.gone, self._more, self._writable):
            each.set()

    async def serve(self) -> None:
        """Answer until the connection ends."""
        try:
            for served in range(1, _REQUESTS + 1):
                request = await self._request()
                self.closing = served == _REQUESTS
                try:
                    await self.handler(request, self)
                    request.ended_at = time.monotonic()
                except ClientLeft:
                    request.left_at = self.left_at
                    return
                if self.closing:
                    return
        except (ClientLeft, TimeoutError):
            return
        except (BadHttp, ValueError):
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        finally:
            self.transport.close()

    async def _request(self) -> Request:
        head = await self._until(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        words = first.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            raise BadHttp(first)
        headers = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines if line)]
        request = Request(self.next_number(), self.number, words[0], words[1], headers, b"")
        if request.header("expect").lower() == "100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "chunked" in request.header("transfer-encoding").lower():
            request.body = await self._chunked()
        else:
            request.body = await self._exactly(int(request.header("content-length") or 0))
        return request

    async def _chunked(self) -> bytes:
        body = b""
        while size := int((await self._until(b"\r\n")).split(b";")[0], 16):
            body += await self._exactly(size)
            await self._exactly(2)
        while await self._until(b"\r\n"):
            pass
        return body

    async def _until(self, mark: bytes) -> bytes:
        while (at := self.buffer.find(mark)) < 0:
            if len(self.buffer) > _MAX_HEAD:
                raise BadHttp("too long")
            await self._read()
        found = bytes(self.buffer[:at])
        del self.buffer[: at + len(mark)]
        return found

    async def _exactly(self, count: int) -> bytes:
        while len(self.buffer) < count:
            await self._read()
        found = bytes(self.buffer[:count])
        del self.buffer[:count]
        return found

    async def _read(self) -> None:
        if self.gone.is_set():
            raise ClientLeft
        self._more.clear()
        await asyncio.wait_for(self._more.wait(), _IDLE_S)

    async def pause(self, seconds: float) -> None:
        """Sleep; raises ClientLeft as soon as the client is gone."""
        if seconds <= 0:
            await asyncio.sleep(0)
        else:
            try:
                await asyncio.wait_for(self.gone.wait(), seconds)
            except TimeoutError:
                return
        if self.gone.is_set():
            raise ClientLeft

    async def send(self, request: Request, data: bytes) -> None:
        """Write, waiting while the client reads slower than that. Raises ClientLeft."""
        if self.gone.is_set():
            raise ClientLeft
        if request.first_byte_at is None:
            request.first_byte_at = time.monotonic()
        self.transport.write(data)
        await self._writable.wait()

    async def answer(self, request: Request, status: int, body: bytes, *, length: int | None = None) -> None:
        """A whole answer with a length; like llama-server it closes the connection after an error."""
        request.status = status
        if status >= 400:
            self.closing = True
        head = _head(status, "application/json; charset=utf-8", close=self.closing)
        await self.send(
            request, head + f"Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body
        )

    async def begin_stream(self, request: Request) -> None:
        """The head of a stream. As with llama-server the connection ends with it, and the head does not say so."""
        request.status = 200
        head = _head(200, "text/event-stream", close=False)
        await self.send(request, head + b"X-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.closing = True

    async def chunk(self, request: Request, data: bytes) -> None:
        """One chunk of a stream; empty data ends it."""
        await self.send(request, f"{len(data):x}\r\n".encode() + data + b"\r\n")


def _head(status: int, kind: str, *, close: bool) -> bytes:
    manner = "Connection: close" if close else "Keep-Alive: timeout=5, max=100"
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    return (
        f"HTTP/1.1 {status} {phrase}\r\nServer: llama.cpp\r\nAccess-Control-Allow-Origin: \r\n"
        f"Content-Type: {kind}\r\n{manner}\r\n"
    ).encode()
