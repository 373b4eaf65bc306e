"""The wall clock is set back and forth while Corral serves: nothing that is waited for may notice."""

from __future__ import annotations

import asyncio
import time

import pytest

from corral.kit.clock import SystemClock
from tests.corrals import corral, fake

DAY_S = 86_400.0


@pytest.mark.parametrize("jump_s", [10 * DAY_S, -10 * DAY_S], ids=["forward", "back"])
async def test_a_set_clock_changes_no_wait(jump_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    async with corral({"a": fake("--load-s", "0.2", ttl_s=1.0), "b": fake()}, group="swap") as running:
        running_answer = asyncio.ensure_future(running.text("a", fake={"chunks": 8, "delay_s": 0.1}))
        await running.until("a", "ready")
        waiting = asyncio.ensure_future(running.text("b"))
        await asyncio.sleep(0.1)
        monkeypatch.setattr(time, "time", lambda: real() + jump_s)
        monkeypatch.setattr(SystemClock, "wall", staticmethod(lambda: real() + jump_s))
        assert await running_answer  # no deadline has come, whatever the calendar says
        assert await waiting
        await running.text("a")  # b leaves for it
        assert running.state("a") == "ready"
        began = time.monotonic()
        await running.until("a", "stopped", timeout_s=5.0)
        assert 0.5 < time.monotonic() - began < 3.0  # its second of idle time, no more and no less
        monkeypatch.undo()
        assert await running.text("b")
        assert (await running.http.get("/metrics")).status_code == 200
