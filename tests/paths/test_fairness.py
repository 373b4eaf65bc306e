"""
Fairness over real sockets: a hot and a cold Model, callers of whom one floods, keys with bounds.

The engines are fakes that take as long as they are told, and longer on a machine that has other things to do. So bounds
are those of the promises and of the shares, of what loads and answers really took, and where it can be of the order in
which things ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from corral.domain.events import LoadFinished, Notice, RequestFinished
from corral.domain.fleet import Limits
from corral.domain.serving import KeySpec, Scope, ServerSpec
from tests.corrals import Running, corral, fake
from tests.paths.relay_kit import until

SLACK_S = 0.4


def key(name: str, **bounds: int) -> KeySpec:
    """A key that is its own name."""
    return KeySpec(name, hashlib.sha256(name.encode()).hexdigest(), frozenset(Scope), **bounds)


def keys(*specs: KeySpec) -> ServerSpec:
    return ServerSpec(port=0, drain_s=5.0, keys=specs)


class Ended:
    """What has ended at a Corral: its loads and its requests, in their order."""

    def __init__(self, running: Running) -> None:
        self.loads: list[LoadFinished] = []
        self.requests: list[RequestFinished] = []
        running.app.bus.subscribe(self._keep, LoadFinished, RequestFinished)

    def _keep(self, notice: Notice) -> None:
        if isinstance(notice, LoadFinished):
            self.loads.append(notice)
        elif isinstance(notice, RequestFinished):
            self.requests.append(notice)

    def of(self, caller: str) -> list[RequestFinished]:
        """One caller's requests."""
        return [each for each in self.requests if each.caller == caller]


async def asks(running: Running, model: str, *, takes_s: float, caller: str = "") -> float:
    """One request whose answer takes so long; the seconds from asking to the end, less that. Fails for a refusal."""
    body = {"model": model, "messages": [], "fake": {"chunks": 1, "delay_s": takes_s}}
    headers = {"authorization": f"Bearer {caller}"} if caller else {}
    began = time.perf_counter()
    answer = await running.http.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return time.perf_counter() - began - takes_s


@contextlib.asynccontextmanager
async def meanwhile(workers: int, work: Callable[[], Any]) -> AsyncIterator[None]:
    """So many workers, each of whom does it again and again until the block ends."""

    async def again() -> None:
        while True:
            await work()

    tasks = [asyncio.ensure_future(again()) for _ in range(workers)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    failed = [each for each in results if not isinstance(each, asyncio.CancelledError)]
    assert not failed, failed


def p95(times: list[float]) -> float:
    return sorted(times)[len(times) * 95 // 100]


async def test_a_cold_model_beside_a_flooded_hot_one_waits_no_longer_than_the_promise() -> None:
    lease_s, load_s, hot_s = 0.15, 0.2, 0.6
    models = {"hot": fake("--load-s", str(load_s), slots=2), "cold": fake("--load-s", str(load_s), slots=2)}
    limits = Limits(max_wait_hot_s=hot_s)
    waits, during_hot = [], []
    async with corral(models, group="swap", limits=limits) as running:
        ended = Ended(running)
        await running.text("hot")

        async def flood() -> None:
            during_hot.append(await asks(running, "hot", takes_s=lease_s))

        async with meanwhile(12, flood):
            for _ in range(5):
                await asyncio.sleep(0.7)
                waits.append(await asks(running, "cold", takes_s=0.05))

    # Promise 5: a hot Model gets no new leases after that, its longest lease ends, the load. Then the same the other
    # way round: the hot one waits for its place as well.
    lease_s, load_s = max(each.slot_s for each in ended.requests), max(each.seconds for each in ended.loads)
    bound = hot_s + lease_s + load_s
    assert max(waits) <= bound + SLACK_S, waits
    assert min(waits) >= hot_s - SLACK_S, "the hot Model was sent away too early for this to show anything"
    assert max(during_hot) <= bound + 12 / 2 * lease_s + 2 * (load_s + hot_s) + SLACK_S
    assert len(during_hot) > 30


async def test_one_that_floods_fifty_times_over_does_not_delay_four_others() -> None:
    takes_s = 0.04
    server = keys(key("flood"), *(key(f"user{n}") for n in range(4)))
    waits: list[float] = []
    flooded: list[float] = []
    async with corral({"m": fake(slots=2)}, server=server) as running:
        await asks(running, "m", takes_s=0.0, caller="flood")

        async def flood() -> None:
            flooded.append(await asks(running, "m", takes_s=takes_s, caller="flood"))

        async def user(name: str) -> None:
            for _ in range(20):
                waits.append(await asks(running, "m", takes_s=takes_s, caller=name))
                await asyncio.sleep(takes_s)

        async with meanwhile(50, flood):
            await asyncio.sleep(0.3)
            await asyncio.gather(*(user(f"user{n}") for n in range(4)))
            await asyncio.sleep(0.3)

    # In turn with four others at two slots each waits two or three answers; behind fifty it would be twenty-five.
    assert p95(waits) <= p95(flooded) / 3, sorted(waits)
    assert p95(flooded) >= 15 * takes_s


async def test_callers_that_always_wait_get_equal_slot_time_whatever_their_answers_take() -> None:
    takes = {"short": 0.03, "middle": 0.06, "long": 0.15}
    async with corral({"m": fake(slots=3)}, server=keys(*(key(name) for name in takes))) as running:
        await asks(running, "m", takes_s=0.0, caller="short")
        before = await slot_seconds(running)
        async with contextlib.AsyncExitStack() as stack:
            for name, takes_s in takes.items():
                await stack.enter_async_context(meanwhile(8, _asking(running, name, takes_s)))
            await asyncio.sleep(3.0)
            after = await slot_seconds(running)
    used = {name: after.get(name, 0.0) - before.get(name, 0.0) for name in takes}
    mean = sum(used.values()) / 3
    assert mean > 2.0
    assert all(abs(each - mean) <= 0.25 * mean for each in used.values()), used


def _asking(running: Running, caller: str, takes_s: float) -> Callable[[], Any]:
    return lambda: asks(running, "m", takes_s=takes_s, caller=caller)


async def slot_seconds(running: Running) -> dict[str, float]:
    """What `/metrics` says that callers have used."""
    answer = await running.http.get("/metrics", headers={"authorization": "Bearer short"})
    return {
        sample.labels["caller"]: sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.name == "corral_caller_slot_seconds_total"
    }


async def test_a_key_never_has_more_at_one_time_than_it_may_and_the_others_do_not_wait_for_it() -> None:
    server = keys(key("two", max_concurrent=2), key("other"))
    most = 0
    async with corral({"a": fake(slots=4), "b": fake(slots=4)}, server=server) as running:
        ended = Ended(running)
        for model in ("a", "b"):
            await asks(running, model, takes_s=0.0, caller="other")

        async def watch() -> None:
            nonlocal most
            most = max(most, *(each.leases for each in running.app.scheduler.callers() if each.caller == "two"), 0)
            await asyncio.sleep(0.001)

        async with meanwhile(1, watch):
            mine = [asyncio.ensure_future(asks(running, "ab"[n % 2], takes_s=0.05, caller="two")) for n in range(20)]
            for n in range(8):
                await asks(running, "ab"[n % 2], takes_s=0.05, caller="other")
            waits = await asyncio.gather(*mine)
    assert most == 2
    others = ended.of("other")[2:]  # without those that loaded
    assert [each.queue_s for each in others] == [0.0] * 8
    assert ended.of("two")[-1] is ended.requests[-1], "the others came when nobody waited any more"
    assert max(waits) >= 9 * 0.05 - 0.1  # ten rounds of two


async def test_who_waits_can_be_seen_with_place_and_expected_time() -> None:
    server = keys(key("flood", max_concurrent=3), key("other", priority=1))
    async with corral({"m": fake(slots=1)}, server=server) as running:
        await asks(running, "m", takes_s=0.5, caller="other")
        tasks = [asyncio.ensure_future(asks(running, "m", takes_s=0.5, caller="flood")) for _ in range(4)]
        await until(lambda: len(running.app.scheduler.waiters()) == 3)
        tasks.append(asyncio.ensure_future(asks(running, "m", takes_s=0.5, caller="other")))
        await until(lambda: len(running.app.scheduler.waiters()) == 4)
        as_admin = {"authorization": "Bearer other"}
        rows = (await running.http.get("/api/corral/queue", headers=as_admin)).json()["waiting"]
        (model,) = (await running.http.get("/running", headers=as_admin)).json()["running"]
        await asyncio.gather(*tasks)
    assert [(row["caller"], row["position"], row["held_back"]) for row in rows] == [
        ("other", 1, False), ("flood", 2, False), ("flood", 3, False), ("flood", 4, True),
    ]  # fmt: skip
    assert [row["expected_s"] is None for row in rows] == [False, False, False, True]
    service_s = model["service_s"]
    assert service_s >= 0.5
    assert 0.8 * service_s < rows[0]["expected_s"] < 1.6 * service_s
    assert rows[0]["waited_s"] < rows[1]["waited_s"]  # it came last
    assert 3.2 * service_s < model["expected_wait_s"] < 6.0 * service_s


async def test_a_flood_is_refused_before_the_places_of_others_are_gone() -> None:
    server = keys(key("flood"), key("other"))
    limits = Limits(queue_per_model=10)
    async with corral({"m": fake(slots=1)}, server=server, limits=limits) as running:
        ended = Ended(running)
        body = {"model": "m", "messages": [], "fake": {"chunks": 1, "delay_s": 0.05}}
        as_flood = {"authorization": "Bearer flood"}
        flood = [
            asyncio.ensure_future(running.http.post("/v1/chat/completions", json=body, headers=as_flood))
            for _ in range(40)
        ]
        await until(lambda: any(each.outcome == "refused" for each in ended.requests))
        await asks(running, "m", takes_s=0.05, caller="other")
        answers = await asyncio.gather(*flood)
    (mine,) = ended.of("other")
    served = [each for each in ended.requests if each.outcome == "ok"]
    assert served.index(mine) < len(served) - 1, "it was served last of all"
    refused = [answer for answer in answers if answer.status_code == 503]
    assert 25 <= len(refused) <= 39
    assert {answer.json()["error"]["code"] for answer in refused} == {"queue_full"}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
