"""
Timers: when to look again, at most one entry for each key.

An entry says "look at this key at that time", not "do this": whoever is woken reads the state anew and asks again if it
is still too early. So nothing has to be cancelled, and the hot path touches no timer.
"""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

K = TypeVar("K")


class Timers(Generic[K]):
    """A heap of (time, key); entries that were replaced or forgotten are skipped when they come up."""

    def __init__(self) -> None:
        self._asked: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._count = 0

    def ask(self, key: K, at: float) -> None:
        """Look at `key` at this time, or earlier where that was asked already."""
        known = self._asked.get(key)
        if known is not None and known <= at:
            return
        self._asked[key] = at
        self._count += 1
        heapq.heappush(self._heap, (at, self._count, key))
        if len(self._heap) > 64 + 2 * len(self._asked):  # mostly skipped entries: drop them
            self._heap = [entry for entry in self._heap if self._asked.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)

    def forget(self, key: K) -> None:
        """The key is gone."""
        self._asked.pop(key, None)

    def next_at(self) -> float | None:
        """The earliest time that anyone asked for."""
        while self._heap and self._asked.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> list[K]:
        """The keys to look at now, earliest first; their entries are gone."""
        keys = []
        while (at := self.next_at()) is not None and at <= now:
            key = heapq.heappop(self._heap)[2]
            del self._asked[key]
            keys.append(key)
        return keys
