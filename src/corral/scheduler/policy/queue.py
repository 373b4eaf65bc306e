"""
Queue: who is next.

Between Models: the one whose head waiter arrived first, where each level of the Model's priority counts as if that
waiter had come `PRIORITY_LEVEL_S` earlier. The rank does not change while it waits, and later arrivals only ever get
later ranks, so nothing starves: a waiter can be passed only by waiters of a Model that is n levels higher and that
come within n * PRIORITY_LEVEL_S after it.

Within a Model: first come, first served. `next_waiter` is the one place that decides it; fairness between callers
belongs there.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping
from typing import Final, Generic, TypeVar

from corral.domain.errors import QueueFull

PRIORITY_LEVEL_S: Final = 30.0
"""Seconds of waiting that one level of priority is worth."""

Rank = tuple[float, int]
T = TypeVar("T")


def rank(since: float, priority: int, arrival: int) -> Rank:
    """The place of a Model in the line; the smallest goes first. `arrival` is unique and breaks ties."""
    return since - priority * PRIORITY_LEVEL_S, arrival


def next_waiter(queue: Mapping[int, T]) -> T:
    """Which waiter of a Model gets the slot that is free. `queue` is not empty and in the order of arrival."""
    return next(iter(queue.values()))


def queue_full(
    model: str, *, waiting: int, limit: int, total: int, total_limit: int, head_waited_s: float
) -> QueueFull | None:
    """The refusal for a request that finds no place to wait, else None."""
    if waiting >= limit:
        what = f"{_requests(waiting)} for {model!r}."
    elif total >= total_limit:
        what = f"{_requests(total)} in all."
    else:
        return None
    # Whoever comes now would wait about as long as the one at the front has waited: the best guess without history.
    return QueueFull(what, hint="Try again later.", retry_after_s=min(max(round(head_waited_s), 1), 60))


def _requests(count: int) -> str:
    return "1 request already waits" if count == 1 else f"{count} requests already wait"


class Line(Generic[T]):
    """Models that wait for a load, in the order of their ranks."""

    def __init__(self) -> None:
        self._ranks: dict[T, Rank] = {}
        self._sorted: list[tuple[Rank, T]] = []

    def place(self, model: T, rank: Rank | None) -> bool:
        """Put it at this rank, or take it out (None). True where anything changed."""
        old = self._ranks.get(model)
        if old == rank:
            return False
        if old is not None:
            del self._ranks[model]
            del self._sorted[bisect_left(self._sorted, (old,))]  # (rank,) sorts right before (rank, model)
        if rank is not None:
            self._ranks[model] = rank
            insort(self._sorted, (rank, model))  # ranks are unique: models are never compared
        return True

    def in_order(self) -> list[tuple[Rank, T]]:
        """A copy, first to go first."""
        return self._sorted.copy()

    def rank_of(self, model: T) -> Rank | None:
        """Where it stands; None = not in line."""
        return self._ranks.get(model)

    def is_last(self, model: T) -> bool:
        """True for the one at the end."""
        return bool(self._sorted) and self._sorted[-1][1] is model

    def __contains__(self, model: T) -> bool:
        return model in self._ranks

    def __len__(self) -> int:
        return len(self._ranks)
