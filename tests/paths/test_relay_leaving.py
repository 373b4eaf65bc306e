"""Clients that leave, at every stage: what they held is given back and the engine is told within 100 ms."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable

import pytest

from corral.domain.serving import NOBODY
from tests.paths.relay_kit import CHAT, SSE_HEAD, Heard, Raw, Stage, chunk, delta, stage, until

STREAM = {"model": "m", "stream": True}
PROMISE_S = 0.1  # promise 6


def fin(client: Raw) -> None:
    """An orderly close."""
    client.writer.close()


def half_close(client: Raw) -> None:
    """Only the client's own direction."""
    client.writer.write_eof()


def reset(client: Raw) -> None:
    """A reset, as a killed client or a firewall makes."""
    sock = client.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.writer.transport.abort()


WAYS: list[Callable[[Raw], None]] = [fin, half_close, reset]


class Engine:
    """Records when its connection was closed; `begin` says what it writes before it waits for that."""

    def __init__(self, begin: bytes = b"") -> None:
        self.begin = begin
        self.busy = asyncio.Event()
        self.closed_at: float | None = None

    async def script(self, request: Heard, writer: asyncio.StreamWriter) -> None:
        """Begin, then wait for the end of the connection."""
        writer.write(self.begin)
        self.busy.set()
        self.closed_at = await request.until_closed()


@contextlib.asynccontextmanager
async def lag() -> AsyncIterator[list[float]]:
    """How late this loop was at most: a machine that stalls is not the gateway's doing."""
    worst = [0.0]

    async def watch() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.005)
            worst[0] = max(worst[0], time.monotonic() - before - 0.005)

    task = asyncio.get_running_loop().create_task(watch())
    try:
        yield worst
    finally:
        task.cancel()


async def told(scene: Stage, engine: Engine, client: Raw, leave: Callable[[Raw], None]) -> None:
    """The client leaves; the engine hears of it in time and nothing is left."""
    async with lag() as worst:
        left_at = time.monotonic()
        leave(client)
        await until(lambda: engine.closed_at is not None, 2)
    assert engine.closed_at is not None and engine.closed_at - left_at < PROMISE_S + 2 * worst[0]
    assert scene.at_rest()
    done = await scene.record.one()
    assert done.outcome == "client_gone"
    await until(lambda: scene.gateway.connections == 0)


@pytest.mark.parametrize("leave", WAYS)
async def test_while_the_engine_thinks(leave: Callable[[Raw], None]) -> None:
    engine = Engine()
    async with stage(engine.script) as scene:
        client = await scene.client()
        client.post(CHAT, STREAM)
        await engine.busy.wait()
        await told(scene, engine, client, leave)
        assert scene.record.finished[0].status == 499


@pytest.mark.parametrize("leave", WAYS)
async def test_while_the_answer_streams(leave: Callable[[Raw], None]) -> None:
    engine = Engine(SSE_HEAD + chunk(delta("a")))
    async with stage(engine.script) as scene:
        client = await scene.client()
        client.post(CHAT, STREAM)
        await client.head()
        await client.chunk()
        await told(scene, engine, client, leave)
        assert scene.record.finished[0].status == 200


@pytest.mark.parametrize("leave", WAYS)
async def test_with_pipelined_requests_behind(leave: Callable[[Raw], None]) -> None:
    engine = Engine(SSE_HEAD + chunk(delta("a")))
    async with stage(engine.script) as scene:
        client = await scene.client()
        client.post(CHAT, STREAM)
        client.post(CHAT, STREAM)
        client.post(CHAT, {"model": "m", "x": "y" * 100_000})
        await client.head()
        await told(scene, engine, client, leave)
        assert len(scene.upstream.heard) == 1


@pytest.mark.parametrize("leave", WAYS)
async def test_while_it_waits_for_a_lease(leave: Callable[[Raw], None]) -> None:
    async with stage() as scene:
        scene.leases.hold = True
        client = await scene.client()
        client.post(CHAT, STREAM)
        await until(lambda: bool(scene.leases.waiting))
        async with lag() as worst:
            leave(client)
            took_s = await until(lambda: scene.leases.left == 1)
        assert took_s < PROMISE_S + 2 * worst[0]
        scene.leases.grant_all()
        assert scene.at_rest() and not scene.upstream.heard
        assert (await scene.record.one()).outcome == "client_gone"


@pytest.mark.parametrize("leave", WAYS)
async def test_while_it_sends_its_body(leave: Callable[[Raw], None]) -> None:
    async with stage() as scene:
        client = await scene.client()
        client.send(f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{{".encode())
        await until(lambda: scene.gateway.connections == 1)
        await asyncio.sleep(0.02)
        async with lag() as worst:
            leave(client)
            took_s = await until(lambda: bool(scene.record.finished))
        assert took_s < PROMISE_S + 2 * worst[0]
        assert (await scene.record.one()).outcome == "client_gone"
        await until(lambda: scene.gateway.connections == 0)
        assert scene.at_rest() and scene.leases.asked == 0


@pytest.mark.parametrize("leave", WAYS)
async def test_while_it_does_not_read(leave: Callable[[Raw], None]) -> None:
    engine = Engine(SSE_HEAD + chunk(delta("x" * 5000)) * 2000)
    async with stage(engine.script) as scene:
        client = await scene.client()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.post(CHAT, STREAM)
        await engine.busy.wait()
        await asyncio.sleep(0.2)
        await told(scene, engine, client, leave)


async def test_a_lease_that_comes_too_late_is_given_back() -> None:
    async with stage() as scene:
        scene.leases.hold = True
        client = await scene.client()
        client.post(CHAT, STREAM)
        await until(lambda: bool(scene.leases.waiting))
        waiter = scene.leases.waiting[0].waiter
        fin(client)
        await until(lambda: scene.leases.left == 1)
        scene.leases.hold = False
        scene.leases._grant(scene.leases.ask(waiter, model="m", caller=NOBODY, timeout_s=1))  # as by a slow scheduler
        assert scene.at_rest()


async def test_while_the_connection_to_the_engine_opens() -> None:
    async with stage() as scene:
        client = await scene.client()
        client.post(CHAT, STREAM)
        await until(lambda: bool(scene.leases.asked))
        fin(client)
        await until(lambda: bool(scene.record.finished))
        assert scene.at_rest()


async def test_many_that_leave_leave_nothing() -> None:
    engine = Engine()
    async with stage(engine.script) as scene:
        clients = [await scene.client() for _ in range(60)]
        for index, client in enumerate(clients):
            client.post(CHAT, STREAM if index % 2 else {"model": "m"})
        await until(lambda: len(scene.upstream.heard) == 60)
        for index, client in enumerate(clients):
            WAYS[index % 3](client)
        await until(lambda: scene.gateway.connections == 0 and not len(scene.gateway.links))
        assert scene.at_rest()
        assert [done.outcome for done in scene.record.finished] == ["client_gone"] * 60
