"""Websockets on /upstream: through to a real server and back, and every way in which they end or never begin."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from corral.domain.events import StateChanged
from corral.domain.fleet import ModelSpec, Timeouts
from corral.domain.instance import InstanceState
from corral.domain.serving import KeySpec
from corral.gateway import tunnel
from tests.paths.relay_kit import DEADLINE_S, Got, Heard, Raw, Stage, stage, until, write

KEY = base64.b64encode(bytes(range(16))).decode()
ACCEPT = base64.b64encode(hashlib.sha1(f"{KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()).decode()
OFFER = (
    "Connection: keep-alive, Upgrade",
    "Upgrade: WebSocket",
    "Sec-WebSocket-Version: 13",
    f"Sec-WebSocket-Key: {KEY}",
)
AGREED = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Accept: {ACCEPT}\r\n"
)
PATH = "/upstream/m/v1/realtime?x=%20y"


def frame(text: bytes, opcode: int = 1) -> bytes:
    """A client's frame, masked."""
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(text))
    return struct.pack("!BB", 0x80 | opcode, 0x80 | len(text)) + mask + masked


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """The text of the next frame, unmasked where it is masked."""
    head = await asyncio.wait_for(reader.readexactly(2), DEADLINE_S)
    mask = await reader.readexactly(4) if head[1] & 0x80 else b"\0\0\0\0"
    text = await reader.readexactly(head[1] & 0x7F)
    return bytes(byte ^ mask[index % 4] for index, byte in enumerate(text))


async def echo(request: Heard, writer: asyncio.StreamWriter) -> None:
    """A websocket server: agrees, greets in the same packet, says everything again until the other side is gone."""
    greeting = b"\x81\x05hello"
    writer.write(f"{AGREED}Sec-WebSocket-Protocol: chat\r\nSet-Cookie: a=b\r\n\r\n".encode() + greeting)
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            text = await read_frame(request.reader)
            writer.write(struct.pack("!BB", 0x81, len(text)) + text)
    writer.close()


async def silent(request: Heard, writer: asyncio.StreamWriter) -> None:
    """Agrees and says nothing."""
    writer.write(f"{AGREED}\r\n".encode())
    await request.until_closed()


@contextlib.asynccontextmanager
async def opened(
    script: Callable[[Heard, asyncio.StreamWriter], Awaitable[None]] = echo, **more: object
) -> AsyncIterator[tuple[Stage, Raw]]:
    """A stage with one websocket open; at the end everything must have been given back."""
    async with stage(script, **more) as scene:  # type: ignore[arg-type]
        client = await scene.client()
        client.get(
            PATH, *OFFER, "Sec-WebSocket-Protocol: chat", "Cookie: secret=1", "Authorization: Bearer " + "k" * 32
        )
        status, headers = await client.head()
        assert (status, headers["sec-websocket-accept"], headers["upgrade"]) == (101, ACCEPT, "websocket")
        assert headers["connection"] == "Upgrade" and "content-length" not in headers and "set-cookie" not in headers
        yield scene, client
        await until(scene.at_rest)
        assert not scene.gateway.tunnels


async def test_bytes_pass_both_ways_and_the_lease_is_held() -> None:
    async with opened() as (scene, client):
        assert await read_frame(client.reader) == b"hello"
        heard = scene.upstream.heard[0]
        assert heard.line == "GET /v1/realtime?x=%20y HTTP/1.1"
        assert heard.headers["authorization"] == "Bearer engine-key" and "cookie" not in heard.headers
        assert heard.headers["sec-websocket-key"] == KEY and heard.headers["sec-websocket-protocol"] == "chat"
        for text in (b"", b"one", os.urandom(100)):
            client.send(frame(text))
            assert await read_frame(client.reader) == text
        assert len(scene.leases.held) == 1, "nobody evicts the Model meanwhile"
        client.writer.close()
        record = await scene.record.one()
        assert (record.route, record.status, record.outcome, record.model) == ("/upstream", 101, "ok", "m")
        assert record.bytes_out >= 100 and record.slot_s == 0


async def test_what_the_client_sends_ahead_is_part_of_the_connection() -> None:
    """A request hidden behind the handshake reaches the engine as bytes of the websocket, and never us as a request."""
    async with stage(echo) as scene:
        client = await scene.client()
        lines = "".join(f"{line}\r\n" for line in OFFER)
        client.send(f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode() + frame(b"GET / HTTP/1.1"))
        assert (await client.head())[0] == 101
        assert [await read_frame(client.reader) for _ in range(2)] == [b"hello", b"GET / HTTP/1.1"]


async def test_the_engine_ends_it() -> None:
    async with opened(write(f"{AGREED}\r\n".encode(), b"\x88\x02\x03\xe8", close=True)) as (scene, client):
        assert await client.closed() == b"\x88\x02\x03\xe8"
        assert (await scene.record.one()).outcome == "ok"


async def test_the_engine_is_stopped() -> None:
    async with opened(silent) as (scene, client):
        (lease,) = scene.leases.held
        scene.gateway.notice(StateChanged("m", lease.instance, InstanceState.DRAINING, InstanceState.STOPPING))
        assert await client.closed(1) == b""


async def test_silence_and_length_are_bounded() -> None:
    for timeouts in (Timeouts(idle_s=0.2), Timeouts(total_s=0.2)):
        async with opened(silent, timeouts=timeouts) as (_, client):
            assert await client.closed(2) == b""


async def test_bytes_keep_it_alive() -> None:
    async with opened(timeouts=Timeouts(idle_s=0.4)) as (_, client):
        assert await read_frame(client.reader) == b"hello"
        for _ in range(6):
            await asyncio.sleep(0.15)
            client.send(frame(b"x"))
            assert await read_frame(client.reader) == b"x"
        client.writer.close()


async def test_at_the_end_a_silent_one_does_not_hold_corral_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnel, "DRAIN_SILENCE_S", 0.2)
    async with opened() as (scene, client):
        assert await read_frame(client.reader) == b"hello"
        closing = asyncio.create_task(scene.gateway.close(drain_s=5))
        for _ in range(4):
            await asyncio.sleep(0.1)
            client.send(frame(b"still here"))
            assert await read_frame(client.reader) == b"still here"
        assert await client.closed(2) == b""
        await asyncio.wait_for(closing, 2)


async def test_slow_readers_hold_the_other_side() -> None:
    """Neither side's bytes pile up here: the engine is paused for the client, and the client for the engine."""

    async def pour(request: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(f"{AGREED}\r\n".encode())
        with contextlib.suppress(ConnectionError):
            for _ in range(400):
                writer.write(bytes(65536))
                await writer.drain()
            writer.close()

    async with opened(pour) as (scene, client):
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(0.3)
        (open_tunnel,) = scene.gateway.tunnels
        assert open_tunnel._client.transport.get_write_buffer_size() < 1024 * 1024
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert len(await client.closed(10)) == 400 * 65536

    deaf = asyncio.Event()

    async def hear_nothing(request: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(f"{AGREED}\r\n".encode())
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await deaf.wait()

    async with opened(hear_nothing, timeouts=Timeouts(idle_s=1.0)) as (scene, client):
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(0.5):
                while True:
                    client.send(bytes(65536))
                    await client.writer.drain()
        (open_tunnel,) = scene.gateway.tunnels
        assert open_tunnel._engine is not None
        assert open_tunnel._engine.transport.get_write_buffer_size() < 1024 * 1024
        await client.closed(3)  # the engine takes nothing: silence
        deaf.set()


async def refused(scene: Stage, *headers: str, path: str = PATH, method: str = "GET") -> Got:
    return await scene.get(path, *headers, method=method)


@pytest.mark.parametrize(
    "headers",
    [
        OFFER[1:],
        ("Connection: upgrade", *OFFER[1:2], *OFFER[3:]),
        (*OFFER[:3], "Sec-WebSocket-Key: short"),
        (*OFFER[:3], "Sec-WebSocket-Key: !!!!"),
        OFFER[:3],
        (*OFFER[:2], "Sec-WebSocket-Version: 8", OFFER[3]),
        (*OFFER, OFFER[3]),
        (*OFFER, OFFER[1]),
        (*OFFER, "Content-Length: 0", "Upgrade: foo"),
        ("Connection: upgrade", "Upgrade: tcp"),
    ],
)
async def test_a_fake_upgrade_reaches_nobody(headers: tuple[str, ...]) -> None:
    async with stage(echo) as scene:
        got = await refused(scene, *headers)
        assert (got.status, got.headers["x-corral-source"]) == (400, "corral")
        assert not scene.upstream.heard and scene.at_rest()


async def test_only_get_without_a_body_and_only_on_upstream() -> None:
    async with stage(echo) as scene:
        client = await scene.client()
        client.post(PATH, b"{}", *OFFER)
        assert (await client.got()).status == 400
        client = await scene.client()
        client.get(PATH, *OFFER, "Content-Length: 5")
        client.send(b"12345")
        assert (await client.got()).status == 400
        client = await scene.client()
        lines = "".join(f"{line}\r\n" for line in OFFER)
        client.send(f"GET {PATH} HTTP/1.0\r\nHost: localhost\r\n{lines}\r\n".encode())
        assert (await client.got()).status == 400
        assert (await refused(scene, *OFFER, path="/v1/models")).status == 400
        assert (await refused(scene, *OFFER, path="/v1/chat/completions")).status == 400
        assert (await refused(scene, *OFFER, path="/upstream/other/x")).status == 404
        assert (await refused(scene, *OFFER, path="/upstream/m/tools")).status == 404
        assert not scene.upstream.heard and scene.at_rest()


async def test_pages_of_other_sites_and_callers_without_a_key() -> None:
    async with stage(echo) as scene:
        assert (await refused(scene, *OFFER, "Origin: https://evil.example")).status == 403
        client = await scene.client()
        client.get(PATH, *OFFER, "Origin: http://localhost")
        assert (await client.head())[0] == 101
    keys = (KeySpec("me", hashlib.sha256(b"k" * 32).hexdigest()),)
    async with stage(echo, keys=keys) as scene:
        assert (await refused(scene, *OFFER)).status == 401
        client = await scene.client()
        client.get(PATH, *OFFER, "Authorization: Bearer " + "k" * 32)
        assert (await client.head())[0] == 101


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}", 404),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", 502),
        (f"{AGREED}\r\n".replace(ACCEPT, KEY).encode(), 502),
        (f"{AGREED}\r\n".replace("Upgrade: websocket", "Upgrade: tcp").encode(), 502),
        (f"{AGREED}\r\n".replace("Connection: Upgrade", "Connection: close").encode(), 502),
        (f"{AGREED}Content-Length: 5\r\n\r\n".encode(), 502),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", 502),
        (b"nonsense\r\n\r\n", 502),
        (b"HTTP/1.1 101 " + b"x" * 70_000, 502),
        (b"", 502),
    ],
)
async def test_an_engine_that_does_not_agree(answer: bytes, status: int) -> None:
    async with stage(write(answer, close=True)) as scene:
        client = await scene.client()
        client.get(PATH, *OFFER)
        client.get("/v1/models")  # sent ahead; the connection ends, so that it can never be mistaken for a request
        got = await client.got()
        assert (got.status, got.headers["x-corral-source"], got.headers["connection"]) == (status, "engine", "close")
        assert await client.closed() == b""
        assert scene.at_rest() and not scene.gateway.tunnels
        assert (await scene.record.one()).status == status


async def test_the_client_leaves_before_the_engine_has_answered() -> None:
    async with stage(silent) as scene:
        client = await scene.client()
        client.get(PATH, *OFFER)
        await asyncio.sleep(0.05)
        client.writer.transport.abort()
        await until(scene.at_rest)
        await until(lambda: not scene.gateway.tunnels)


async def test_no_engine_and_no_answer() -> None:
    async def nothing(request: Heard, writer: asyncio.StreamWriter) -> None:
        await request.until_closed()

    async with stage(nothing, models=(ModelSpec("m", timeouts=Timeouts(first_token_s=0.2)),)) as scene:
        assert (await refused(scene, *OFFER)).status == 504
        await scene.upstream.stop()
        assert (await refused(scene, *OFFER)).status == 502
        assert scene.at_rest()
