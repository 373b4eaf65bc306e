"""
A GET over one kept-alive connection to a local HTTP server, for health checks that come every few milliseconds.

Not a client for strangers: bodies are bounded, nothing is redirected, compressed or retried.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final

_HEAD_LIMIT: Final = 64 * 1024
_BODY_LIMIT: Final = 16 * 1024**2


class NotHttp(Exception):
    """What came back is not an HTTP response that can be read."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class LocalConnection:
    """
    One connection to a unix socket, or to host and port, opened on first use and again after it was closed.

    Not for concurrent use. Raises OSError (also for a connection that ends in the middle), TimeoutError or NotHttp;
    after any of them the next `get` opens a new connection.
    """

    def __init__(self, *, socket: str = "", host: str = "", port: int = 0) -> None:
        self._socket = socket
        self._host = host
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> LocalConnection:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def get(self, path: str, *, headers: Mapping[str, str] | None = None, timeout_s: float) -> Answer:
        """GET `path` (which may hold a query). The deadline covers connecting and the whole body."""
        try:
            async with asyncio.timeout(timeout_s):
                reader, writer = self._streams or await self._open()
                lines = [f"GET {path} HTTP/1.1", f"Host: {self._host or 'localhost'}", "Accept: application/json"]
                lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
                writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
                await writer.drain()
                answer, reusable = await read_answer(reader)
        except BaseException:  # a half-read connection must never be used again, whatever the reason
            self._drop()
            raise
        if not reusable:
            self._drop()
        return answer

    async def aclose(self) -> None:
        """Close the connection, if there is one."""
        if self._streams:
            _, writer = self._streams
            self._drop()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(1.0):
                    await writer.wait_closed()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._socket:
            self._streams = await asyncio.open_unix_connection(self._socket, limit=_HEAD_LIMIT)
        else:
            self._streams = await asyncio.open_connection(self._host, self._port, limit=_HEAD_LIMIT)
        return self._streams

    def _drop(self) -> None:
        if self._streams:
            self._streams[1].close()
            self._streams = None


async def read_answer(reader: asyncio.StreamReader) -> tuple[Answer, bool]:
    """One response, and whether the connection may be used again."""
    while True:
        status, version, headers = await _head(reader)
        if status >= 200 or status == 101:
            break
    reusable = version == b"HTTP/1.1" and headers.get("connection", "").lower() != "close"
    if status in (204, 304):
        return Answer(status, headers, b""), reusable
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return Answer(status, headers, await _chunked(reader)), reusable
    length = headers.get("content-length")
    if length is None:
        return Answer(status, headers, await _to_the_end(reader)), False
    if not length.isdecimal() or int(length) > _BODY_LIMIT:
        raise NotHttp(f"Content-Length {length[:40]!r} cannot be read")
    return Answer(status, headers, await _exactly(reader, int(length))), reusable


async def _head(reader: asyncio.StreamReader) -> tuple[int, bytes, dict[str, str]]:
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError as error:
        raise NotHttp("the head of the answer is too long") from error
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise NotHttp(f"the answer begins with {error.partial[:40]!r}") from error
        raise ConnectionResetError("the connection was closed before the answer") from error
    first, *lines = raw[:-4].split(b"\r\n")
    parts = first.split(b" ", 2)
    if not parts[0].startswith(b"HTTP/1.") or len(parts) < 2 or not parts[1].isdigit():
        raise NotHttp(f"the answer begins with {first[:40]!r}")
    headers = {}
    for line in lines:
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    return int(parts[1]), parts[0], headers


async def _exactly(reader: asyncio.StreamReader, count: int) -> bytes:
    try:
        return await reader.readexactly(count)
    except asyncio.IncompleteReadError as error:
        raise ConnectionResetError("the connection was closed in the middle of the answer") from error


async def _chunked(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while True:
        size_line = await reader.readline()
        try:
            size = int(size_line.split(b";", 1)[0].strip(), 16)
        except ValueError as error:
            raise NotHttp(f"a chunk begins with {size_line[:40]!r}") from error
        if size < 0 or len(body) + size > _BODY_LIMIT:
            raise NotHttp("the answer is too long")
        if size == 0:
            while (await reader.readline()).strip():
                pass
            return bytes(body)
        body += await _exactly(reader, size)
        await _exactly(reader, 2)


async def _to_the_end(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while piece := await reader.read(64 * 1024):
        body += piece
        if len(body) > _BODY_LIMIT:
            raise NotHttp("the answer is too long")
    return bytes(body)
