"""
One file from its server into `.NAME.part`: attempt after attempt, until all of it is there and right.

What an earlier fetch has left is gone on with; a file that changes meanwhile, or turns out damaged, is begun anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from corral.contracts.fetching import RemoteFile
from corral.domain.errors import FetchFailed
from corral.store.fetch.attempt import Attempt, Tell
from corral.store.fetch.board import Board
from corral.store.fetch.disk import Beside, Disk, Folder
from corral.store.fetch.part import Part, opened
from corral.store.fetch.patience import Stop, never
from corral.store.fetch.promise import SHOWN, Broken, Changed, Promise, Retagged, Untagged, Worthless
from corral.store.fetch.receiving import WORTH_A_TRY, Receiving
from corral.store.fetch.rules import shown
from corral.store.fetch.spans import Spans
from corral.store.fetch.web import Web
from corral.store.fetch.wire import Interrupted

logger = logging.getLogger(__name__)

MOST_RESTARTS: Final = 3


@dataclass(frozen=True, slots=True)
class Arrived:
    """What lies in the part now, flushed."""

    size: int
    sha256: str
    etag: str


@dataclass(slots=True)
class Transfer:
    """`told` gets bytes, of how many, and what is done, from the caller's thread. `room` is asked for a new size."""

    web: Web
    disk: Disk
    folder: Folder
    file: RemoteFile
    connections: int = 4
    told: Tell = lambda done, total, doing: None
    stop: Stop = never
    room: Callable[[int], None] = lambda size: None
    _promise: Promise = field(init=False)
    _board: Board = field(init=False)  # what of it is there
    _restarts: int = 0
    _retagged: int = 0
    _mixed: bool = False  # whether what has come since the beginning may be of several files

    def __post_init__(self) -> None:
        self._begin(Promise.of(self.file))

    def run(self) -> Arrived:
        """
        Return when all has come and its hash, where one is known, is right.

        A wrong hash of what was begun earlier, or came under several tags, is tried once more from the beginning.
        Raises FetchFailed (WrongContent when nothing is kept), FetchStopped, NoSpace and StoreFailed; but for
        WrongContent what has come is kept.
        """
        with opened(self.disk, self.folder, Beside.of(self.file.path.rpartition("/")[2])) as part:
            try:
                return self._arrived(part)
            except BaseException as error:
                if isinstance(error, Worthless) or not self._board.done_bytes:
                    part.forget()
                raise

    def _arrived(self, part: Part) -> Arrived:
        if not self._resumed(part):
            part.clear()
        self.told(self._board.done_bytes, self._promise.size, "fetching")  # who is told counts what comes from here on
        earlier, again = self._board.done_bytes, False
        while True:
            digest = self._attempts(part)
            if not self.file.sha256 or digest == self.file.sha256:
                part.sync()
                return Arrived(self._board.size or 0, digest, self._promise.identity.etag)
            if again or not (earlier or self._mixed):
                raise self._promise.broken(f"its SHA-256 is {digest}, not {self.file.sha256}")
            why = "what came earlier is damaged" if earlier else "its parts were not of one file"
            logger.warning("%s: %s; once more from the beginning", self.file.path, why)
            part.clear()
            self._begin(Promise.of(self.file))
            again = True

    def _resumed(self, part: Part) -> bool:
        """Whether an earlier fetch has left something of this very file."""
        earlier = part.earlier()
        same = self._promise.resumed(earlier[0].identity) if earlier is not None else None
        if earlier is None or same is None:
            return False
        journal, there = earlier
        tags = ("", same.identity.etag)
        if same.by_tag and there.count == same.size and self.file.etag not in tags:
            return False  # all of another upload: nobody is asked any more, so nobody would notice
        logger.info("%s: goes on after %d bytes", self.file.path, there.count)
        self._begin(same, there, Spans.of(journal.settled))
        return True

    def _attempts(self, part: Part) -> str:
        """The hash of all of it: from the beginning where the file changes meanwhile, and else from where it was."""
        fruitless, answered = 0, False
        while True:
            before = self._board.done_bytes
            receiving = Receiving(
                self.web,
                self._board,
                self._promise,
                part.write,
                part.readinto,
                self.room,
                self.stop,
                answered,
            )
            try:
                digest = Attempt(part, self._board, receiving, self.connections, self.told, self.stop).run()
                self._promise = receiving.promise
                return digest
            except Changed as error:
                self._restarts += 1
                if self._restarts > MOST_RESTARTS:
                    raise self._never_whole(self._restarts, str(error)) from None
                logger.info("%s: %s; from the beginning", self.file.path, error)
                part.clear()
                self._retagged += isinstance(error, Retagged)
                fresh = Promise.of(self.file)
                self._begin(fresh.as_one() if self._retagged >= SHOWN else fresh)
                pause_s = self.web.patience.pause_s(self._restarts)
            except Broken as error:
                fruitless = 1 if self._board.done_bytes - before >= WORTH_A_TRY else fruitless + 1
                if fruitless > self.web.rules.retries:
                    raise self._given_up(error.error, fruitless) from None
                logger.info("%s: %s It goes on.", self.file.path, error)
                written, settled = self._board.spans()
                known = receiving.promise
                self._begin(known.as_one() if isinstance(error, Untagged) else known, Spans(written), Spans(settled))
                pause_s = self.web.patience.pause_s(fruitless)
            finally:
                self._mixed |= receiving.mixed
            answered = receiving.answered
            self.web.patience.nap(pause_s, self._waiting)

    def _waiting(self) -> bool:
        """A nap is said too, and ends as everything does."""
        self.told(self._board.done_bytes, self._board.size, "stalled")
        return self.stop()

    def _given_up(self, error: FetchFailed, times: int) -> FetchFailed:
        return self._never_whole(times, error.message.rstrip(".")) if isinstance(error, Interrupted) else error

    def _never_whole(self, times: int, why: str) -> FetchFailed:
        name = shown(self.file.url)
        return FetchFailed(f"{name} was begun {times} times and never came whole: {why}.", hint="Try again later.")

    def _begin(self, promise: Promise, there: Spans | None = None, settled: Spans | None = None) -> None:
        self._promise = promise
        self._board = Board(promise.size, there or Spans(), settled or Spans(), self.connections)
