"""Journeys through a whole Corral: start on request, swap, queue, stop, fail, recover."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import time

from corral.domain.events import Notice, StateChanged
from corral.domain.fleet import Limits, Timeouts
from corral.domain.instance import InstanceState
from tests.corrals import corral, fake


async def test_the_first_request_starts_the_model_and_a_burst_causes_one_load() -> None:
    started: list[Notice] = []

    def note(notice: Notice) -> None:
        if isinstance(notice, StateChanged) and notice.new is InstanceState.STARTING:
            started.append(notice)

    async with corral({"a": fake("--load-s", "0.1")}) as running:
        running.app.bus.subscribe(note)
        texts = await asyncio.gather(*(running.text("a") for _ in range(40)))

    assert set(texts) == {"I am a."}
    assert len(started) == 1


async def test_models_of_a_swap_group_take_turns_and_the_right_one_answers() -> None:
    async with corral({"a": fake(), "b": fake()}, group="swap") as running:
        assert [await running.text(name) for name in "abab"] == ["I am a.", "I am b.", "I am a.", "I am b."]
        assert running.state("a") == "stopped"
        assert len(running.engine_pids()) == 1


async def test_a_running_stream_is_not_cut_by_a_swap() -> None:
    async with corral({"a": fake(), "b": fake()}, group="swap") as running:
        slow = asyncio.ensure_future(running.stream("a", fake={"chunks": 20, "delay_s": 0.02}))
        await running.until("a", "ready")
        while not running.app.scheduler.view("a").leases:  # type: ignore[union-attr]
            await asyncio.sleep(0.005)

        assert await running.text("b") == "I am b."
        text, done = await slow
        assert done
        assert text


async def test_a_full_queue_answers_503_with_retry_after_at_once() -> None:
    async with corral({"a": fake("--never-ready")}, limits=Limits(queue_per_model=3)) as running:
        waiting = [asyncio.ensure_future(running.chat("a")) for _ in range(3)]
        while running.app.scheduler.view("a").waiting < 3:  # type: ignore[union-attr]
            await asyncio.sleep(0.005)
        began = time.perf_counter()
        answer = await running.chat("a")
        took = time.perf_counter() - began

        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["error"]["code"] == "queue_full"
        assert took < 0.05
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_an_engine_that_crashes_at_once_says_why_and_recovers() -> None:
    limits = Limits(backoff_first_s=0.2)
    async with corral({"a": fake("--exit-at-start", "3", "--log-text", "no such layer")}, limits=limits) as running:
        first = await running.chat("a")
        again = await running.chat("a")

        assert first.status_code == 503
        error = first.json()["error"]
        assert error["code"] == "engine_start_failed"
        assert "exited with code 3" in error["message"]
        assert running.state("a") == "failed"
        assert again.status_code == 503  # in back-off: refused at once, with the same reason
        assert "retry-after" in again.headers


async def test_an_engine_that_hangs_while_loading_is_given_up() -> None:
    model = fake("--never-ready", timeouts=Timeouts(load_s=0.3))
    async with corral({"a": model}) as running:
        answer = await running.chat("a")

        assert answer.status_code == 503
        assert "never became ready" in answer.json()["error"]["message"]
        assert running.engine_pids() == []


async def test_a_killed_engine_is_started_again_for_the_next_request() -> None:
    async with corral({"a": fake()}) as running:
        await running.text("a")
        for pid in running.engine_pids():
            os.kill(pid, signal.SIGKILL)

        assert await running.text("a") == "I am a."


async def test_an_engine_that_dies_before_its_first_byte_costs_one_retry_then_502() -> None:
    async with corral({"a": fake()}) as running:
        answer = await running.chat("a", fake={"crash_before_first_byte": True})

        assert answer.status_code == 502
        assert answer.json()["error"]["code"] == "engine_died"
        assert answer.headers["x-corral-source"] == "engine"
        assert await running.text("a") == "I am a."


async def test_an_engine_that_dies_in_mid_stream_gives_one_error_event_and_no_done() -> None:
    async with corral({"a": fake()}) as running:
        body = {"model": "a", "messages": [], "stream": True, "fake": {"chunks": 9, "crash_after_tokens": 3}}
        answer = await running.http.post("/v1/chat/completions", json=body)

        assert answer.status_code == 200
        assert answer.text.count('"error"') == 1
        assert "[DONE]" not in answer.text
        assert await running.text("a") == "I am a."


async def test_an_engine_that_ignores_sigterm_is_stopped_all_the_same() -> None:
    async with corral(
        {"a": fake("--refuse-sigterm", timeouts=Timeouts(stop_s=0.2)), "b": fake()}, group="swap"
    ) as running:
        await running.text("a")
        began = time.perf_counter()

        assert await running.text("b") == "I am b."
        assert time.perf_counter() - began < 2.0


async def test_the_ttl_unloads_an_idle_model_and_the_next_request_loads_it() -> None:
    async with corral({"a": fake(ttl_s=0.2)}) as running:
        await running.text("a")
        await running.until("a", "stopped")

        assert running.engine_pids() == []
        assert await running.text("a") == "I am a."


async def test_ten_times_more_requests_than_slots_are_all_served() -> None:
    async with corral({"a": fake(slots=2)}) as running:
        texts = await asyncio.gather(*(running.text("a", fake={"delay_s": 0.005}) for _ in range(20)))

    assert texts == ["I am a."] * 20


async def test_a_client_that_leaves_the_queue_causes_no_load() -> None:
    async with corral({"a": fake(), "b": fake()}, group="swap") as running:
        slow = asyncio.ensure_future(running.stream("a", fake={"chunks": 15, "delay_s": 0.02}))
        await running.until("a", "ready")
        while not running.app.scheduler.view("a").leases:  # type: ignore[union-attr]
            await asyncio.sleep(0.005)
        leaver = asyncio.ensure_future(running.chat("b"))
        while not running.app.scheduler.view("b").waiting:  # type: ignore[union-attr]
            await asyncio.sleep(0.005)
        leaver.cancel()
        await slow

        assert running.state("a") == "ready"
        assert running.state("b") == "stopped"


async def test_pinned_models_start_with_corral_and_come_back_when_killed() -> None:
    async with corral({"a": fake(pin=True)}, limits=Limits(backoff_first_s=0.1)) as running:
        await running.until("a", "ready")
        first = running.engine_pids()
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(10):
            while running.engine_pids() in (first, []) or running.state("a") != "ready":
                await asyncio.sleep(0.01)


async def test_a_reload_keeps_what_is_unchanged_and_replaces_what_changed() -> None:
    async with corral({"a": fake(), "b": fake()}) as running:
        await running.text("a")
        await running.text("b")
        pids = set(running.engine_pids())
        settings = running.app.settings
        models = dict(settings.fleet.models)
        models["b"] = dataclasses.replace(models["b"], options={**models["b"].options, "flags": ("--reply", "new b")})
        fleet = dataclasses.replace(settings.fleet, models=models)
        await running.app.reload(lambda: dataclasses.replace(settings, fleet=fleet))

        assert await running.text("a") == "I am a."
        assert await running.text("b") == "new b"
        assert len(pids & set(running.engine_pids())) == 1
