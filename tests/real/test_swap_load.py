"""
Two real models in a swap group under mixed load: no request lost, the right model answers each; the same while engines
are killed at random. CORRAL_LOAD_S is the length of each, in seconds.
"""

from __future__ import annotations

import asyncio
import os
import random

import pytest

from corral.domain.fleet import Limits
from tests.corrals import Running, corral, gguf
from tests.load import Load
from tests.models import ADA, BEN, model
from tests.paths.test_chaos import kill
from tests.real.engines import ENGINES, binary_of

SECONDS = float(os.environ.get("CORRAL_LOAD_S", "60"))


async def kill_engines(running: Running, rng: random.Random) -> None:
    while True:
        await asyncio.sleep(rng.uniform(0.2, 1.5))
        pids = running.engine_pids()
        if pids:
            kill(rng.choice(pids))


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("killing", [False, True], ids=["calm", "kills"])
async def test_mixed_load(engine: str, killing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # A minute each for the embedded engine without kills and the program with them; the other two are shorter.
    seconds = SECONDS if (engine == "embedded") != killing else SECONDS / 6
    binary = binary_of(engine, monkeypatch)
    models = {"ada": gguf(model(ADA), binary=binary), "ben": gguf(model(BEN), binary=binary)}
    limits = Limits(backoff_first_s=0.05, backoff_max_s=0.2, max_wait_hot_s=0.5)
    async with corral(models, group="swap", limits=limits) as running:
        load = Load(running, {"ada": ADA.sentence, "ben": BEN.sentence}, seed=7)
        killer = asyncio.ensure_future(kill_engines(running, random.Random(7))) if killing else None
        await load.run(workers=8, seconds=seconds)
        if killer is not None:
            killer.cancel()
        leases = [view.leases for view in running.app.scheduler.views()]
    print(f"\n{engine}, {'kills' if killing else 'calm'}: {dict(load.outcomes)}")

    assert load.wrong == []
    assert leases == [0, 0]
    assert load.outcomes["ok"] > seconds
    if not killing:
        assert not [outcome for outcome in load.outcomes if outcome.startswith("refused")]
