"""The owner loop, the acts and the control verbs, over the fake runtime and an engine that lives in the test."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from corral.contracts.engine import ReadyInfo, Wished
from corral.contracts.headers import Header
from corral.contracts.leases import Lease
from corral.contracts.options import OptionTable
from corral.domain.commands import Command
from corral.domain.devices import DeviceMemory
from corral.domain.errors import Conflict, CorralError, EngineFailed, FileMissing, PlaceFailed, StartFailed
from corral.domain.events import FleetChanged, Notice, RequestsLeft, SchedulerEvent
from corral.domain.fleet import Fleet, Limits, ModelSpec, OptionValue, Source, Timeouts
from corral.domain.instance import InstanceState
from corral.domain.launch import Endpoint, ExitStatus, Footprint, Handle, LaunchPlan, Place
from corral.domain.serving import Caller
from corral.fakes.runtime import FakeRuntime, Script
from corral.kit.clock import SystemClock
from corral.observability.bus import Bus
from corral.scheduler.control import SchedulerControl
from corral.scheduler.instances import Instances
from corral.scheduler.loop import LeaseWaiter, Scheduler
from corral.scheduler.machine import Machine


class TestEngine:
    """An engine whose readiness and health are events of the test."""

    __test__ = False
    name = "llamacpp"
    options: OptionTable = ()

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.ready.set()
        self.healthy = True
        self.refuses: CorralError | None = None
        self.never: CorralError | None = None

    def problems(self, model: ModelSpec) -> list[str]:
        return []

    def slots(self, model: ModelSpec) -> int:
        return model.slots

    def misfits(self, model: ModelSpec, header: Header | None = None) -> list[str]:
        return []

    def resolved(self, model: ModelSpec) -> ModelSpec:
        return model

    def wished(self, model: ModelSpec, wanted: Mapping[str, OptionValue], trained_tokens: int | None) -> Wished:
        return Wished()

    async def devices(self, model: ModelSpec) -> tuple[DeviceMemory, ...]:
        return ()

    async def host_warning(self, model: ModelSpec) -> str:
        return ""

    def digest_parts(self, model: ModelSpec) -> Mapping[str, object]:
        return {}

    async def plan(self, model: ModelSpec, place: Place) -> LaunchPlan:
        if self.refuses is not None:
            raise self.refuses
        return LaunchPlan((model.name,), Endpoint(socket=place.socket), tells_progress=True)

    async def wait_ready(self, model: ModelSpec, endpoint: Endpoint) -> ReadyInfo:
        if self.never is not None:
            raise self.never
        await self.ready.wait()
        return ReadyInfo(slots=model.slots, context_tokens=512)

    async def alive(self, endpoint: Endpoint, *, timeout_s: float) -> bool:
        return self.healthy

    def declared(self, model: ModelSpec) -> Footprint | None:
        return None

    def diagnose(
        self,
        model: ModelSpec,
        exit: ExitStatus | None,
        log: Sequence[str],
        *,
        endpoint: Endpoint | None = None,
        listens: Sequence[str] = (),
    ) -> StartFailed:
        return StartFailed(f"{model.name} {exit or 'never became ready'}", log_tail=tuple(log))

    def progress(self, line: str) -> float | None:
        return float(line.removeprefix("progress ")) if line.startswith("progress ") else None

    def measured(self, model: ModelSpec, log: Sequence[str]) -> Footprint | None:
        return None


@dataclass
class Stage:
    scheduler: Scheduler
    instances: Instances
    control: SchedulerControl
    runtime: FakeRuntime
    engine: TestEngine
    told: list[Notice]

    async def lease(self, model: str = "a", *, timeout_s: float = 5) -> Lease:
        waiter = LeaseWaiter()
        self.scheduler.ask(waiter, model=model, caller=Caller("test"), timeout_s=timeout_s)
        return await waiter.result()

    def state(self, model: str = "a") -> InstanceState:
        view = self.scheduler.view(model)
        assert view is not None
        return view.state


@contextlib.asynccontextmanager
async def stage(folder: Path, *models: ModelSpec, **scripts: Script) -> AsyncIterator[Stage]:
    clock, bus, told = SystemClock(), Bus(), list[Notice]()
    bus.subscribe(told.append)
    runtime, engine = FakeRuntime(folder, scripts=scripts), TestEngine()
    instances = Instances({"llamacpp": engine}, {"process": runtime}, clock=clock)
    scheduler = Scheduler(Machine(id_prefix="i"), instances, clock=clock, publisher=bus)
    known = {model.name: model for model in models or (ModelSpec("a"), ModelSpec("b"))}
    control = SchedulerControl(
        scheduler, instances, clock=clock, feed=bus.feed, facts=lambda: {"version": "x"}, spec=known.get
    )
    fleet = Fleet(known, limits=Limits(backoff_first_s=0.01))
    scheduler.submit(FleetChanged(fleet, dict.fromkeys(known, "d"), dict.fromkeys(known, Footprint(1))))
    try:
        yield Stage(scheduler, instances, control, runtime, engine, told)
    finally:
        await scheduler.shutdown(drain_s=0.0)
        await scheduler.aclose()
        assert runtime.running() == []
        await runtime.close()


async def test_a_ready_model_is_granted_before_ask_returns(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        (await s.lease()).release()
        waiter = LeaseWaiter()
        s.scheduler.ask(waiter, model="a", caller=Caller("test"), timeout_s=1)

        assert waiter._answer.done()
        (await waiter.result()).release()


async def test_releasing_twice_counts_once(tmp_path: Path) -> None:
    async with stage(tmp_path, ModelSpec("a", slots=2)) as s:
        first, second = await s.lease(), await s.lease()
        first.release()
        first.release()
        view = s.scheduler.view("a")
        assert view is not None
        assert view.leases == 1
        second.release()


async def test_a_waiter_that_raises_does_not_harm_the_others(tmp_path: Path) -> None:
    class Broken:
        def granted(self, lease: Lease) -> None:
            lease.release()
            raise RuntimeError("broken waiter")

        def refused(self, error: CorralError) -> None:
            raise AssertionError

    async with stage(tmp_path) as s:
        problems: list[str] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: problems.append(context["message"]))
        s.engine.ready.clear()
        s.scheduler.ask(Broken(), model="a", caller=Caller("x"), timeout_s=1)
        other = asyncio.ensure_future(s.lease())
        await asyncio.sleep(0.02)
        s.engine.ready.set()
        (await other).release()
        with pytest.raises(RuntimeError):
            s.scheduler.ask(Broken(), model="a", caller=Caller("x"), timeout_s=1)
        (await s.lease()).release()

        assert len(problems) == 1


async def test_a_ticket_left_between_grant_and_delivery_gives_the_lease_back(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        waiter = LeaseWaiter()
        ticket = s.scheduler.ask(waiter, model="a", caller=Caller("x"), timeout_s=1)
        while s.state() is not InstanceState.READY:
            await asyncio.sleep(0)
        ticket.leave()
        await asyncio.sleep(0)
        view = s.scheduler.view("a")

        assert view is not None
        assert view.leases == 0
        waiter._answer.cancel()


async def test_all_who_leave_at_one_time_are_one_event(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        s.engine.ready.clear()
        steps: list[SchedulerEvent] = []
        step = s.scheduler.machine.step

        def watched(event: SchedulerEvent, now: float) -> list[Command]:
            steps.append(event)
            return step(event, now)

        waiters = [LeaseWaiter() for _ in range(50)]
        tickets = [s.scheduler.ask(each, model="a", caller=Caller("x"), timeout_s=9) for each in waiters]
        s.scheduler.machine.step = watched  # type: ignore[method-assign]
        for ticket in tickets[:40]:
            ticket.leave()
        s.scheduler.ask(LeaseWaiter(), model="a", caller=Caller("x"), timeout_s=9)  # sees the line without them
        for ticket in tickets[40:]:
            ticket.leave()
        await asyncio.sleep(0)

        assert [len(e.requests) if isinstance(e, RequestsLeft) else 0 for e in steps] == [40, 0, 10]
        assert len(s.scheduler.waiters()) == 1


async def test_a_deadline_refuses_by_the_timer(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        s.engine.ready.clear()
        with pytest.raises(CorralError) as caught:
            await s.lease(timeout_s=0.05)

        assert caught.value.code == "queue_timeout"


async def test_a_plan_that_refuses_leaves_nothing(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        s.engine.refuses = FileMissing("no file")
        with pytest.raises(FileMissing):
            await s.lease()

        assert s.state() is InstanceState.FAILED
        assert list(tmp_path.rglob("i-1*")) == []


async def test_an_exit_while_loading_is_diagnosed_with_the_log(tmp_path: Path) -> None:
    async with stage(tmp_path, a=Script(lines=("bad tensor",), exit_after_s=0.01, exit_code=3)) as s:
        s.engine.ready.clear()
        with pytest.raises(StartFailed) as caught:
            await s.lease()

        assert "exited with code 3" in caught.value.message
        assert caught.value.log_tail == ("bad tensor",)


async def test_an_answer_that_can_never_become_ready_ends_the_start(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        s.engine.never = EngineFailed("something else listens there")
        with pytest.raises(EngineFailed, match="something else"):
            await s.lease()


async def test_a_load_that_takes_too_long_is_stopped_and_diagnosed(tmp_path: Path) -> None:
    async with stage(tmp_path, ModelSpec("a", timeouts=Timeouts(load_s=0.05))) as s:
        s.engine.ready.clear()
        with pytest.raises(StartFailed, match="never became ready"):
            await s.lease()

        assert s.runtime.running() == []


async def test_a_stop_in_the_middle_of_a_launch_leaves_nothing(tmp_path: Path) -> None:
    async with stage(tmp_path, a=Script(start_takes_s=0.05)) as s:
        asked = asyncio.ensure_future(s.lease())
        await asyncio.sleep(0.02)
        assert (await s.control.unload("a", force=True, timeout_s=2)).models == ("a",)
        with pytest.raises(CorralError) as caught:
            await asked

        assert caught.value.code == "model_unloaded"
        assert s.runtime.running() == []


async def test_a_broken_lease_on_a_live_engine_is_checked_and_forgiven(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        (await s.lease()).release(broken=True)
        (await s.lease()).release()

        assert len(s.runtime.started) == 1


async def test_a_broken_lease_on_a_silent_engine_ends_it(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        first = await s.lease()
        s.engine.healthy = False
        first.release(broken=True)
        (await s.lease()).release()

        assert len(s.runtime.started) == 2


async def test_load_and_unload_by_hand(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        view = await s.control.load("a", timeout_s=1)
        assert view.state is InstanceState.READY
        assert view.leases == 0
        assert (await s.control.unload("", force=False, timeout_s=1)).models == ("a",)
        assert s.state() is InstanceState.STOPPED


async def test_status_says_what_goes_with_a_model_that_is_loaded(tmp_path: Path) -> None:
    source = Source("/store/a.gguf", projector="/store/mmproj.gguf", adapters=("/store/x.gguf", "/store/y.gguf"))
    async with stage(tmp_path, ModelSpec("a", source), ModelSpec("b", Source("/store/b.gguf"))) as s:
        for model in ("a", "b"):
            (await s.lease(model)).release()
        rows: Any = (await s.control.status())["models"]
        told = {row["model"]: [row[key] for key in ("path", "projector", "adapters")] for row in rows}
        assert told == {
            "a": ["/store/a.gguf", "/store/mmproj.gguf", ["/store/x.gguf", "/store/y.gguf"]],
            "b": ["/store/b.gguf", "", []],
        }
        await s.control.unload("a", force=True, timeout_s=1)
        rows = (await s.control.status())["models"]
        assert {row["model"]: "projector" in row for row in rows} == {"a": False, "b": True}, "of what runs alone"


async def test_status_goes_by_what_was_loaded_not_by_what_has_come_since(tmp_path: Path) -> None:
    async with stage(tmp_path, ModelSpec("a", Source("/store/a.gguf", projector="/store/old.gguf"))) as s:
        (await s.lease()).release()
        later = ModelSpec("a", Source("/store/a.gguf", projector="/store/new.gguf"))
        s.scheduler.submit(FleetChanged(Fleet({"a": later}), {"a": "d"}, {"a": Footprint(1)}))
        await asyncio.sleep(0.05)
        rows: Any = (await s.control.status())["models"]
        assert [row["projector"] for row in rows] == ["/store/old.gguf"]


async def test_unload_waits_for_leases_and_says_who_is_busy(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        lease = await s.lease()
        with pytest.raises(Conflict, match="a \\(1 running\\)"):
            await s.control.unload("a", force=False, timeout_s=0.05)
        lease.release()
        await s.control.unload("a", force=False, timeout_s=1)


async def test_what_an_engine_says_of_its_load_is_seen_in_the_view_and_in_no_log(tmp_path: Path) -> None:
    async with stage(tmp_path, a=Script(lines=("progress 0.25", "there"))) as s:
        s.engine.ready.clear()
        asking = asyncio.ensure_future(s.lease())

        async def seen(progress: float | None) -> None:
            async with asyncio.timeout(2):
                while (view := s.scheduler.view("a")) is None or view.progress != progress:
                    await asyncio.sleep(0.005)

        await seen(0.25)
        instance = s.scheduler.views()[0].instance
        s.runtime.write(instance, "progress 0.75")
        await seen(0.75)
        assert [row["progress"] for row in (await s.control.status())["models"] if row["model"] == "a"] == [0.75]  # type: ignore[attr-defined]
        s.engine.ready.set()
        (await asking).release()
        await seen(None)
        s.runtime.write(instance, "progress 0.5")
        assert [line async for line in s.control.logs("a", tail=None, follow=False)] == ["there"]
        await asyncio.sleep(0.02)
        await seen(None)


async def test_logs_are_of_the_last_engine_also_after_its_end(tmp_path: Path) -> None:
    async with stage(tmp_path, a=Script(lines=("hello", "there"))) as s:
        with pytest.raises(Conflict, match="not been started"):
            await anext(s.control.logs("a", tail=None, follow=False))
        await s.control.load("a", timeout_s=1)
        assert [line async for line in s.control.logs("a", tail=1, follow=False)] == ["there"]


async def test_status_has_a_row_for_every_model(tmp_path: Path) -> None:
    source = Source("/a.gguf", "hf:o/r:q4_0", projector="/p.gguf")
    loaded = ModelSpec("a", source, options={"lora_scaled": ("/l.gguf:0.5",), "port": 1})
    idle = ModelSpec("b", Source(reference="https://example.org/b.gguf?key=secret"), aliases=("c",))
    async with stage(tmp_path, loaded, idle, a=Script(rss_bytes=7)) as s:
        await s.control.load("a", timeout_s=1)
        status = await s.control.status()
        rows = status["models"]

        assert isinstance(rows, list)
        assert [row["state"] for row in rows] == ["ready", "stopped"]
        assert rows[0]["context_tokens"] == 512
        assert rows[0]["rss_bytes"] == 7
        assert (rows[0]["reference"], rows[0]["path"]) == ("hf.co/o/r:Q4_0", "/a.gguf")
        assert (rows[1]["reference"], rows[1]["aliases"]) == ("", ["c"]), "an address may be a secret"
        assert {"/a.gguf", "/p.gguf", "/l.gguf"} <= set(rows[0]["files"]) and "files" not in rows[1]
        assert status["version"] == "x"


async def test_an_act_that_breaks_unforeseen_is_reported_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with stage(tmp_path) as s:

        async def broken(*args: object) -> ReadyInfo:
            raise OSError("the disk is on fire")

        with monkeypatch.context() as patch:
            patch.setattr(s.engine, "wait_ready", broken)
            with pytest.raises(CorralError, match="the disk is on fire"):
                await s.lease()
        assert s.runtime.running() == []
        assert s.state() is InstanceState.FAILED


async def test_what_cannot_be_stopped_is_tried_again_and_holds_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("corral.scheduler.instances.AGAIN_S", 0.02)
    async with stage(tmp_path) as s:
        await s.control.load("a", timeout_s=1)
        stop, tries = s.runtime.stop, []

        async def stubborn(handle: Handle, *, grace_s: float) -> ExitStatus:
            tries.append(grace_s)
            if len(tries) < 4:
                raise OSError("no") if len(tries) == 2 else PlaceFailed("It does not die.")
            return await stop(handle, grace_s=grace_s)

        monkeypatch.setattr(s.runtime, "stop", stubborn)
        unloading = asyncio.ensure_future(s.control.unload("a", force=False, timeout_s=2))
        await asyncio.sleep(0.01)
        assert s.state() is InstanceState.STOPPING
        assert (await unloading).models == ("a",)
        assert len(tries) >= 4


async def test_unload_under_traffic_is_done_when_the_old_instance_is_gone(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        first = await s.lease()
        unloading = asyncio.ensure_future(s.control.unload("a", force=False, timeout_s=2))
        await asyncio.sleep(0)
        next_one = asyncio.ensure_future(s.lease())
        await asyncio.sleep(0.01)
        first.release()
        assert (await unloading).models == ("a",)
        second = await next_one
        assert second.instance != first.instance
        second.release()
