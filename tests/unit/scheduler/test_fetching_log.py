"""What the log says of a fetch: when it begins, a line every five seconds, how it ends; and no secret of an address."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable

import pytest

from corral.contracts.fetching import Told
from corral.domain.commands import Fetch
from corral.domain.errors import FetchFailed
from corral.domain.events import FetchProgressed, FilesCame, FilesFailed, SchedulerEvent
from corral.domain.fetching import Progress
from corral.domain.fleet import ModelSpec, Source
from corral.scheduler.fetching import Fetching
from tests.corrals import fake

ADDRESS = "https://me:pass@files.example/m.gguf?sig=secret"


class Time:
    """Both clocks of a test."""

    at = 0.0

    def now(self) -> float:
        return self.at

    def wall(self) -> float:
        return self.at


class Slow:
    """A supply that needs a second for each hundredth; `fails` ends it."""

    def __init__(self, time: Time, percent: int, fails: FetchFailed | None = None) -> None:
        self.time, self.percent, self.fails = time, percent, fails
        self.heard = threading.Event()

    def here(self, source: Source) -> Source | None:
        return None

    def bring(self, source: Source, told: Told, stop: Callable[[], bool]) -> Source:
        for done in range(self.percent + 1):
            self.time.at += 1
            self.heard.clear()
            told(Progress(done * 20_480_000, 2_048_000_000, file="m.gguf"))
            assert self.heard.wait(5)
        if self.fails:
            raise self.fails
        return Source(path="/store/m.gguf", reference=source.reference)


async def log_of(supply: Slow, caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """All lines of one fetch."""
    caplog.set_level(logging.INFO)
    ended = asyncio.Event()

    def report(event: SchedulerEvent) -> None:
        if isinstance(event, FetchProgressed):
            supply.heard.set()
        elif isinstance(event, FilesCame | FilesFailed):
            ended.set()

    async def came(model: ModelSpec, source: Source) -> None:
        """Nobody shows it."""

    fetching = Fetching(supply, report=report, came=came, clock=supply.time)
    fetching.begin(Fetch("f1", fake(source=Source(reference=ADDRESS))))
    async with asyncio.timeout(10):
        await ended.wait()
    await fetching.aclose()
    return [(each.levelname, each.getMessage()) for each in caplog.records if each.name == "corral.scheduler.fetching"]


async def test_a_line_every_five_seconds(caplog: pytest.LogCaptureFixture) -> None:
    lines = await log_of(Slow(Time(), 100), caplog)
    name = lines[0][1].split("]")[0] + "]"
    assert lines[0] == ("INFO", f"{name} Downloading model from https://files.example/m.gguf")
    assert lines[1:4] == [
        ("INFO", f"{name} Download progress: 4.0% (82 MB / 2048 MB)"),
        ("INFO", f"{name} Download progress: 9.0% (184 MB / 2048 MB)"),
        ("INFO", f"{name} Download progress: 14.0% (287 MB / 2048 MB)"),
    ]
    assert len(lines) == 1 + 20 + 1
    assert lines[-1] == ("INFO", f"{name} Model downloaded successfully to /store/m.gguf (2048 MB)")


async def test_a_failure_says_from_where_and_why(caplog: pytest.LogCaptureFixture) -> None:
    failed = FetchFailed("The connection broke.", hint="Try again later.")
    lines = await log_of(Slow(Time(), 3, failed), caplog)
    assert lines[-1][0] == "ERROR" and len(lines) == 2
    assert lines[-1][1].endswith(
        "Failed to download model from https://files.example/m.gguf: The connection broke. Try again later."
    )
    assert "secret" not in str(lines) and "pass@" not in str(lines)
