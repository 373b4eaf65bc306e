"""Memory in fact: what is free before a start, what an instance holds after it. Fake host, fake clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from corral.devices import charged
from corral.domain.errors import NoMemory
from corral.domain.events import InstanceMeasured
from corral.domain.fleet import ModelSpec
from corral.domain.launch import Endpoint, Footprint, LaunchPlan
from corral.fakes.devices import FakeDevices
from corral.fakes.engine import FakeProgramEngine
from corral.fakes.runtime import FakeRuntime, Script
from corral.scheduler.memory import HostMemory, Weighed

GIB = 1024**3
Record = tuple[str, str, dict[str, int], float | None]


class Time:
    """A clock that moves when somebody sleeps; `then` happens at the end of the nth sleep."""

    def __init__(self) -> None:
        self.at = 0.0
        self.sleeps = 0
        self.then: dict[int, Callable[[], object]] = {}

    def now(self) -> float:
        return self.at

    def wall(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self.at += seconds
        self.sleeps += 1
        action = self.then.pop(self.sleeps, None)
        if action is not None:
            action()


class Stage:
    def __init__(self, host: FakeDevices) -> None:
        self.host, self.time, self.records = host, Time(), list[Record]()
        self.estimated = Footprint()
        self.memory = HostMemory(
            host, self.remember, clock=self.time, sleep=self.time.sleep, estimate=lambda model: self.estimated
        )

    def remember(self, model: ModelSpec, digest: str, measured: Footprint, load_s: float | None) -> None:
        self.records.append((model.name, digest, measured.by_device(), load_s))


@pytest.fixture
def stage() -> Stage:
    return Stage(FakeDevices(ram_bytes=32 * GIB, gpus={"CUDA0": 24 * GIB}))


# --- before a start ---------------------------------------------------------------------------------------------------


async def test_what_is_free_need_not_be_waited_for(stage: Stage) -> None:
    await stage.memory.until_free("a", {"ram": 20 * GIB, "CUDA0": 20 * GIB}, {"ram", "CUDA0"})
    assert stage.time.sleeps == 0


async def test_vram_that_comes_back_late_is_waited_for(stage: Stage) -> None:
    stage.host.neighbour("CUDA0", 20 * GIB)
    stage.time.then[20] = lambda: stage.host.neighbour("CUDA0", 0)
    await stage.memory.until_free("a", {"CUDA0": 20 * GIB}, {"ram", "CUDA0"})
    assert 1.9 < stage.time.at < 2.2


async def test_memory_that_a_neighbour_has_eaten_is_a_refusal_with_the_sum(stage: Stage) -> None:
    stage.host.neighbour("CUDA0", 20 * GIB)
    with pytest.raises(NoMemory) as refused:
        await stage.memory.until_free("a", {"ram": GIB, "CUDA0": 20 * GIB}, {"ram", "CUDA0"})
    assert refused.value.message == (
        "'a' needs 20 GiB of CUDA0, and 4 GiB of CUDA0 free after 5 s: others use the rest."
    )
    assert 5.0 <= stage.time.at < 5.2


async def test_a_gpu_that_has_vanished_has_nothing_free(stage: Stage) -> None:
    stage.host.vanish("CUDA0")
    with pytest.raises(NoMemory, match="0 B of CUDA0 free"):
        await stage.memory.until_free("a", {"CUDA0": 1}, {"CUDA0"})


async def test_devices_without_a_limit_are_not_asked_about(stage: Stage) -> None:
    stage.host.neighbour("ram", 32 * GIB)
    await stage.memory.until_free("a", {"ram": 20 * GIB}, frozenset())
    assert stage.host.reads == 0


# --- after it ---------------------------------------------------------------------------------------------------------


class Engine(FakeProgramEngine):
    """One whose log may say what it has allocated, and whose operator may have said what it takes."""

    def __init__(self, said: Footprint | None = None, declared: Footprint | None = None) -> None:
        self.said, self.of_operator, self.read = said, declared, list[str]()

    def progress(self, line: str) -> float | None:
        return None

    def measured(self, model: ModelSpec, log: Sequence[str]) -> Footprint | None:
        self.read = list(log)
        return self.said

    def declared(self, model: ModelSpec) -> Footprint | None:
        return self.of_operator


async def follow(
    stage: Stage,
    folder: Path,
    engine: Engine,
    *,
    expected: dict[str, int],
    held: Sequence[dict[str, int]],
    load_s: float | None = 2.0,
) -> list[dict[str, int]]:
    """What is reported of one instance that holds these one measurement after the other."""
    runtime = FakeRuntime(folder, scripts={"a": Script(lines=("one", "two"))})
    place = await runtime.place("i-1")
    plan = LaunchPlan(("a",), Endpoint(socket=place.socket))
    handle = await runtime.start(plan, instance="i-1", model="a", digest="d")
    usage = await runtime.usage(handle)
    assert usage is not None
    told: list[InstanceMeasured] = []
    each = Weighed("i-1", ModelSpec("a"), "d", engine, runtime, handle, expected, load_s)
    task = asyncio.ensure_future(stage.memory.follow(each, told.append))
    for number, sizes in enumerate(held, start=1):
        stage.time.then[number] = partial(stage.host.use, usage.pids[0], sizes)
    stage.time.then[len(held) + 1] = task.cancel
    with pytest.raises(asyncio.CancelledError):
        await task
    await runtime.close()
    assert all(each.instance == "i-1" and each.footprint.measured for each in told)
    return [each.footprint.by_device() for each in told]


async def test_an_instance_is_measured_by_its_log_and_its_processes(stage: Stage, tmp_path: Path) -> None:
    engine = Engine(Footprint(GIB, {"CUDA0": 6 * GIB}))
    holds = {"ram": 3 * GIB, "CUDA0": 5 * GIB}
    found = await follow(stage, tmp_path, engine, expected={"ram": GIB, "CUDA0": 5 * GIB}, held=[holds] * 3)
    assert found == [{"ram": 3 * GIB, "CUDA0": 6 * GIB}], "the larger of the two on each device, told once"
    assert engine.read == ["one", "two"]
    assert stage.records == [("a", "d", found[0], 2.0)]


async def test_growth_is_told_and_remembered_and_what_shrinks_is_not(stage: Stage, tmp_path: Path) -> None:
    held = [{"ram": size * GIB // 100} for size in (100, 101, 110, 90, 120)]
    found = await follow(stage, tmp_path, Engine(), expected={"ram": GIB}, held=held)
    assert found == [{"ram": GIB}, {"ram": 110 * GIB // 100}, {"ram": 120 * GIB // 100}]
    assert [(sizes["ram"], load_s) for _, _, sizes, load_s in stage.records] == [
        (GIB, 2.0), (110 * GIB // 100, None), (120 * GIB // 100, None),
    ]  # fmt: skip


async def test_what_a_process_does_not_hold_yet_counts_all_the_same(stage: Stage, tmp_path: Path) -> None:
    held = [{"ram": GIB, "CUDA0": 5 * GIB}, {"ram": 9 * GIB, "CUDA0": 5 * GIB}]
    found = await follow(stage, tmp_path, Engine(), expected={"ram": 8 * GIB, "CUDA0": 4 * GIB}, held=held)
    assert found == [{"ram": 8 * GIB, "CUDA0": 5 * GIB}, {"ram": 9 * GIB, "CUDA0": 5 * GIB}], "a cache fills later"
    assert [sizes for _, _, sizes, _ in stage.records] == found


async def test_a_log_may_make_less_of_it_but_names_neither_the_program_nor_what_grows(tmp_path: Path) -> None:
    stage = Stage(FakeDevices(ram_bytes=32 * GIB, gpus={"CUDA0": 24 * GIB, "Vulkan1": 24 * GIB}, blind=("Vulkan1",)))
    stage.estimated = Footprint(9 * GIB, {"CUDA0": GIB}, unnamed={"ram": 2 * GIB, "CUDA0": GIB, "Vulkan1": GIB})
    engine = Engine(Footprint(3 * GIB, {"CUDA0": 2 * GIB, "Vulkan1": 2 * GIB}))
    expected = {"ram": 9 * GIB, "CUDA0": 4 * GIB, "Vulkan1": 4 * GIB}
    holds = {"ram": 3 * GIB, "CUDA0": 2 * GIB + 1, "Vulkan1": GIB}
    found = await follow(stage, tmp_path, engine, expected=expected, held=[holds])
    assert found == [{"ram": 5 * GIB, "CUDA0": 2 * GIB + 1, "Vulkan1": 3 * GIB}], "a driver tells of its GPU all"


async def test_one_that_was_found_again_counts_at_least_as_estimated(stage: Stage, tmp_path: Path) -> None:
    stage.estimated = Footprint(4 * GIB)
    found = await follow(stage, tmp_path, Engine(), expected={}, held=[{"ram": GIB}], load_s=None)
    assert found == [{"ram": 4 * GIB}]


async def test_it_is_measured_soon_after_ready_and_then_more_and_more_rarely(stage: Stage, tmp_path: Path) -> None:
    await follow(stage, tmp_path, Engine(), expected={}, held=[{"ram": GIB}] * 5)
    assert stage.time.at == 1 + 14 + 45 + 300 + 300 + 300


async def test_what_cannot_be_seen_counts_as_it_was_expected(tmp_path: Path) -> None:
    stage = Stage(FakeDevices(ram_bytes=32 * GIB, gpus={"MTL0": 24 * GIB}, blind=("MTL0",)))
    found = await follow(
        stage, tmp_path, Engine(), expected={"ram": 1, "MTL0": 7}, held=[{"ram": GIB, "MTL0": 5 * GIB}]
    )
    assert found == [{"ram": GIB, "MTL0": 7}]


async def test_what_the_operator_declared_is_never_made_less(stage: Stage, tmp_path: Path) -> None:
    engine = Engine(declared=Footprint(4 * GIB))
    found = await follow(stage, tmp_path, engine, expected={"ram": 4 * GIB}, held=[{"ram": GIB}, {"ram": 6 * GIB}])
    assert found == [{"ram": 4 * GIB}, {"ram": 6 * GIB}]


async def test_the_bytes_of_a_gpu_that_shares_ram_count_in_ram_too(tmp_path: Path) -> None:
    stage = Stage(FakeDevices(ram_bytes=32 * GIB, gpus={"ROCm0": 24 * GIB}, unified=("ROCm0",)))
    stage.memory = HostMemory(
        stage.host, stage.remember, clock=stage.time, sleep=stage.time.sleep,
        charged=lambda needs: charged(needs, stage.host.read()),
    )  # fmt: skip
    found = await follow(stage, tmp_path, Engine(), expected={}, held=[{"ram": GIB, "ROCm0": 8 * GIB}])
    assert found == [{"ram": 9 * GIB, "ROCm0": 8 * GIB}]


async def test_one_that_was_found_again_has_no_load_time_to_remember(stage: Stage, tmp_path: Path) -> None:
    found = await follow(stage, tmp_path, Engine(), expected={}, held=[{"ram": GIB}], load_s=None)
    assert found == [{"ram": GIB}]
    assert stage.records == []


async def test_an_estimate_that_is_far_off_is_a_warning(
    stage: Stage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await follow(stage, tmp_path, Engine(), expected={"ram": GIB}, held=[{"ram": 2 * GIB}])
    (line,) = [each for each in caplog.records if each.levelname == "WARNING"]
    assert line.getMessage() == "a (i-1) takes 2 GiB; expected: 1 GiB"
