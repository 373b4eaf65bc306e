"""However a request ends, its record says who served it and how long it kept a slot."""

from __future__ import annotations

import asyncio

import pytest

from corral.domain.events import StateChanged
from corral.domain.fleet import Timeouts
from corral.domain.instance import InstanceState
from tests.paths.relay_kit import CHAT, SSE_HEAD, Heard, Script, answer, chunk, delta, stage, until

STREAM = {"model": "m", "stream": True}
BEGUN = SSE_HEAD + chunk(delta("a"))
WORK_S = 0.1


async def dies(request: Heard, writer: asyncio.StreamWriter) -> None:
    """In the middle of its answer."""
    writer.write(BEGUN)
    await asyncio.sleep(WORK_S)
    writer.close()


async def babbles(request: Heard, writer: asyncio.StreamWriter) -> None:
    """What is no chunk."""
    writer.write(BEGUN)
    await asyncio.sleep(WORK_S)
    writer.write(b"xyz\r\n")
    await request.until_closed()


async def falls_silent(request: Heard, writer: asyncio.StreamWriter) -> None:
    """Until the gateway has enough of it."""
    writer.write(BEGUN)
    await request.until_closed()


async def ends(request: Heard, writer: asyncio.StreamWriter) -> None:
    """Well."""
    writer.write(BEGUN)
    await asyncio.sleep(WORK_S)
    writer.write(b"0\r\n\r\n")


@pytest.mark.parametrize(
    ("script", "outcome"),
    [(ends, "ok"), (dies, "engine_died"), (babbles, "engine_error"), (falls_silent, "timeout")],
)
async def test_an_answer_that_the_engine_ends(script: Script, outcome: str) -> None:
    async with stage(script, timeouts=Timeouts(idle_s=WORK_S * 3)) as scene:
        await scene.post(CHAT, STREAM)
        done = await scene.record.one()
        assert (done.outcome, done.status, done.instance) == (outcome, 200, "m-1")
        assert WORK_S * 0.9 < done.slot_s <= done.duration_s


async def test_a_client_that_leaves_in_mid_answer() -> None:
    async with stage(falls_silent) as scene:
        client = await scene.client()
        client.post(CHAT, STREAM)
        await client.head()
        await asyncio.sleep(WORK_S)
        client.writer.close()
        done = await scene.record.one()
        assert (done.outcome, done.instance) == ("client_gone", "m-1")
        assert WORK_S * 0.9 < done.slot_s <= done.duration_s


async def test_an_engine_that_is_stopped_in_mid_answer() -> None:
    async with stage(falls_silent) as scene:
        client = await scene.client()
        client.post(CHAT, STREAM)
        await client.head()
        await asyncio.sleep(WORK_S)
        scene.gateway.notice(StateChanged("m", "m-1", InstanceState.READY, InstanceState.STOPPING))
        done = await scene.record.one()
        assert done.instance == "m-1"
        assert WORK_S * 0.9 < done.slot_s <= done.duration_s


async def test_both_leases_of_a_request_that_is_tried_once_more() -> None:
    times = 0

    async def script(request: Heard, writer: asyncio.StreamWriter) -> None:
        nonlocal times
        times += 1
        await asyncio.sleep(WORK_S)
        if times == 1:
            scene.leases.move("m", scene.upstream.endpoint)
            writer.close()
        else:
            writer.write(answer(b"{}"))

    async with stage(script) as scene:
        assert (await scene.post(CHAT, {"model": "m"})).status == 200
        done = await scene.record.one()
        assert done.instance == "m-2"
        assert 2 * WORK_S * 0.9 < done.slot_s <= done.duration_s


async def test_what_waited_only_kept_no_slot() -> None:
    async with stage() as scene:
        scene.leases.hold = True
        client = await scene.client()
        client.post(CHAT, STREAM)
        await until(lambda: bool(scene.leases.waiting))
        client.writer.close()
        done = await scene.record.one()
        assert (done.outcome, done.instance, done.slot_s) == ("client_gone", "", 0.0)
