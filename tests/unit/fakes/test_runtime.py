"""The fake runtime on a fake clock, and its options. What every runtime must do is in tests/contracts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from corral.domain.errors import PlaceFailed
from corral.domain.launch import Endpoint, ExitKind, ExitStatus, Handle, LaunchPlan
from corral.fakes.runtime import FakeRuntime, Script


class Time:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.t = 1000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self.t

    def wall(self) -> float:
        return self.t

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.t + seconds, future))
        await future

    async def advance(self, seconds: float) -> None:
        await settle()
        self.t += seconds
        for at, future in self._sleepers:
            if at <= self.t and not future.done():
                future.set_result(None)
        await settle()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def start(runtime: FakeRuntime, model: str = "m", argv: str = "engine") -> Handle:
    place = await runtime.place(model)
    plan = LaunchPlan((argv,), Endpoint(socket=place.socket))
    return await runtime.start(plan, instance=model, model=model, digest="d")


@pytest.fixture
def time() -> Time:
    return Time()


async def test_exits_come_when_the_clock_says(tmp_path: Path, time: Time) -> None:
    scripts = {
        "code": Script(exit_after_s=3, exit_code=2),
        "signal": Script(exit_after_s=4, exit_signal=11),
        "oom": Script(exit_after_s=5, oom=True),
    }
    runtime = FakeRuntime(tmp_path, scripts=scripts, clock=time, sleep=time.sleep)
    handles = {name: await start(runtime, name) for name in scripts}
    assert handles["code"].started_at == 1000.0
    await time.advance(2.9)
    assert runtime.running() == ["code", "signal", "oom"]
    await time.advance(0.2)
    assert runtime.running() == ["signal", "oom"]
    await time.advance(5)
    assert [await runtime.wait(handle) for handle in handles.values()] == [
        ExitStatus(ExitKind.EXITED, code=2),
        ExitStatus(ExitKind.SIGNALLED, signal=11),
        ExitStatus(ExitKind.OOM_KILLED, signal=9),
    ]
    await runtime.close()


async def test_a_stop_takes_its_time_or_the_grace(tmp_path: Path, time: Time) -> None:
    runtime = FakeRuntime(tmp_path, scripts={"m": Script(stop_takes_s=5)}, clock=time, sleep=time.sleep)
    for grace_s, number in ((10.0, 15), (2.0, 9)):
        handle = await start(runtime)
        stop = asyncio.gather(runtime.stop(handle, grace_s=grace_s))
        await time.advance(min(grace_s, 5) - 0.1)
        assert not stop.done()
        await time.advance(0.2)
        (status,) = await stop
        assert status == ExitStatus(ExitKind.STOPPED, signal=number)
        await runtime.destroy(handle)
    await runtime.close()


async def test_a_start_takes_its_time_and_may_fail(tmp_path: Path, time: Time) -> None:
    script = Script(start_takes_s=2, start_error="no such program")
    runtime = FakeRuntime(tmp_path, scripts={"engine": script}, clock=time, sleep=time.sleep)
    starting = asyncio.gather(start(runtime), return_exceptions=True)
    await time.advance(1.9)
    assert not starting.done()
    await time.advance(0.2)
    (error,) = await starting
    assert isinstance(error, PlaceFailed)
    assert error.message == "no such program"
    assert runtime.started == []
    await runtime.close()


async def test_a_program_runs_in_this_process(tmp_path: Path) -> None:
    serving = asyncio.Event()
    cancelled = asyncio.Event()

    async def engine(plan: LaunchPlan) -> int:
        serving.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return 0

    async def quits(plan: LaunchPlan) -> int:
        return 3

    runtime = FakeRuntime(tmp_path, programs={"engine": engine, "quits": quits})
    handle = await start(runtime)
    await serving.wait()
    assert await runtime.stop(handle, grace_s=1) == ExitStatus(ExitKind.STOPPED, signal=15)
    await cancelled.wait()
    other = await start(runtime, "other", "quits")
    assert await runtime.wait(other) == ExitStatus(ExitKind.EXITED, code=3)
    assert [plan.argv for plan in runtime.started] == [("engine",), ("quits",)]
    await runtime.close()


async def test_lines_and_crashes_by_hand(tmp_path: Path) -> None:
    runtime = FakeRuntime(tmp_path)
    handle = await start(runtime)
    follower = asyncio.gather(_texts(runtime, handle))
    await settle()
    runtime.write("m", "hello")
    runtime.write("m", "oops", "stderr")
    await settle()
    runtime.crash("m", oom=True)
    (lines,) = await follower
    assert lines == [("stdout", "hello"), ("stderr", "oops")]
    assert (await runtime.wait(handle)).kind is ExitKind.OOM_KILLED
    await runtime.close()


async def _texts(runtime: FakeRuntime, handle: Handle) -> list[tuple[str, str]]:
    return [(line.stream, line.text) async for line in runtime.logs(handle, follow=True)]
