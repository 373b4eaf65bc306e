"""The host changes while Corral runs: limits fall, neighbours come, GPUs go. Idle Models yield; nothing is cut."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from psutil import pid_exists

from corral.domain.devices import RAM, VRAM, MemorySpec
from corral.domain.events import InstanceMeasured
from corral.domain.launch import Footprint
from corral.fakes.devices import FakeDevices
from tests.corrals import Running, corral, fake

GIB = 1024**3
AUTO = MemorySpec(reserve={RAM: GIB})


async def load(running: Running, host: FakeDevices, model: str, **sizes: int) -> None:
    """Load it; its process holds that much from now on, and that is what counts."""
    await running.text(model)
    view = running.app.scheduler.view(model)
    assert view is not None
    holds = {name: size * GIB for name, size in sizes.items()}
    for pid in await pids_of(running, model):
        host.use(pid, holds)
        holds = {}  # one process of the tree has it all
    sizes_of = {name: size * GIB for name, size in sizes.items()}
    ram = sizes_of.pop(RAM, 0)
    running.app.scheduler.submit(InstanceMeasured(view.instance, Footprint(ram, sizes_of, measured=True)))
    async with asyncio.timeout(5):
        while counted(running, model) != {name: size * GIB for name, size in sizes.items()}:
            await asyncio.sleep(0.005)


def counted(running: Running, model: str) -> Mapping[str, int]:
    view = running.app.scheduler.view(model)
    return view.devices if view is not None else {}


async def pids_of(running: Running, model: str) -> list[int]:
    models = (await running.app.control.status())["models"]
    assert isinstance(models, list)
    return [pid for row in models if row["model"] == model for pid in row.get("pids", ())]


async def one_leaves(running: Running, *models: str) -> str:
    """Of these exactly one: which one."""
    async with asyncio.timeout(10):
        while "stopped" not in (states := {model: running.state(model) for model in models}).values():
            await asyncio.sleep(0.005)
    await running.app.watch.look()
    await asyncio.sleep(0.2)
    states = {model: running.state(model) for model in models}
    assert sorted(states.values()) == ["ready"] * (len(models) - 1) + ["stopped"]
    return next(model for model, state in states.items() if state == "stopped")


async def test_a_cgroup_limit_that_falls_makes_idle_models_leave_and_no_more_than_needed() -> None:
    host = FakeDevices(ram_bytes=32 * GIB, alive=pid_exists)
    async with corral({"a": fake(), "b": fake(), "c": fake()}, memory=AUTO, devices=host) as running:
        for model in ("a", "b", "c"):
            await load(running, host, model, ram=7)
        before = await running.app.watch.look()
        host.limit(16 * GIB)
        await running.app.watch.look()
        gone = await one_leaves(running, "a", "b", "c")
        back = await running.text(gone)

        assert before.ours[RAM] == 21 * GIB
        assert back == f"I am {gone}."


async def test_a_neighbour_that_eats_vram_is_yielded_to() -> None:
    host = FakeDevices(ram_bytes=32 * GIB, gpus={"CUDA0": 24 * GIB}, alive=pid_exists)
    memory = MemorySpec(None, {VRAM: "auto"}, {VRAM: GIB // 4})
    async with corral({"a": fake(), "b": fake()}, memory=memory, devices=host) as running:
        await load(running, host, "a", CUDA0=8)
        await load(running, host, "b", CUDA0=8)
        host.neighbour("CUDA0", 6 * GIB)
        await running.app.watch.look()
        both = (running.state("a"), running.state("b"))
        host.neighbour("CUDA0", 8 * GIB)  # all that there was; `reserve` is not there any more
        await running.app.watch.look()
        await one_leaves(running, "a", "b")
        status = await running.app.control.status()

        assert both == ("ready", "ready")
        devices = {row["device"]: row for row in status["devices"]}  # type: ignore[attr-defined]
        assert devices["CUDA0"]["budget_bytes"] == 16 * GIB - GIB // 4


async def test_an_answer_that_runs_is_not_cut_by_any_of_it() -> None:
    host = FakeDevices(ram_bytes=32 * GIB, alive=pid_exists)
    async with corral({"busy": fake()}, memory=AUTO, devices=host) as running:
        await load(running, host, "busy", ram=20)
        answer = asyncio.ensure_future(running.stream("busy", fake={"chunks": 20, "delay_s": 0.05}))
        async with asyncio.timeout(5):
            while not running.app.scheduler.views()[0].leases:
                await asyncio.sleep(0.005)
        host.limit(8 * GIB)
        await running.app.watch.look()
        during = running.state("busy")
        _, done = await answer
        await running.until("busy", "stopped")

        assert (during, done) == ("ready", True)


async def test_a_gpu_that_vanishes_takes_idle_models_with_it_and_refuses_until_it_is_back() -> None:
    host = FakeDevices(ram_bytes=32 * GIB, gpus={"CUDA0": 24 * GIB}, alive=pid_exists)
    async with corral({"on-gpu": fake(), "on-cpu": fake()}, memory=AUTO, devices=host) as running:
        await load(running, host, "on-gpu", CUDA0=8)
        await load(running, host, "on-cpu", ram=8)
        host.vanish("CUDA0")
        await running.app.watch.look()
        await running.until("on-gpu", "stopped")
        refused = await running.chat("on-gpu")
        served = await running.text("on-cpu")
        host.come_back("CUDA0")
        await running.app.watch.look()
        again = await running.chat("on-gpu")

        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "no_memory")
        assert served
        assert again.status_code == 200


async def test_a_reload_after_a_gpu_has_vanished_leaves_its_budget_at_nothing() -> None:
    """A device without a budget has no limit; one that has gone has room for nothing, whatever Fleet comes."""
    host = FakeDevices(ram_bytes=32 * GIB, gpus={"CUDA0": 24 * GIB}, alive=pid_exists)
    async with corral({"a": fake()}, memory=AUTO, devices=host) as running:
        app = running.app
        host.vanish("CUDA0")
        await app.watch.look()
        await app.reload(lambda: app.settings)

        status = await app.control.status()
        rows = {row["device"]: row for row in status["devices"]}  # type: ignore[attr-defined]
        assert (rows["CUDA0"]["present"], rows["CUDA0"]["budget_bytes"]) == (False, 0)
        assert app.scheduler.machine._world.budgets["CUDA0"] == 0
