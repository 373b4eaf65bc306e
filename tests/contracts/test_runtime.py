"""
What every Runtime promises: the process runtime and the fake go through the same suite.

Instances are described by `Script`; each subject knows how to make one happen. A new runtime is added to `SUBJECTS`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import shlex
import stat
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from corral.contracts.runtime import LogLine, Runtime
from corral.domain.errors import PlaceFailed
from corral.domain.launch import Endpoint, ExitKind, ExitStatus, Handle, LaunchPlan
from corral.fakes.runtime import FakeInstance, FakeRuntime, Script
from corral.runtimes.process import ProcessRuntime

FOREVER_S = 1000.0


class Subject:
    """A runtime under test, with its later lives."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lives: list[Runtime] = []

    def new_life(self) -> Runtime:
        """A Runtime object as another Corral would make it."""
        raise NotImplementedError

    def plan(self, script: Script, endpoint: Endpoint) -> LaunchPlan:
        """A plan that does what the script says."""
        raise NotImplementedError

    async def launch(self, runtime: Runtime, script: Script, instance: str = "one", **changes: Any) -> Handle:
        """Place and start."""
        place = await runtime.place(instance)
        plan = dataclasses.replace(self.plan(script, Endpoint(socket=place.socket)), **changes)
        return await runtime.start(plan, instance=instance, model="m", digest="d1")


class ProcessSubject(Subject):
    def new_life(self) -> Runtime:
        self.lives.append(ProcessRuntime(self.folder / "state", runtime_dir=self.folder / "run"))
        return self.lives[-1]

    def plan(self, script: Script, endpoint: Endpoint) -> LaunchPlan:
        if script.start_error:
            return LaunchPlan(("/no/such/program",), endpoint)
        words = [f"echo {shlex.quote(line)}" for line in script.lines]
        if script.stop_takes_s:
            words.insert(0, f"trap 'sleep {script.stop_takes_s}; exit 0' TERM")
        if script.exit_after_s is None:
            words.append("while :; do sleep 0.05; done" if script.stop_takes_s else "exec sleep 1000")
        else:
            words.append(f"sleep {script.exit_after_s}")
            words.append(f"kill -{script.exit_signal} $$" if script.exit_signal else f"exit {script.exit_code}")
        return LaunchPlan(("sh", "-c", "\n".join(words)), endpoint)


class FakeSubject(Subject):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.world: dict[str, FakeInstance] = {}
        self.scripts: dict[str, Script] = {}

    def new_life(self) -> Runtime:
        self.lives.append(FakeRuntime(self.folder, scripts=self.scripts, world=self.world))
        return self.lives[-1]

    def plan(self, script: Script, endpoint: Endpoint) -> LaunchPlan:
        runtime = self.lives[-1]
        assert isinstance(runtime, FakeRuntime)
        runtime.scripts["m"] = script
        return LaunchPlan(("fake",), endpoint)


SUBJECTS: dict[str, Callable[[Path], Subject]] = {"process": ProcessSubject, "fake": FakeSubject}


@pytest.fixture(params=SUBJECTS)
async def subject(request: pytest.FixtureRequest, short_tmp: Path) -> AsyncIterator[Subject]:
    made = SUBJECTS[request.param](short_tmp)
    yield made
    for life in made.lives:
        await life.close()


@pytest.fixture
def runtime(subject: Subject) -> Runtime:
    return subject.new_life()


async def texts(lines: AsyncIterator[LogLine]) -> list[str]:
    return [line.text async for line in lines]


async def until(condition: Callable[[], Any], timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not await condition():
            await asyncio.sleep(0.01)


async def test_fingerprint_says_whether_it_can_run_here(runtime: Runtime) -> None:
    found = await runtime.fingerprint()
    assert found.name == runtime.name
    assert found.available
    assert found.reason == ""


async def test_place_is_private_fresh_and_short(runtime: Runtime) -> None:
    place = await runtime.place("one")
    assert stat.S_IMODE(os.stat(place.scratch).st_mode) == 0o700
    assert place.instance == "one"
    assert place.socket or place.port
    assert len(place.socket.encode()) <= 100
    Path(place.scratch, "old").touch()
    again = await runtime.place("one")
    assert os.listdir(again.scratch) == []


@pytest.mark.parametrize("subject", ["process"], indirect=True)  # the fake only meets the ids of tests
@pytest.mark.parametrize("instance", ["gpt/oss:20b", "x" * 300, "ünïcode", "..", "a b"])
async def test_any_instance_id_has_a_place_of_its_own(runtime: Runtime, instance: str) -> None:
    one, two = await runtime.place(instance), await runtime.place(instance + "2")
    assert one.scratch != two.scratch
    assert one.socket != two.socket
    assert len(one.socket.encode()) <= 100
    assert Path(one.scratch).parent == Path(two.scratch).parent


async def test_start_gives_a_handle_that_survives_json(subject: Subject, runtime: Runtime) -> None:
    before = time.time()
    handle = await subject.launch(runtime, Script())
    assert (handle.runtime, handle.instance, handle.model, handle.digest) == (runtime.name, "one", "m", "d1")
    assert before - 1 <= handle.started_at <= time.time() + 1
    assert Handle.from_json(handle.to_json()) == handle


async def test_plan_files_are_written_private(subject: Subject, runtime: Runtime) -> None:
    await subject.launch(runtime, Script(), files={"template.jinja": "{{x}}", "conf/a.json": "{}"})
    scratch = Path((await runtime.place("two")).scratch).parent / "one"
    assert (scratch / "template.jinja").read_text() == "{{x}}"
    assert stat.S_IMODE((scratch / "template.jinja").stat().st_mode) == 0o600
    assert (scratch / "conf" / "a.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("script", "status"),
    [
        (Script(exit_after_s=0), ExitStatus(ExitKind.EXITED, code=0)),
        (Script(exit_after_s=0, exit_code=3), ExitStatus(ExitKind.EXITED, code=3)),
        (Script(exit_after_s=0, exit_signal=9), ExitStatus(ExitKind.SIGNALLED, signal=9)),
        (Script(exit_after_s=0, exit_signal=11), ExitStatus(ExitKind.SIGNALLED, signal=11)),
    ],
)
async def test_wait_tells_how_it_ended(subject: Subject, runtime: Runtime, script: Script, status: ExitStatus) -> None:
    handle = await subject.launch(runtime, script)
    assert await runtime.wait(handle) == status
    assert await runtime.wait(handle) == status  # again, and at once
    assert await runtime.recover(handle) == status
    assert await runtime.usage(handle) is None
    assert await runtime.stop(handle, grace_s=1) == status  # too late to have been stopped


async def test_cancelling_a_wait_changes_nothing(subject: Subject, runtime: Runtime) -> None:
    handle = await subject.launch(runtime, Script())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await runtime.wait(handle)
    assert await runtime.recover(handle) is None
    status = await runtime.stop(handle, grace_s=1)
    assert await runtime.wait(handle) == status


async def test_many_wait_and_stop_at_once(subject: Subject, runtime: Runtime) -> None:
    handle = await subject.launch(runtime, Script())
    waits = [runtime.wait(handle) for _ in range(3)]
    stops = [runtime.stop(handle, grace_s=1) for _ in range(3)]
    found = await asyncio.gather(*waits, *stops)
    assert len(set(found)) == 1
    assert found[0].kind is ExitKind.STOPPED


async def test_stop_waits_for_a_clean_end_within_the_grace(subject: Subject, runtime: Runtime) -> None:
    handle = await subject.launch(runtime, Script(lines=("up",), stop_takes_s=0.1))
    await until(lambda: _says(runtime, handle, "up"))
    began = time.monotonic()
    status = await runtime.stop(handle, grace_s=5)
    assert status.kind is ExitKind.STOPPED
    assert status.signal != 9
    assert 0.09 <= time.monotonic() - began < 2  # uvloop's timers may be a millisecond early


async def test_stop_kills_after_the_grace(subject: Subject, runtime: Runtime) -> None:
    handle = await subject.launch(runtime, Script(lines=("up",), stop_takes_s=FOREVER_S))
    await until(lambda: _says(runtime, handle, "up"))
    began = time.monotonic()
    status = await runtime.stop(handle, grace_s=0.2)
    assert status == ExitStatus(ExitKind.STOPPED, signal=9)
    assert 0.19 <= time.monotonic() - began < 2


async def _says(runtime: Runtime, handle: Handle, text: str) -> bool:
    return text in await texts(runtime.logs(handle))


async def test_a_failed_start_leaves_nothing(subject: Subject, runtime: Runtime) -> None:
    with pytest.raises(PlaceFailed) as caught:
        await subject.launch(runtime, Script(start_error="no such program"))
    assert caught.value.sentence()
    assert await runtime.handles() == []
    handle = await subject.launch(runtime, Script())  # the name is free again
    assert await runtime.recover(handle) is None


async def test_an_instance_exists_once(subject: Subject, runtime: Runtime) -> None:
    handle = await subject.launch(runtime, Script())
    plan = subject.plan(Script(), handle.endpoint)
    with pytest.raises(PlaceFailed):
        await runtime.start(plan, instance="one", model="m", digest="d1")
    assert await runtime.recover(handle) is None


async def test_destroy_ends_removes_and_keeps_the_log(subject: Subject, runtime: Runtime) -> None:
    handle = await subject.launch(runtime, Script(lines=("hello",)))
    await until(lambda: _says(runtime, handle, "hello"))
    scratch = Path((await runtime.place("two")).scratch).parent / "one"
    assert scratch.exists()
    await runtime.destroy(handle)
    assert not scratch.exists()
    assert not os.path.exists(handle.endpoint.socket)
    assert await texts(runtime.logs(handle)) == ["hello"]
    assert await texts(runtime.logs(handle, follow=True)) == ["hello"]
    assert await texts(runtime.logs(handle, tail=5)) == ["hello"]
    assert await runtime.usage(handle) is None
    await runtime.destroy(handle)
    status = await runtime.stop(handle, grace_s=1)
    assert status.kind is ExitKind.LOST
    again = await subject.launch(runtime, Script())
    await runtime.destroy(handle)  # an old handle does not touch its successor
    assert await runtime.recover(again) is None


async def test_logs_from_the_beginning_and_the_tail(subject: Subject, runtime: Runtime) -> None:
    lines = tuple(f"line {number}" for number in range(20))
    handle = await subject.launch(runtime, Script(lines=lines, exit_after_s=0))
    await runtime.wait(handle)
    assert await texts(runtime.logs(handle)) == list(lines)
    assert await texts(runtime.logs(handle, tail=3)) == list(lines[-3:])
    assert await texts(runtime.logs(handle, tail=0)) == []
    assert await texts(runtime.logs(handle, tail=100)) == list(lines)
    first = await anext(runtime.logs(handle))
    assert first.stream == "stdout"
    assert abs(first.at - time.time()) < 60


async def test_follow_gives_lines_as_they_come_until_the_end(subject: Subject, runtime: Runtime) -> None:
    handle = await subject.launch(runtime, Script(lines=("early",), exit_after_s=0.3))
    seen: list[tuple[str, bool]] = []
    async with asyncio.timeout(5):
        async for line in runtime.logs(handle, follow=True):
            seen.append((line.text, await runtime.recover(handle) is None))
    assert seen == [("early", True)]
    assert (await runtime.wait(handle)).kind is ExitKind.EXITED


async def test_a_follower_that_leaves_is_forgotten(subject: Subject, runtime: Runtime) -> None:
    handle = await subject.launch(runtime, Script(lines=("early",)))
    async with contextlib.aclosing(runtime.logs(handle, follow=True)) as lines:  # type: ignore[type-var]
        assert (await anext(lines)).text == "early"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await texts(runtime.logs(handle, tail=0, follow=True))
    assert (await runtime.stop(handle, grace_s=1)).kind is ExitKind.STOPPED


async def test_usage_of_what_runs(subject: Subject, runtime: Runtime) -> None:
    handle = await subject.launch(runtime, Script(rss_bytes=1 << 20))
    found = await runtime.usage(handle)
    assert found is not None
    assert found.pids
    assert found.rss_bytes > 0
    assert found.cpu_s >= 0


async def test_close_stops_what_runs(subject: Subject, runtime: Runtime) -> None:
    handle = await subject.launch(runtime, Script())
    await runtime.close()
    assert (await runtime.wait(handle)).kind is ExitKind.STOPPED
    await runtime.close()


async def test_what_was_kept_is_found_again(subject: Subject, runtime: Runtime) -> None:
    runs = await subject.launch(runtime, Script(lines=("hello",)), "runs")
    ends = await subject.launch(runtime, Script(exit_after_s=0.1, exit_code=7), "ends")
    await runtime.close(keep_s=60)
    await asyncio.sleep(0.2)
    later = subject.new_life()
    found = {handle.instance: handle for handle in await later.handles()}
    assert found == {"runs": runs, "ends": ends}
    assert await later.recover(runs) is None
    assert await later.recover(ends) == ExitStatus(ExitKind.EXITED, code=7)
    assert await texts(later.logs(runs)) == ["hello"]
    assert await later.handles() == []
    assert (await later.stop(runs, grace_s=1)).kind is ExitKind.STOPPED
    for handle in (runs, ends):
        await later.destroy(handle)


async def test_a_handle_that_nobody_knows_is_lost(subject: Subject, runtime: Runtime) -> None:
    handle = await subject.launch(runtime, Script())
    await runtime.destroy(handle)
    assert (await runtime.recover(handle) or ExitStatus(ExitKind.STOPPED)).kind is ExitKind.LOST
    assert (await runtime.wait(handle)).kind is ExitKind.LOST
