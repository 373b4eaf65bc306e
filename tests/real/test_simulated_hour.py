"""
An hour of the simulated day (tests/simulation) with real engines: everything that takes time 60 times shorter, memory
by a hundredth. 50 real models, five callers of whom one floods. CORRAL_HOUR_S is its length in real seconds.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass

import pytest

from corral.domain.events import LoadFinished, Notice
from corral.domain.fleet import Limits, ModelSpec, Source
from corral.store.gguf.demo import DemoSpec
from corral.store.gguf.memory import FileFootprints
from tests.corrals import Running, corral
from tests.models import model
from tests.simulation import workload
from tests.simulation.optimum import fewest_loads

SECONDS = float(os.environ.get("CORRAL_HOUR_S", "60"))
FASTER = 60.0
SMALLER = 100
SEED = 1
CELLS = 256


@dataclass
class Answered:
    """One request and what came of it."""

    arrival: workload.Arrival
    waited_s: float = 0.0
    outcome: str = "lost"


def sentence(name: str) -> str:
    return f"This is {name}, and nobody else answers for it."


def real_model(wanted: workload.DayModel) -> ModelSpec:
    """A tiny GGUF with so much context that its footprint is about a hundredth of what the simulated one weighs."""
    path = str(model(DemoSpec(name=wanted.name, sentence=sentence(wanted.name), context=1 << 20)))
    footprints = FileFootprints()

    def spec(cells: int) -> ModelSpec:
        options = {"parallel": wanted.slots, "ctx_size": cells, "threads": 1, "cache_ram": 0}
        return ModelSpec("", Source(path), options=options, slots=wanted.slots)

    least = CELLS * wanted.slots
    empty, more = (footprints.footprint(spec(cells)).ram_bytes for cells in (least, 2 * least))
    steps = max(0, round((wanted.size_bytes / SMALLER - empty) / (more - empty)))
    return spec(least * (1 + min(steps, 200)))


async def ask(running: Running, answered: Answered) -> None:
    began = time.monotonic()
    try:
        async with asyncio.timeout(SECONDS):
            answer = await running.chat(answered.arrival.model, user=answered.arrival.caller)
    except TimeoutError:
        return
    answered.waited_s = time.monotonic() - began
    if answer.status_code != 200:
        answered.outcome = f"{answer.status_code} {answer.text[:200]}"
        return
    text = answer.json()["choices"][0]["message"]["content"]
    answered.outcome = "ok" if text == sentence(answered.arrival.model) else f"wrong: {text!r}"


@pytest.mark.slow
@pytest.mark.timeout(SECONDS * 3 + 120)
async def test_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")  # the embedded engine
    fleet = workload.models(SEED)
    arrivals = workload.arrivals(fleet, SEED, SECONDS * FASTER)
    models = {each.name: await asyncio.to_thread(real_model, each) for each in fleet}
    limits = Limits(max_wait_hot_s=10 / FASTER, queue_per_model=10_000, queue_total=10_000)
    loads: list[LoadFinished] = []

    def note(notice: Notice) -> None:
        if isinstance(notice, LoadFinished):
            loads.append(notice)

    async with corral(models, limits=limits, ram=workload.BUDGET_BYTES // SMALLER) as running:
        running.app.bus.subscribe(note, LoadFinished)
        began = time.monotonic()
        asked: list[tuple[Answered, asyncio.Task[None]]] = []
        for arrival in arrivals:
            await asyncio.sleep(arrival.at / FASTER - (time.monotonic() - began))
            answered = Answered(arrival)
            asked.append((answered, asyncio.ensure_future(ask(running, answered))))
        await asyncio.gather(*(task for _, task in asked))
        leases = sum(view.leases for view in running.app.scheduler.views())
    answers = [answered for answered, _ in asked]
    sizes = {name: FileFootprints().footprint(spec).ram_bytes for name, spec in models.items()}
    fewest = fewest_loads([each.model for each in arrivals], sizes, workload.BUDGET_BYTES // SMALLER)
    waits = sorted(each.waited_s for each in answers if each.arrival.caller != "flood")
    print(
        f"\n{len(answers)} requests, {len(loads)} loads ({fewest} at least), wait p50 {waits[len(waits) // 2]:.3f} s,"
        f" p95 {waits[len(waits) * 95 // 100]:.2f} s, longest {waits[-1]:.2f} s"
    )
    assert [each.outcome for each in answers if each.outcome != "ok"] == []
    assert leases == 0
    assert {each.outcome for each in loads} == {"ready"}
    assert len({each.model for each in loads}) > 10
    # Those who wait are passed by requests for what runs, so a load or two less than the fewest in order can happen.
    assert 0.9 * fewest <= len(loads) <= 1.3 * fewest
