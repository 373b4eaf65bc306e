"""kill -9 of the engine, of the keeper and of Corral, at every stage: known at once, and nothing is left."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from corral.domain.errors import PlaceFailed
from corral.domain.launch import ExitKind, ExitStatus
from corral.runtimes.process.keeper import procs
from tests.paths.keeper_kit import STUBBORN, Home, corral, launch, open_fds, said, until

WRAPPER = "setsid sleep 1000 & echo up; sleep 1000 & wait"
"""A shell with a child in its group and one in a session of its own."""


@pytest.fixture
def home(short_tmp: Path) -> Home:
    return Home(short_tmp)


# --- the engine


async def test_a_killed_engine_is_noticed_at_once(home: Home) -> None:
    async with home.open() as runtime:
        handle = await launch(runtime, "exec sleep 1000")
        wait = asyncio.gather(runtime.wait(handle))
        await asyncio.sleep(0.05)
        began = time.monotonic()
        os.kill(handle.data["pid"], signal.SIGKILL)
        (status,) = await wait
        assert status == ExitStatus(ExitKind.SIGNALLED, signal=9)
        assert time.monotonic() - began < 0.1


async def test_an_engine_killed_while_it_stops_was_stopped(home: Home) -> None:
    async with home.open() as runtime:
        handle = await launch(runtime, STUBBORN)
        await said(runtime, handle, "up")
        stop = asyncio.gather(runtime.stop(handle, grace_s=30))
        await asyncio.sleep(0.05)
        os.kill(handle.data["pid"], signal.SIGKILL)
        (status,) = await stop
        assert status == ExitStatus(ExitKind.STOPPED, signal=9)
        assert home.alive() == []


async def test_what_a_killed_wrapper_leaves_is_killed(home: Home) -> None:
    async with home.open() as runtime:
        handle = await launch(runtime, WRAPPER)
        await said(runtime, handle, "up")
        await until(lambda: len(home.alive()) == 3)
        os.kill(handle.data["pid"], signal.SIGKILL)
        assert await runtime.wait(handle) == ExitStatus(ExitKind.SIGNALLED, signal=9)
        assert home.alive() == []  # `wait` returns when all of it is gone


# --- the keeper


@pytest.mark.parametrize("script", ["echo up; exec sleep 1000", WRAPPER, STUBBORN])
async def test_a_killed_keeper_takes_its_engines_along(home: Home, script: str) -> None:
    async with home.open() as runtime:
        one, two = await launch(runtime, script, "one"), await launch(runtime, script, "two")
        for handle in (one, two):
            await said(runtime, handle, "up")
        began = time.monotonic()
        os.kill(one.data["keeper_pid"], signal.SIGKILL)
        async with asyncio.timeout(5):
            statuses = await asyncio.gather(runtime.wait(one), runtime.wait(two))
        assert time.monotonic() - began < 1
        assert home.alive() == []
        assert [status.kind for status in statuses] == [ExitKind.LOST] * 2
        assert str(one.data["keeper_pid"]) in statuses[0].detail
        await runtime.destroy(one)
        again = await launch(runtime, "exec sleep 1000", "one")  # with a fresh keeper
        assert again.data["keeper_pid"] != one.data["keeper_pid"]
        assert await runtime.recover(again) is None
        assert await runtime.recover(two) == statuses[1]


async def test_a_keeper_killed_while_an_engine_stops(home: Home) -> None:
    async with home.open() as runtime:
        handle = await launch(runtime, STUBBORN)
        await said(runtime, handle, "up")
        stop = asyncio.gather(runtime.stop(handle, grace_s=30))
        await asyncio.sleep(0.05)
        os.kill(handle.data["keeper_pid"], signal.SIGKILL)
        async with asyncio.timeout(5):
            assert [status.kind for status in await stop] == [ExitKind.LOST]
        assert home.alive() == []
        await runtime.destroy(handle)


@pytest.mark.parametrize("delay_s", [0.0, 0.0005, 0.001, 0.002, 0.004, 0.008])
async def test_a_keeper_killed_while_an_engine_starts(home: Home, delay_s: float) -> None:
    async with home.open() as runtime:
        first = await launch(runtime, "exec sleep 1000", "first")
        start = asyncio.gather(launch(runtime, WRAPPER, "second"), return_exceptions=True)
        await asyncio.sleep(delay_s)
        os.kill(first.data["keeper_pid"], signal.SIGKILL)
        async with asyncio.timeout(5):
            (result,) = await start
            if isinstance(result, BaseException):
                assert isinstance(result, PlaceFailed)
                assert not (home.state / "scratch" / "second").exists()
            else:
                assert (await runtime.wait(result)).kind is ExitKind.LOST
            assert (await runtime.wait(first)).kind is ExitKind.LOST
        assert home.alive() == []
        again = await launch(runtime, "exec sleep 1000", "third")
        assert await runtime.recover(again) is None


async def test_a_keeper_killed_while_corral_closes(home: Home) -> None:
    runtime = home.runtime()
    handle = await launch(runtime, STUBBORN)
    await said(runtime, handle, "up")
    close = asyncio.gather(runtime.close())
    await asyncio.sleep(0.05)
    os.kill(handle.data["keeper_pid"], signal.SIGKILL)
    async with asyncio.timeout(5):
        await close
    assert home.alive() == []
    assert (await runtime.wait(handle)).kind is ExitKind.LOST


# --- Corral


@pytest.mark.parametrize("script", ["echo up; exec sleep 1000", WRAPPER, STUBBORN])
async def test_engines_do_not_outlive_a_killed_corral(home: Home, script: str) -> None:
    async with corral(home, script) as output:
        assert [await output.readline(), await output.readline()] == [b"begin\n", b"running\n"]
        assert home.alive()
    await until(lambda: not home.alive() and not home.keeper(), 5.0)


async def test_engines_do_not_outlive_a_corral_killed_while_it_stops_one(home: Home) -> None:
    async with corral(home, STUBBORN, stop=True) as output:
        while await output.readline() != b"stopping\n":
            pass
    await until(lambda: not home.alive() and not home.keeper(), 5.0)


@pytest.mark.parametrize("delay_s", [0.02, 0.06, 0.1, 0.15, 0.2])
async def test_engines_do_not_outlive_a_corral_killed_while_it_starts(home: Home, delay_s: float) -> None:
    async with corral(home, WRAPPER) as output:
        assert await output.readline() == b"begin\n"
        await asyncio.sleep(delay_s)
    await asyncio.sleep(0.3)  # a keeper may be on its way up
    await until(lambda: not home.alive(), 5.0)
    async with home.open() as runtime:  # and the next Corral is well
        for handle in await runtime.handles():
            assert await runtime.recover(handle) is not None
            await runtime.destroy(handle)
        handle = await launch(runtime, "exec sleep 1000")
        assert await runtime.recover(handle) is None


async def test_an_engine_dies_with_its_keeper_when_nobody_sweeps(home: Home) -> None:
    async with corral(home, "echo up; exec sleep 1000") as output:
        while await output.readline() != b"running\n":
            pass
        os.kill(home.keeper(), signal.SIGSTOP)
    (engine,) = home.alive()
    os.kill(home.keeper(), signal.SIGKILL)
    await until(lambda: not procs.start_ticks(engine), 1.0)  # the parent-death signal


@pytest.mark.parametrize("handle_file", [True, False])
async def test_corral_and_keeper_killed_together(home: Home, handle_file: bool) -> None:
    async with corral(home, WRAPPER) as output:
        while await output.readline() != b"running\n":
            pass
        os.kill(home.keeper(), signal.SIGSTOP)  # it must not see Corral go
    os.kill(home.keeper(), signal.SIGKILL)
    await until(lambda: not home.keeper())
    assert home.alive()  # grandchildren, which no parent-death signal reaches
    async with home.open() as runtime:
        if not handle_file:  # killed before it was written: the mark alone says that they are ours
            (home.state / "handles" / "one.json").unlink()
            await launch(runtime, "exit 0", "two")
            assert home.alive("one") == []
            return
        (handle,) = await runtime.handles()
        status = await runtime.recover(handle)
        assert status is not None
        assert status.kind is ExitKind.LOST
        assert home.alive() == []
        await runtime.destroy(handle)
        assert list((home.state / "handles").iterdir()) == []
        assert list((home.state / "scratch").iterdir()) == []


@pytest.mark.parametrize("delay_s", [0.0, 0.001, 0.003, 0.01, 0.05])
@pytest.mark.parametrize("cold", [True, False])
async def test_a_start_that_is_cancelled_leaves_nothing(home: Home, cold: bool, delay_s: float) -> None:
    async with home.open() as runtime:
        if not cold:
            await launch(runtime, "exec sleep 1000", "other")
        start = asyncio.get_running_loop().create_task(launch(runtime, WRAPPER))
        await asyncio.sleep(delay_s)
        start.cancel()
        (result,) = await asyncio.gather(start, return_exceptions=True)
        if isinstance(result, BaseException):
            assert isinstance(result, asyncio.CancelledError)
            assert home.alive("one") == []
            assert list((home.state / "handles").glob("one*")) == []
        else:  # it was quicker
            assert await runtime.recover(result) is None
        handle = await launch(runtime, "exec sleep 1000", "two")
        assert await runtime.recover(handle) is None


# --- order


async def test_nothing_grows_over_fifty_lives(home: Home) -> None:
    async with home.open() as runtime:
        first = await launch(runtime, "exec sleep 1000", "first")
        counts = []
        for number in range(50):
            handle = await launch(runtime, "echo up; exec sleep 1000", f"i{number}")
            if number % 2:
                await said(runtime, handle, "up")
            await runtime.stop(handle, grace_s=2)
            await runtime.destroy(handle)
            counts.append((open_fds(os.getpid()), open_fds(first.data["keeper_pid"])))
        assert counts[-1] == counts[1]
        assert sorted(path.name for path in (home.state / "handles").iterdir()) == ["first.json"]


async def test_a_start_is_quick(home: Home) -> None:
    async with home.open() as runtime:
        began = time.monotonic()
        await launch(runtime, "exec sleep 1000", "cold")
        assert time.monotonic() - began < 1.0  # 60 ms on an idle machine
        spent = []
        for number in range(10):
            began = time.monotonic()
            await launch(runtime, "exec sleep 1000", f"i{number}")
            spent.append(time.monotonic() - began)
        assert min(spent) < 0.02  # 3 ms on an idle machine
