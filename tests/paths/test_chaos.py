"""
Random kills under load, with the promises checked: each request is answered right or refused in the shape of its
dialect, one Model of the swap group at a time, nothing left behind. CORRAL_CHAOS_S and CORRAL_CHAOS_SEED change length
and dice.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import random
import signal
from collections import Counter
from collections.abc import Callable

import psutil
import pytest

from corral.config.settings import Settings
from corral.domain.fleet import Limits, Timeouts
from tests.clients import CHATS
from tests.corrals import Running, corral, fake
from tests.load import Load

SECONDS = float(os.environ.get("CORRAL_CHAOS_S", "60"))
SEED = int(os.environ.get("CORRAL_CHAOS_SEED", "11435"))
SILENT_S = 1.0
"""What an engine may take to say something."""
SENTENCE = "and I say so in more words than anybody needs, for then more can go wrong in the middle"
FLAGS = ("--load-s", "0.02", "--delay-s", "0.006")


def flags(name: str) -> tuple[str, ...]:
    return (*FLAGS, "--reply", says(name))


def says(name: str) -> str:
    return f"I am {name}, {SENTENCE}."


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


async def wreck(running: Running, rng: random.Random, done: Counter[str]) -> None:
    """Every now and then kill an engine, pause one, let one hang until it is given up, kill the keeper, or reload."""
    while True:
        await asyncio.sleep(rng.uniform(0.1, 1.0))
        what = rng.choices(["engine", "pause", "hang", "keeper", "reload"], [8, 2, 1, 1, 2])[0]
        if what == "reload":
            await running.app.reload(changed(running.app.settings, rng))
            done[what] += 1
            continue
        pids = keeper_pids() if what == "keeper" else running.engine_pids()
        if not pids:
            continue
        pid = rng.choice(pids)
        done[what] += 1
        if what in ("pause", "hang"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                await asyncio.sleep(0.3 if what == "pause" else 2 * SILENT_S)
                os.kill(pid, signal.SIGCONT)
        else:
            kill(pid)


def changed(settings: Settings, rng: random.Random) -> Callable[[], Settings]:
    """A config in which one Model is another, so that its instance has to go."""
    models = dict(settings.fleet.models)
    name = rng.choice(list(models))
    another = (*flags(name), "--log-lines", str(rng.randrange(1000)))
    models[name] = dataclasses.replace(models[name], options={**models[name].options, "flags": another})
    fleet = dataclasses.replace(settings.fleet, models=models)
    return lambda: dataclasses.replace(settings, fleet=fleet)


async def watch_group(running: Running, names: list[str], seen: list[str]) -> None:
    """Two members of a swap group must never hold memory together."""
    while True:
        alive = [name for name in names if running.state(name) in ("starting", "ready", "draining", "stopping")]
        if len(alive) > 1:
            seen.append(f"together: {alive}")
        await asyncio.sleep(0.002)


async def held(running: Running) -> str:
    """What is still there once all clients have gone: nothing."""
    gateway = running.app.gateway
    for _ in range(200):
        views = running.app.scheduler.views()
        sites = gateway.links._sites.values()
        counts = {
            "leases": sum(view.leases for view in views),
            "waiting": sum(view.waiting for view in views),
            "bytes of bodies": gateway.bodies.held,
            "connections": gateway.connections,
            "links in use": sum(link.user is not None for site in sites for link in site.links),
        }
        if not any(counts.values()):
            return ""
        await asyncio.sleep(0.01)
    return str(counts)


@pytest.mark.chaos
@pytest.mark.timeout(SECONDS + 120)
async def test_random_kills_under_load_lose_nothing() -> None:
    """One Model is quick, one is spoken of while it loads, and one hears signs of life in every pause."""
    timeouts = Timeouts(first_token_s=SILENT_S, idle_s=SILENT_S, heartbeat_s=0.05)
    models = {
        "a": fake(*flags("a"), timeouts=Timeouts(first_token_s=SILENT_S, idle_s=SILENT_S)),
        "b": fake(*flags("b"), timeouts=timeouts, loading_state="reasoning"),
        "c": fake(*flags("c"), timeouts=timeouts, loading_state="off"),
    }
    done: Counter[str] = Counter()
    together: list[str] = []
    limits = Limits(backoff_first_s=0.05, backoff_max_s=0.2, max_wait_hot_s=0.5)
    async with corral(models, group="swap", limits=limits) as running:
        load = Load(running, {name: says(name) for name in models}, SEED)
        helpers = [
            asyncio.ensure_future(wreck(running, random.Random(SEED), done)),
            asyncio.ensure_future(watch_group(running, list(models), together)),
        ]
        await load.run(workers=12, seconds=SECONDS)
        ended = [helper for helper in helpers if helper.done()]
        for helper in helpers:
            helper.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)
        # After the storm everything works again.
        for name in models:
            async with asyncio.timeout(20):
                while (await running.chat(name)).status_code != 200:
                    await asyncio.sleep(0.05)
        await running.http.aclose()
        left = await held(running)
    print(f"\n{dict(load.outcomes)}; {dict(done)}; {dict(load.by_route)}")

    assert not ended
    assert load.wrong == []
    assert together == []
    assert left == ""
    assert load.outcomes["ok"] > SECONDS
    assert sum(done.values()) > SECONDS / 2
    silent = [f"{client.path} {kind}" for client in CHATS for kind in ("plain", "stream")]
    assert [each for each in silent if SECONDS >= 20 and not load.by_route[each]] == []
