"""
The acts of fetching: files of Models that are wanted, brought here in threads of their own.

What blocks is `Supply`. Several Models may wait for one file, and other processes too: whoever fetches sees to it that
it comes once. Before the machine hears of files that have come, `came` is awaited: who shows the Model learns of it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from corral.contracts.clock import Clock
from corral.contracts.fetching import Supply
from corral.domain.commands import Fetch
from corral.domain.errors import CorralError, FetchStopped, PlaceFailed
from corral.domain.events import FetchProgressed, FilesCame, FilesFailed, SchedulerEvent
from corral.domain.fetching import Progress, Traffic
from corral.domain.fleet import ModelSpec, Source
from corral.domain.references import WebReference, parse
from corral.kit.daemons import in_daemon
from corral.kit.tasks import Tasks
from corral.kit.turns import Turn, Turns

logger = logging.getLogger(__name__)

AT_ONCE: Final = 4
"""Models whose files come at the same time. Each file has connections of its own. Who only waits does not count."""

MOST: Final = 32
"""Threads. With so many who all look or wait, the next one waits too."""

TOLD_S: Final = 0.25
"""The machine hears of progress this often."""

LINE_S: Final = 5.0
"""The log has a line of it this often."""

STOP_S: Final = 1.0
"""For threads to put their things away at a shutdown. One that hangs is left: what it does may be cut anywhere."""

MB: Final = 1_000_000


@dataclass(slots=True)
class Running:
    """One fetch. What the thread writes is read on the loop only for people."""

    id: str
    model: ModelSpec
    began: float
    stop: threading.Event = field(default_factory=threading.Event)
    traffic: Traffic = field(default_factory=Traffic)
    told_at: float = 0.0
    line_at: float = 0.0
    quiet: bool = True  # nothing had to come yet
    size_bytes: int = 0  # of all that belongs to the Model, what was here too


class Fetching:
    """Owns the tasks and the threads. `report` takes the events, on the loop."""

    def __init__(
        self,
        supply: Supply,
        *,
        report: Callable[[SchedulerEvent], None],
        came: Callable[[ModelSpec, Source], Awaitable[None]],
        clock: Clock,
    ) -> None:
        self._supply = supply
        self._report = report
        self._came = came
        self._clock = clock
        self._tasks = Tasks("fetching")
        self._most = asyncio.Semaphore(MOST)
        self._turns = Turns(AT_ONCE)
        self._threads: set[asyncio.Future[Source]] = set()
        self._running: dict[str, Running] = {}
        self._refused: dict[str, str] = {}  # by Model: what was said last of one that nobody was asked for

    def begin(self, command: Fetch) -> None:
        """-> FetchProgressed, then FilesCame | FilesFailed, unless it is ended."""
        now = self._clock.now()
        running = Running(command.fetch, command.model, now, told_at=now - TOLD_S, line_at=now)
        self._running[running.id] = running
        self._tasks.start(
            self._fetch(running),
            name=f"fetch {command.model.name}",
            failed=lambda error: self._failed(running, PlaceFailed(f"The fetch broke: {error!r}.")),
        )

    def end(self, fetch: str) -> None:
        """What has come stays where it is, and goes on next time."""
        running = self._running.pop(fetch, None)
        if running is not None:
            running.stop.set()

    async def aclose(self) -> None:
        """End all; nobody waits for a server that says nothing."""
        for fetch in list(self._running):
            self.end(fetch)
        if self._threads:
            await asyncio.wait(self._threads, timeout=STOP_S)
        await self._tasks.aclose()

    # --- inside ---------------------------------------------------------------------------------------------------

    async def _fetch(self, running: Running) -> None:
        async with self._most:
            if running.stop.is_set():  # before it began
                return
            turn = self._turns.turn()
            try:
                source = await self._brought(running, turn)
            except FetchStopped as error:
                if not running.stop.is_set():
                    self._failed(running, error)
                return
            except CorralError as error:
                self._failed(running, error)
                return
            finally:
                turn.end()
        if running.stop.is_set():
            return
        await self._came(running.model, source)
        self._done(running, source)

    def _brought(self, running: Running, turn: Turn) -> asyncio.Future[Source]:
        loop = asyncio.get_running_loop()

        def told(progress: Progress) -> None:
            running.traffic.count(progress)
            running.size_bytes = progress.total_bytes or progress.done_bytes
            now = self._clock.now()
            begins = progress.doing == "queued"
            if (begins or now - running.told_at >= TOLD_S) and not running.stop.is_set():
                running.told_at = now
                loop.call_soon_threadsafe(self._progressed, running, progress)
            turn.follow(begins=begins, waits=progress.waits, stop=running.stop.is_set)

        model = running.model
        thread = in_daemon(
            lambda: self._supply.bring(model.source, told, running.stop.is_set), name=f"fetch {model.name}"
        )
        self._threads.add(thread)
        thread.add_done_callback(self._threads.discard)
        return thread

    def _progressed(self, running: Running, progress: Progress) -> None:
        if running.id not in self._running:
            return
        name, now = running.model.name, self._clock.now()
        if progress.doing == "fetching" and progress.share != 1:
            _announce(running)
        if now - running.line_at >= LINE_S:
            running.line_at = now
            logger.info("[%s] %s", name, line(progress))
        self._report(FetchProgressed(running.id, progress))

    def _done(self, running: Running, source: Source) -> None:
        if self._running.pop(running.id, None) is None:
            return
        seconds = self._clock.now() - running.began
        name, count = running.model.name, running.traffic.fetched_bytes
        self._refused.pop(name, None)
        if count:
            _announce(running)
            logger.info(
                "[%s] Model downloaded successfully to %s (%s)", name, source.path, megabytes(running.size_bytes)
            )
        else:
            logger.info("[%s] Model already exists at %s", name, source.path)
        self._report(FilesCame(running.id, source, count, seconds))

    def _failed(self, running: Running, error: CorralError) -> None:
        if self._running.pop(running.id, None) is None:
            return
        name, said = running.model.name, error.sentence()
        if error.asking_again_helps or self._refused.get(name) != said:  # a pinned one asks each second
            logger.error("[%s] Failed to download model from %s: %s", name, where(running.model.source), said)
        if not error.asking_again_helps:
            self._refused[name] = said
        self._report(FilesFailed(running.id, error, running.traffic.fetched_bytes, self._clock.now() - running.began))


def _announce(running: Running) -> None:
    if running.quiet:
        running.quiet = False
        logger.info("[%s] Downloading model from %s", running.model.name, where(running.model.source))


def where(source: Source) -> str:
    """A reference for people: an address without what may be a secret in it."""
    return str(WebReference(source.reference)) if "://" in source.reference else str(parse(source.reference))


def megabytes(count: int) -> str:
    """Millions of bytes: `2048 MB`; one decimal below ten."""
    return f"{count / MB:.0f} MB" if count >= 10 * MB or not count else f"{count / MB:.1f} MB"


def line(progress: Progress) -> str:
    """`Download progress: 25.3% (518 MB / 2048 MB)`."""
    share = progress.share
    more = f", {progress.held_up}" if progress.held_up else ""
    if share is None or progress.total_bytes is None:
        return f"Download progress: {megabytes(progress.done_bytes)} downloaded{more}"
    percent = int(share * 1000) / 10  # cut, not rounded: 100.0% is all of it
    of_all = f"{megabytes(progress.done_bytes)} / {megabytes(progress.total_bytes)}"
    return f"Download progress: {percent:.1f}% ({of_all}){more}"
