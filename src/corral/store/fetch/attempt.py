"""
One attempt at a file: its segments over several connections, hashed and flushed as they come.

The caller's thread watches: it saves the journal, tells the progress and hears a stop. Each connection has a thread
that receives and writes; one more follows the frontier and hashes what it reads back from the page cache, and another
flushes. None of them holds the interpreter's lock for long: receiving, writing, reading and hashing all give it back.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from corral.domain.errors import FetchFailed, FetchStopped, NoSpace
from corral.store.fetch.answer import Answer
from corral.store.fetch.board import Board
from corral.store.fetch.line import Line
from corral.store.fetch.part import Part
from corral.store.fetch.patience import Patience, Stop
from corral.store.fetch.promise import Promise
from corral.store.fetch.receiving import Receiving
from corral.store.fetch.spans import Spans

HASH_BUFFER: Final = 256 * 1024  # stays in the processor's cache
SETTLED_AFTER: Final = 64 * 1024 * 1024
SAVED_SHARE: Final = 0.1  # of the time that it runs: what a kill costs, at most
SAVED_S: Final = (0.005, 0.1)
GIVEN_UP: Final = 64 * 1024  # bytes of the file, for its journal on a full disk
TOLD_AFTER_S: Final = 0.2
STALLED_S: Final = 3.0  # after which it is said that nothing comes

Tell = Callable[[int, int | None, str], None]
_Crew = list[Future[None]]


@dataclass(slots=True)
class Attempt:
    """`told` gets bytes, of how many, and what is done, from the caller's thread."""

    part: Part
    board: Board
    receiving: Receiving
    connections: int
    told: Tell
    stop: Stop
    _digest: str = ""
    _count: int = -1  # that was seen last, and when it was another one
    _moved_at: float = 0.0
    _told_at: float = float("-inf")
    _noted: int = 0  # where what the journal says is there ends

    def __post_init__(self) -> None:
        self._noted = _end(self.board)

    @property
    def promise(self) -> Promise:
        """As it is known by now."""
        return self.receiving.promise

    def run(self) -> str:
        """The SHA-256 of all of it, once it is there. Raises Changed, Broken, FetchStopped and StoreFailed."""
        with self._crew() as (crew, pool, line):
            if not self.board.whole:
                self._receive(crew, pool, line)
            crew += [pool.submit(self._hash), pool.submit(self._settle)]
            self._watch(crew)
            return self._digest

    def _receive(self, crew: _Crew, pool: ThreadPoolExecutor, line: Line) -> None:
        segment = self.board.first()
        begun = pool.submit(self.receiving.begin, segment, line)
        try:
            self._watch([begun])
        except BaseException:
            begun.add_done_callback(_unused)
            raise
        answer = begun.result()
        if answer.status == 200:
            crew.append(pool.submit(self.receiving.stream, answer, segment))
            return
        for number in range(self.connections):
            self.board.join()
            start = (segment, answer, line) if number == 0 else (None, None, None)
            crew.append(pool.submit(self.receiving.segments, *start))

    @contextlib.contextmanager
    def _crew(self) -> Iterator[tuple[_Crew, ThreadPoolExecutor, Line]]:
        """Threads that have ended when this does, and a connection for the first request."""
        pool = ThreadPoolExecutor(self.connections + 2, thread_name_prefix="fetch")
        try:
            with self.receiving.web.line() as line:
                try:
                    yield [], pool, line
                finally:
                    self.board.halt()
                    pool.shutdown(wait=True)
        finally:
            self._save_at_last()

    def _watch(self, crew: Iterable[Future[Any]]) -> None:
        """Until all have done their part; the first failure is everybody's."""
        waiting = set(crew)
        began = self._patience.now()
        while waiting:
            pause_s = min(SAVED_S[1], max(SAVED_S[0], SAVED_SHARE * (self._patience.now() - began)))
            done, waiting = concurrent.futures.wait(waiting, pause_s, return_when=concurrent.futures.FIRST_EXCEPTION)
            if self.stop():
                raise FetchStopped(hint="The same command goes on with it.")
            for each in done:
                each.result()
            count, now = self.board.done_bytes, self._patience.now()
            if count != self._count:
                self._count, self._moved_at = count, now
                self._save()
            if now - self._told_at >= TOLD_AFTER_S:
                self._told_at = now
                self.told(count, self.board.size, self._doing)

    def _save(self) -> None:
        written, settled = self.board.spans()
        self.part.note(self.promise.identity, written, settled, self._doing)
        self._noted = written[-1][1] if written else 0

    def _save_at_last(self) -> None:
        """A full disk has no room for the journal either, and without it nothing of what came would count."""
        try:
            self._save()
        except NoSpace:
            if _end(self.board, GIVEN_UP) < self._noted:
                raise  # of a part that is shorter than its journal says, nothing would count
            self.part.cut(self.board.cut(GIVEN_UP))
            self._save()
            raise

    def _hash(self) -> None:
        digest, at = hashlib.sha256(), 0
        buffer = memoryview(bytearray(HASH_BUFFER))
        while (end := self.board.to_hash(at)) > at:
            while at < end and not self.board.halted:
                count = self.part.readinto(buffer[: end - at], at)
                if not count:
                    name = self.promise.file.path
                    raise FetchFailed(f"{name} got shorter while it was fetched.", hint="Fetch it again.")
                digest.update(buffer[:count])
                at += count
        self._digest = digest.hexdigest()

    def _settle(self) -> None:
        """Flush early and often: the disk works while the network does, and less is lost with the power."""
        while self.board.unsettled(SETTLED_AFTER):
            written, _ = self.board.spans()
            self.part.settle()
            self.board.settled(written)

    @property
    def _doing(self) -> str:
        if self.board.whole:
            return "verifying"
        return "stalled" if self._patience.now() - self._moved_at >= STALLED_S else "fetching"

    @property
    def _patience(self) -> Patience:
        return self.receiving.web.patience


def _end(board: Board, less: int = 0) -> int:
    """Where what is there ends, with so many of its last bytes given up."""
    return Spans(board.spans()[0]).cut(less)


def _unused(begun: Future[Answer]) -> None:
    """Nobody waited for it."""
    if not begun.cancelled() and begun.exception() is None:
        begun.result().close()
