"""The acts of fetching: threads that bring files, what is told of them and how often, and how they end."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from corral.contracts.fetching import Told
from corral.domain.commands import Fetch
from corral.domain.errors import FetchStopped, NotThere, PlaceFailed
from corral.domain.events import FetchProgressed, FilesCame, FilesFailed
from corral.domain.fetching import Progress
from corral.domain.fleet import ModelSpec, Source
from corral.scheduler.fetching import AT_ONCE, LINE_S, MOST, STOP_S, TOLD_S, Fetching, line, megabytes, where

MB = 1_000_000


class Clock:
    time = 1000.0

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return self.time


class Brought:
    """One call of `bring`: what its thread does is decided by the test."""

    def __init__(self, source: Source, told: Told, stop: Callable[[], bool]) -> None:
        self.source, self.told, self.stop = source, told, stop
        self.outcome: Source | BaseException | None = None
        self.over = threading.Event()
        self.begun = threading.Event()  # it had its turn

    def begin(self) -> None:
        """It knows what there is, and would fetch it."""
        self.told(progress(0, doing="queued"))
        self.begun.set()

    def end(self, outcome: Source | BaseException) -> None:
        self.outcome = outcome
        self.over.set()


class Supply:
    def __init__(self) -> None:
        self.calls: list[Brought] = []
        self.deaf = False  # a server that says nothing, and nobody can interrupt

    def here(self, source: Source) -> Source | None:
        raise AssertionError("it was looked for before")

    def bring(self, source: Source, told: Told, stop: Callable[[], bool]) -> Source:
        call = Brought(source, told, stop)
        self.calls.append(call)
        while not call.over.wait(0.005):
            if stop() and not self.deaf:
                raise FetchStopped()
        assert call.outcome is not None
        if isinstance(call.outcome, BaseException):
            raise call.outcome
        return call.outcome


class Stage:
    def __init__(self) -> None:
        self.clock, self.supply = Clock(), Supply()
        self.events: list[Any] = []
        self.shown: list[tuple[str, str, int]] = []  # what `came` heard, and how many events there were then
        self.fetching = Fetching(self.supply, report=self.events.append, came=self.came, clock=self.clock)

    async def came(self, model: ModelSpec, source: Source) -> None:
        self.shown.append((model.name, source.path, len(self.events)))

    def begin(self, name: str = "a", reference: str = "hf.co/o/a") -> None:
        self.fetching.begin(Fetch(f"f-{name}", ModelSpec(name, Source(reference=reference))))

    async def call(self, number: int = 0) -> Brought:
        await until(lambda: len(self.supply.calls) > number)
        return self.supply.calls[number]

    async def tell(self, progress: Progress, *, after_s: float = 0.0, number: int = 0) -> None:
        """The thread says how far it is, so much later."""
        call = await self.call(number)
        self.clock.time += after_s
        call.told(progress)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def end(self, outcome: Source | BaseException, number: int = 0) -> Any:
        """How it ends, and the event that says so."""
        count = len(self.events)
        (await self.call(number)).end(outcome)
        await until(lambda: len(self.events) > count)
        return self.events[-1]


async def as_many_begin_as_may(stage: Stage) -> None:
    """All want to, the first ones first."""
    for number, call in enumerate(stage.supply.calls):
        threading.Thread(target=call.begin, daemon=True).start()
        if number < AT_ONCE:
            await until(call.begun.is_set)
        else:
            await asyncio.sleep(0.02)
            assert not call.begun.is_set()


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not done():
            await asyncio.sleep(0.001)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    yield stage
    stage.supply.deaf = False
    for call in stage.supply.calls:
        call.end(FetchStopped())
    await stage.fetching.aclose()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO, "corral.scheduler.fetching")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "corral.scheduler.fetching"]


def progress(done_mb: float, total_mb: float | None = 200.0, doing: str = "fetching", file: str = "a.gguf") -> Progress:
    total = None if total_mb is None else int(total_mb * MB)
    return Progress(int(done_mb * MB), total, file=file, doing=doing)


HERE = Source("/store/a.gguf", "hf.co/o/a")


async def test_progress_is_told_a_few_times_a_second(stage: Stage) -> None:
    stage.begin()
    await stage.tell(progress(1))
    await stage.tell(progress(2), after_s=TOLD_S / 2)
    await stage.tell(progress(3), after_s=TOLD_S / 2)
    told = [event.progress.done_bytes for event in stage.events if isinstance(event, FetchProgressed)]
    assert told == [1 * MB, 3 * MB], "at once, and then no more often than that"


async def test_who_shows_the_model_learns_of_its_files_first(stage: Stage) -> None:
    stage.begin()
    await stage.tell(progress(0))
    await stage.tell(progress(200), after_s=7)
    event = await stage.end(HERE)
    assert event == FilesCame("f-a", HERE, 200 * MB, 7.0)
    assert stage.shown == [("a", "/store/a.gguf", 2)], "before the machine"


async def test_the_log_of_a_fetch(stage: Stage, log: Callable[[], list[str]]) -> None:
    stage.begin()
    await stage.tell(progress(0, doing="looking"))
    assert log() == [], "nothing comes yet"
    await stage.tell(progress(10), after_s=1)
    await stage.tell(progress(50.6), after_s=LINE_S - 1)
    await stage.tell(progress(60), after_s=LINE_S - 1)
    await stage.tell(progress(200), after_s=LINE_S)
    await stage.end(HERE)
    assert log() == [
        "[a] Downloading model from hf.co/o/a",
        "[a] Download progress: 25.3% (51 MB / 200 MB)",
        "[a] Download progress: 100.0% (200 MB / 200 MB)",
        "[a] Model downloaded successfully to /store/a.gguf (200 MB)",
    ]


async def test_what_is_found_here_is_said_and_counts_as_nothing(stage: Stage, log: Callable[[], list[str]]) -> None:
    stage.begin()
    await stage.tell(progress(100, doing="verifying"))
    await stage.tell(progress(200, doing="verifying"), after_s=1)
    event = await stage.end(HERE)
    assert event.fetched_bytes == 0
    assert log() == ["[a] Model already exists at /store/a.gguf"]


async def test_only_what_came_over_the_network_is_counted(stage: Stage) -> None:
    stage.begin()
    await stage.tell(progress(40, file="mmproj.gguf"))  # was here
    await stage.tell(progress(50, file="mmproj.gguf"), after_s=1)  # 10
    await stage.tell(progress(90, doing="waiting"), after_s=1)  # another process fetches it
    await stage.tell(progress(120), after_s=1)  # and gives up
    await stage.tell(progress(110), after_s=1)  # begins again
    await stage.tell(progress(200), after_s=1)  # 90
    assert (await stage.end(HERE)).fetched_bytes == 100 * MB


async def test_what_cannot_be_fetched_is_told_with_the_reason(stage: Stage, log: Callable[[], list[str]]) -> None:
    stage.begin(reference="https://user:secret@example.org/a.gguf?sig=secret")
    await stage.tell(progress(3))
    await stage.tell(progress(5), after_s=2)
    error = NotThere("It is not there.", hint="Look elsewhere.")
    event = await stage.end(error)
    assert event == FilesFailed("f-a", error, 2 * MB, 2.0)
    assert stage.shown == []
    (first, said) = log()
    assert said.startswith("[a] Failed to download model from https://") and "secret" not in first + said
    assert said.endswith(": It is not there. Look elsewhere.")


async def test_a_fault_of_ours_is_an_error_and_not_silence(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.begin()
    event = await stage.end(ZeroDivisionError("oh"))
    assert isinstance(event, FilesFailed) and isinstance(event.error, PlaceFailed)
    assert "ZeroDivisionError" in event.error.message
    assert any(record.exc_info for record in caplog.records), "with its trace in the log"


async def test_nothing_is_heard_of_one_that_was_ended(stage: Stage) -> None:
    stage.begin()
    await stage.tell(progress(1))
    call = await stage.call()
    stage.fetching.end("f-a")
    assert call.stop()
    await stage.tell(progress(2), after_s=1)
    call.end(HERE)
    stage.fetching.end("f-a")
    stage.begin("b")
    await stage.end(dataclasses.replace(HERE, path="/b"), number=1)
    assert [event.fetch for event in stage.events] == ["f-a", "f-b"]
    assert [name for name, _, _ in stage.shown] == ["b"]


async def test_a_stop_that_nobody_asked_for_is_a_failure(stage: Stage) -> None:
    stage.begin()
    assert isinstance((await stage.end(FetchStopped())).error, FetchStopped)


async def test_a_few_come_at_the_same_time_and_the_others_have_their_turn(stage: Stage) -> None:
    for number in range(AT_ONCE + 2):
        stage.begin(str(number))
    await until(lambda: len(stage.supply.calls) == AT_ONCE + 2)  # all look what there is
    await as_many_begin_as_may(stage)
    assert {event.progress.doing for event in stage.events} == {"queued"}, "who waits for a place says so"
    stage.fetching.end(f"f-{AT_ONCE}")
    await until(stage.supply.calls[AT_ONCE].begun.is_set)  # to learn that it was ended
    assert not stage.supply.calls[AT_ONCE + 1].begun.is_set()
    await stage.end(HERE)
    await until(stage.supply.calls[AT_ONCE + 1].begun.is_set)


@pytest.mark.parametrize("doing", ["stalled", "waiting"])
async def test_who_waits_for_a_server_or_another_process_leaves_his_place(stage: Stage, doing: str) -> None:
    for number in range(AT_ONCE + 1):
        stage.begin(str(number))
    await until(lambda: len(stage.supply.calls) == AT_ONCE + 1)
    await as_many_begin_as_may(stage)
    await stage.tell(progress(1, doing=doing))
    await until(stage.supply.calls[-1].begun.is_set)
    await stage.tell(progress(2))  # what goes on goes on, with or without a place
    assert await stage.end(HERE, AT_ONCE)


async def test_however_many_look_at_once_there_is_an_end_to_threads(stage: Stage) -> None:
    for number in range(MOST + 1):
        stage.begin(str(number))
    await until(lambda: len(stage.supply.calls) == MOST)
    await asyncio.sleep(0.02)
    assert len(stage.supply.calls) == MOST
    await stage.end(HERE)
    await until(lambda: len(stage.supply.calls) == MOST + 1)


async def test_the_end_waits_a_moment_and_not_for_a_server_that_says_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert STOP_S <= 1, "SIGTERM is answered within two seconds"
    monkeypatch.setattr("corral.scheduler.fetching.STOP_S", 0.02)
    stage.supply.deaf = True
    stage.begin()
    call = await stage.call()
    await asyncio.wait_for(stage.fetching.aclose(), 1)
    assert call.stop()
    assert stage.events == []


def test_words() -> None:
    assert [megabytes(count) for count in (0, 1, 1_550_000, 10 * MB, 2_048_400_000)] == [
        "0 MB", "0.0 MB", "1.6 MB", "10 MB", "2048 MB",
    ]  # fmt: skip
    assert line(progress(50, None)) == "Download progress: 50 MB downloaded"
    assert line(Progress(1999, 2000)) == "Download progress: 99.9% (0.0 MB / 0.0 MB)", "cut, not rounded"
    assert line(Progress(99_999, 100_000)).startswith("Download progress: 99.9%")
    assert where(Source(reference="hf:o/a")) == "hf.co/o/a"
    assert where(Source(reference="ollama:a")) == "ollama:a:latest"
