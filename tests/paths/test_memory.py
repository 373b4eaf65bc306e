"""
Memory on a host that changes: neighbours that eat it, GPUs that vanish, engines that take more than they should.

The host is a fake one that does what the test says; Corral, its keeper and the engines are real.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from corral.domain.devices import RAM, MemorySpec
from corral.domain.fleet import Fit, Limits, ModelSpec
from corral.engines.llamacpp import LlamaCppEngine
from corral.fakes.devices import FakeDevices
from corral.scheduler import memory as acts
from corral.store.gguf.memory import FileFootprints
from tests.corrals import Running, corral, fake, gguf
from tests.models import ADA, model

GIB = 1024**3
AUTO = MemorySpec(reserve={})


def taking(*flags: str, **sizes: int) -> ModelSpec:
    """A fake Model that takes so many GiB of each device."""
    found = fake(*flags)
    memory = tuple(f"{device}={size * GIB}" for device, size in sizes.items())
    return dataclasses.replace(found, options={**found.options, "memory": memory})


@asynccontextmanager
async def on(host: FakeDevices, **models: ModelSpec) -> AsyncIterator[Running]:
    limits = Limits(min_loaded_s=0, backoff_first_s=0.05)
    async with corral(models, devices=host, memory=AUTO, limits=limits) as running:
        yield running


@pytest.fixture
def host() -> FakeDevices:
    return FakeDevices(ram_bytes=32 * GIB, gpus={"CUDA0": 24 * GIB})


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acts, "WAIT_S", 0.3)
    monkeypatch.setattr(acts, "MEASURE_S", (0.05, 0.05, 0.05))
    monkeypatch.setattr(acts, "AGAIN_S", 0.05)


async def one_has_left(running: Running) -> None:
    """Of `a` and `b`, and the other is still there."""
    async with asyncio.timeout(10):
        while "stopped" not in (states := [running.state(name) for name in "ab"]):
            await asyncio.sleep(0.01)
    assert sorted(states) == ["ready", "stopped"]


async def refusal(running: Running, name: str) -> str:
    answer = await running.chat(name)
    assert answer.status_code == 503, answer.text
    return str(answer.json()["error"]["message"])


async def test_two_that_do_not_fit_on_one_gpu_take_turns(host: FakeDevices) -> None:
    async with on(host, a=taking(CUDA0=16), b=taking(CUDA0=16), c=taking(ram=8)) as running:
        for name in ("c", "a", "b", "a"):
            await running.text(name)
        assert (running.state("a"), running.state("c")) == ("ready", "ready")
        assert running.state("b") in ("stopped", "stopping")


async def test_what_can_never_fit_is_refused_at_once_with_the_sum(host: FakeDevices) -> None:
    async with on(host, a=taking(CUDA0=9), big=taking(ram=1, CUDA0=30)) as running:
        await running.text("a")
        message = await refusal(running, "big")
        assert message.startswith("'big' needs 30 GiB of CUDA0, 24 GiB of CUDA0 free after unloading a.")
        assert running.state("a") == "ready"


async def test_a_neighbour_that_comes_makes_the_idle_yield(host: FakeDevices) -> None:
    async with on(host, a=taking(CUDA0=8), b=taking(CUDA0=8)) as running:
        await running.text("a")
        await running.text("b")
        host.neighbour("CUDA0", 12 * GIB)
        await running.app.watch.look()
        await one_has_left(running)


async def test_memory_that_is_gone_between_decision_and_start_refuses_with_the_sum(host: FakeDevices) -> None:
    async with on(host, a=taking(CUDA0=4), b=taking(CUDA0=16)) as running:
        await running.text("a")
        host.neighbour("CUDA0", 12 * GIB)  # and nobody has looked since
        message = await refusal(running, "b")
        assert "'b' needs 16 GiB of CUDA0, and 12 GiB of CUDA0 free after 0.3 s" in message
        assert running.state("a") in ("stopped", "stopping"), "everything idle had left before the second try"
        host.neighbour("CUDA0", 0)
        await running.until("a", "stopped")
        running.app.scheduler.view("b")
        await running.app.control.load("b", timeout_s=10)
        assert await running.text("b")


async def test_memory_that_comes_back_late_is_waited_for(host: FakeDevices) -> None:
    async with on(host, b=taking(CUDA0=16)) as running:
        host.neighbour("CUDA0", 12 * GIB)
        read, reads = host.read, 0

        def late() -> object:
            nonlocal reads
            reads += 1
            if reads == 2:
                host.neighbour("CUDA0", 0)
            return read()

        host.read = late  # type: ignore[method-assign,assignment]
        assert await running.text("b")


async def test_a_gpu_that_vanishes_takes_its_models_out_of_service_and_no_others(host: FakeDevices) -> None:
    async with on(host, gpu=taking(CUDA0=8), cpu=taking(ram=8)) as running:
        await running.text("gpu")
        await running.text("cpu")
        host.vanish("CUDA0")
        await running.app.watch.look()
        await running.until("gpu", "stopped")
        assert "0 B of CUDA0 free" in await refusal(running, "gpu")
        assert await running.text("cpu")
        host.come_back("CUDA0")
        await running.app.watch.look()
        assert await running.text("gpu")


async def test_a_limit_that_falls_at_run_time_counts(host: FakeDevices) -> None:
    async with on(host, a=taking(ram=8), b=taking(ram=8)) as running:
        await running.text("a")
        await running.text("b")
        host.limit(10 * GIB)
        await running.app.watch.look()
        await one_has_left(running)
        status = await running.app.control.status()
        assert status["memory"]["budget_bytes"] == 10 * GIB  # type: ignore[index]


async def test_an_engine_that_takes_twice_its_estimate_counts_with_what_it_takes(host: FakeDevices) -> None:
    async with on(host, a=taking(ram=8), b=taking(ram=8)) as running:
        await running.text("b")
        await running.text("a")
        running_a = running.app._instances.of_model("a")
        assert running_a is not None and running_a.handle is not None
        usage = await running_a.runtime.usage(running_a.handle)
        assert usage is not None
        answer = asyncio.ensure_future(running.text("a", fake={"chunks": 50, "delay_s": 0.1}))
        host.use(usage.pids[0], {RAM: 30 * GIB})
        await running.until("b", "stopped")
        answer.cancel()
        view = running.app.scheduler.view("a")
        assert view is not None and view.devices == {RAM: 30 * GIB}


async def test_a_start_that_lacks_memory_is_tried_again_when_the_idle_have_left(
    host: FakeDevices, short_tmp: Path
) -> None:
    full = short_tmp / "full"
    full.touch()
    b = taking("--no-memory-while", str(full), ram=4)
    async with on(host, a=taking(ram=4), b=b) as running:
        await running.text("a")

        def freed(notice: object) -> None:
            if running.state("a") == "stopping":
                full.unlink(missing_ok=True)

        running.app.bus.subscribe(freed)
        assert await running.text("b")
        assert running.state("a") == "stopped"


async def test_what_never_gets_its_memory_has_failed_after_two_tries(host: FakeDevices, short_tmp: Path) -> None:
    full = short_tmp / "full"
    full.touch()
    async with on(host, b=taking("--no-memory-while", str(full), ram=4)) as running:
        assert "fake engine of b ended" in await refusal(running, "b")
        assert running.state("b") == "failed"


async def test_what_a_load_has_shown_is_known_to_the_next_corral(host: FakeDevices) -> None:
    async with on(host, a=gguf(model(ADA))) as running:
        app, spec = running.app, running.app.settings.fleet.models["a"]
        await running.text("a")
        found = app._instances.of_model("a")
        assert found is not None and found.handle is not None
        usage = await found.runtime.usage(found.handle)
        assert usage is not None
        host.use(usage.pids[0], {RAM: 3 * GIB})
        await _until_counted(running, "a", 3 * GIB)
        digest = app._survey.digest(spec)
        again = app._survey.of([spec])
        seen = app._footprints.seen(digest)
        assert seen is not None and seen.measured.ram_bytes == 3 * GIB
        assert again.footprints["a"].by_device() == {RAM: 3 * GIB}
        assert again.load_s["a"] > 0


async def test_a_measurement_that_rules_a_model_out_is_named_and_forgotten_by_hand(host: FakeDevices) -> None:
    async with on(host, a=gguf(model(ADA))) as running:
        await running.text("a")
        found = running.app._instances.of_model("a")
        assert found is not None and found.handle is not None
        usage = await found.runtime.usage(found.handle)
        assert usage is not None
        host.use(usage.pids[0], {RAM: 40 * GIB})  # more than the host has: a leak, or a wrong reading
        await running.until("a", "stopped")
        host.use(usage.pids[0], {})
        message = await refusal(running, "a")
        assert message.startswith("'a' needs 40 GiB, 32 GiB free. That is what an earlier load held, measured on 20")
        assert "`corral load a` forgets that and tries it as estimated" in message
        survey = running.app._survey.of(running.app.settings.fleet.models.values())
        (known,) = survey.remembered.values()
        assert 0 < known.estimated[RAM] < GIB and known.age_s < 60
        await running.app.control.load("a", timeout_s=20)
        assert await running.text("a")
        view = running.app.scheduler.view("a")
        assert view is not None and view.devices[RAM] < GIB


async def _until_counted(running: Running, name: str, size: int) -> None:
    async with asyncio.timeout(10):
        while True:
            view = running.app.scheduler.view(name)
            if view is not None and view.devices.get(RAM) == size:
                return
            await asyncio.sleep(0.02)


async def test_a_model_that_can_never_fit_is_served_smaller_where_its_operator_allows_it() -> None:
    whole = dataclasses.replace(
        gguf(model(ADA), options={"ctx_size": 32768, "cache_ram": 0}), fit=Fit(min_ctx_size=2048)
    )
    engine, files, fits = LlamaCppEngine(), FileFootprints(), {}
    for size in (16384, 8192):
        smaller = dataclasses.replace(whole, name="a", options={**whole.options, "ctx_size": size})
        fits[size] = files.footprint(engine.resolved(smaller)).ram_bytes
    ram = (fits[16384] + fits[8192]) // 2
    async with corral({"a": whole, "b": dataclasses.replace(whole, fit=None)}, ram=ram) as running:
        assert "needs" in await refusal(running, "b")
        assert await running.text("a")
        status = await running.app.control.status()
        (row,) = [each for each in status["models"] if each["model"] == "a"]  # type: ignore[attr-defined]
        assert row["note"] == "ctx_size 8192 instead of 32768"
        assert row["context_tokens"] == 8192
