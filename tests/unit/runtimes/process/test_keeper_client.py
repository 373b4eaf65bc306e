"""KeeperClient: seeing a keeper dead, with pretended processes."""

from __future__ import annotations

import asyncio
import subprocess
import time
from typing import Any, cast

import pytest

from corral.runtimes.process import client as keepers
from corral.runtimes.process.client import KeeperClient


class FakeProcess:
    """A child that dies after so many kills."""

    def __init__(self, kills: int) -> None:
        self.left = kills

    def poll(self) -> int | None:
        return None if self.left else -9

    def kill(self) -> None:
        self.left -= 1


def client(process: FakeProcess) -> KeeperClient:
    made = KeeperClient(lambda *_: None, lambda _: None)
    made.pid, made.process = 4711, cast("subprocess.Popen[bytes]", cast(Any, process))
    return made


async def test_a_child_of_unknown_start_time_is_killed_too() -> None:
    process = FakeProcess(kills=1)
    async with asyncio.timeout(2):
        await client(process).reap(0.02)
    assert process.left == 0


async def test_a_keeper_that_does_not_die_is_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keepers, "KILLED_S", 0.05, raising=False)
    began = time.monotonic()
    async with asyncio.timeout(2):
        await client(FakeProcess(kills=99)).reap(0.02)
    assert time.monotonic() - began < 1
    assert "4711" in caplog.text and "does not die" in caplog.text
