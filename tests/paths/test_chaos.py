"""
Random kills under load, with the promises checked: each request is answered right or refused in its shape, one Model
of the swap group at a time, nothing left behind. CORRAL_CHAOS_S and CORRAL_CHAOS_SEED change length and dice.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal

import psutil
import pytest

from corral.domain.fleet import Limits
from tests.corrals import Running, corral, fake
from tests.load import Load

SECONDS = float(os.environ.get("CORRAL_CHAOS_S", "60"))
SEED = int(os.environ.get("CORRAL_CHAOS_SEED", "11435"))


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def keeper_pids() -> list[int]:
    """Keepers that this test process started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "corral.runtimes.process.keeper" in process.cmdline():
                found.append(process.pid)
    return found


async def wreck(running: Running, rng: random.Random, kills: list[str]) -> None:
    """Every now and then kill an engine, pause one, or kill the keeper."""
    while True:
        await asyncio.sleep(rng.uniform(0.1, 1.0))
        what = rng.choices(["engine", "pause", "keeper"], [8, 2, 1])[0]
        pids = keeper_pids() if what == "keeper" else running.engine_pids()
        if not pids:
            continue
        pid = rng.choice(pids)
        kills.append(what)
        if what == "pause":
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                await asyncio.sleep(0.3)
                os.kill(pid, signal.SIGCONT)
        else:
            kill(pid)


async def watch_group(running: Running, names: list[str], seen: list[str]) -> None:
    """Two members of a swap group must never hold memory together."""
    while True:
        alive = [name for name in names if running.state(name) in ("starting", "ready", "draining", "stopping")]
        if len(alive) > 1:
            seen.append(f"together: {alive}")
        await asyncio.sleep(0.002)


@pytest.mark.chaos
@pytest.mark.timeout(SECONDS + 120)
async def test_random_kills_under_load_lose_nothing() -> None:
    names = ["a", "b", "c"]
    models = {name: fake("--load-s", "0.02", "--delay-s", "0.003") for name in names}
    kills: list[str] = []
    together: list[str] = []
    limits = Limits(backoff_first_s=0.05, backoff_max_s=0.2, max_wait_hot_s=0.5)
    async with corral(models, group="swap", limits=limits) as running:
        load = Load(running, {name: f"I am {name}." for name in names}, SEED)
        helpers = [
            asyncio.ensure_future(wreck(running, random.Random(SEED), kills)),
            asyncio.ensure_future(watch_group(running, names, together)),
        ]
        await load.run(workers=12, seconds=SECONDS)
        for helper in helpers:
            helper.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)
        # After the storm everything works again.
        for name in names:
            async with asyncio.timeout(20):
                while (await running.chat(name)).status_code != 200:
                    await asyncio.sleep(0.05)
        leases = [view.leases for view in running.app.scheduler.views()]
        waiting = [view.waiting for view in running.app.scheduler.views()]
    print(f"\n{dict(load.outcomes)}; kills: {len(kills)}")

    assert load.wrong == []
    assert together == []
    assert leases == [0, 0, 0]
    assert waiting == [0, 0, 0]
    assert load.outcomes["ok"] > SECONDS
    assert len(kills) > SECONDS / 2
