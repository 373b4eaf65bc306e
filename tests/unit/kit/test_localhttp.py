"""localhttp: one response read from a stream, and what becomes of the connection."""

from __future__ import annotations

import asyncio

import pytest

from corral.kit.localhttp import LocalConnection, NotHttp, read_answer


def stream(raw: bytes, *, ends: bool = True) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=1024)
    reader.feed_data(raw)
    if ends:
        reader.feed_eof()
    return reader


async def test_a_length_leaves_the_connection_open() -> None:
    reader = stream(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A:  b \r\n\r\nhiHTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n"
    )
    answer, reusable = await read_answer(reader)
    assert (answer.status, answer.body, answer.headers["x-a"], reusable) == (200, b"hi", "b", True)
    assert (await read_answer(reader))[0].status == 503


@pytest.mark.parametrize(
    ("raw", "body", "reusable"),
    [
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n",
            b"abcde",
            True,
        ),
        (b"HTTP/1.1 200 OK\r\n\r\nto the end", b"to the end", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", b"a", False),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na", b"a", False),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", b"a", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
    ],
)
async def test_framings(raw: bytes, body: bytes, reusable: bool) -> None:
    answer, again = await read_answer(stream(raw))
    assert answer.body == body and again is reusable


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 3000 + b"\r\n\r\n",
    ],
)
async def test_what_is_not_http(raw: bytes) -> None:
    with pytest.raises(NotHttp):
        await read_answer(stream(raw))


@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"])
async def test_an_early_end_is_a_broken_connection(raw: bytes) -> None:
    with pytest.raises(ConnectionResetError):
        await read_answer(stream(raw))


async def test_nobody_there() -> None:
    async with LocalConnection(socket="/nonexistent/e.sock") as link:
        with pytest.raises(FileNotFoundError):
            await link.get("/health", timeout_s=1)
