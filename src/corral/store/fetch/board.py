"""
Who fetches which segment of a file: shared by the threads of one transfer.

Segments are taken in order, so that the hash can follow close behind, and get smaller towards the end, so that no
connection is waited for alone.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

from corral.store.fetch.spans import Span, Spans

SMALLEST: Final = 4 * 1024 * 1024
LARGEST: Final = 64 * 1024 * 1024
HASHED_AT_ONCE: Final = 1024 * 1024
_LOOK_S: Final = 0.2


@dataclass(slots=True, eq=False)
class Segment:
    """Bytes that one connection fetches; `at` moves. `end` is None for a stream whose end is not known."""

    at: int
    end: int | None


class Board:
    """`size` is None until it is known. All of it is safe between threads; waits end when `halt` is called."""

    def __init__(self, size: int | None, there: Spans, settled: Spans, connections: int) -> None:
        self.size = size
        self.halted = False
        self._there, self._settled = there, settled
        self._connections, self._workers = connections, 0
        self._retired: list[Exception] = []
        self._flying: list[Segment] = []
        self._hash_wants = HASHED_AT_ONCE
        self._reverted = False
        self._changed = threading.Condition()

    @property
    def done_bytes(self) -> int:
        """How many bytes are in the file."""
        with self._changed:
            return self._there.count

    @property
    def whole(self) -> bool:
        """Whether all of it has come."""
        with self._changed:
            return self._whole()

    def spans(self) -> tuple[list[Span], list[Span]]:
        """What is written, and what of it is on the disk for sure."""
        with self._changed:
            return list(self._there.spans), list(self._settled.spans)

    def first(self) -> Segment:
        """What to ask for first, when nothing is known but what is there."""
        with self._changed:
            size = self.size if self.size is not None else self._there.end + SMALLEST
            gap = self._there.gap(size)
            assert gap is not None
            return self._cut(gap, self.size)

    def join(self) -> None:
        """One more worker."""
        with self._changed:
            self._workers += 1

    def served(self) -> None:
        """An answer was good: what workers have retired for does not stand in everybody's way."""
        with self._changed:
            self._retired.clear()

    def retire(self, why: Exception) -> list[Exception]:
        """A worker gives up. Empty when others go on; else why they all did, since the last good answer."""
        with self._changed:
            self._workers -= 1
            self._retired.append(why)
            return [] if self._workers else list(self._retired)

    def take(self) -> Segment | None:
        """
        The next segment. None when nothing is left to do.

        While others fetch what is left this waits: one of them may give up, and leave its segment to us.
        """
        with self._changed:
            while not self.halted and not self._whole():
                assert self.size is not None
                taken = Spans(list(self._there.spans))
                for each in self._flying:
                    taken.add(each.at, self.size if each.end is None else each.end)
                gap = taken.gap(self.size)
                if gap is not None:
                    return self._cut(gap, self.size)
                self._changed.wait(_LOOK_S)
            return None

    def wrote(self, segment: Segment, count: int) -> None:
        """So many more bytes of it are in the file."""
        with self._changed:
            self._there.add(segment.at, segment.at + count)
            segment.at += count
            if self._there.frontier >= self._hash_wants or self._whole():
                self._changed.notify_all()

    def give_back(self, segment: Segment) -> None:
        """It is done, or somebody else may fetch the rest."""
        with self._changed:
            self._flying.remove(segment)
            self._changed.notify_all()

    def sized(self, size: int) -> None:
        """The server has told its size, or a stream by ending."""
        with self._changed:
            self.size = size
            self._changed.notify_all()

    def revert(self, written: list[Span], settled: list[Span]) -> None:
        """Nothing else counts as being there, and nothing comes any more: what came since was of something else."""
        with self._changed:
            self._there, self._settled = Spans(list(written)), Spans(list(settled))
            self._reverted = self.halted = True
            self._changed.notify_all()

    def cut(self, count: int) -> int:
        """The last `count` bytes that are there are given up; where what is there ends now."""
        with self._changed:
            end = self._there.cut(count)
            self._settled = self._settled.below(end)
            return end

    def settled(self, spans: list[Span]) -> None:
        """These are on the disk."""
        with self._changed:
            for each in () if self._reverted else spans:
                self._settled.add(*each)

    def to_hash(self, at: int) -> int:
        """
        Wait until it is worth the while to hash on from `at`.

        Returns the first byte that is not there; `at` itself where nothing more will come.
        """
        with self._changed:
            while not self.halted:
                frontier = self._there.frontier
                if frontier >= at + HASHED_AT_ONCE or (self._whole() and frontier >= at):
                    return frontier
                self._hash_wants = at + HASHED_AT_ONCE
                self._changed.wait(_LOOK_S)
            return at

    def unsettled(self, least: int) -> bool:
        """Wait until so many bytes are not on the disk for sure; False where that comes no more."""
        with self._changed:
            while not self.halted and not self._whole():
                if self._there.count - self._settled.count >= least:
                    return True
                self._changed.wait(_LOOK_S)
            return False

    def halt(self) -> None:
        """Everybody stops soon."""
        with self._changed:
            self.halted = True
            self._changed.notify_all()

    def _whole(self) -> bool:
        return self.size is not None and self._there.frontier >= self.size

    def _cut(self, gap: Span, size: int | None) -> Segment:
        left = LARGEST if size is None else size - self._there.count
        length = min(LARGEST, max(SMALLEST, left // (2 * self._connections)))
        segment = Segment(gap[0], min(gap[1], gap[0] + length))
        self._flying.append(segment)
        return segment
