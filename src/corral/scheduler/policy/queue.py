"""
Queue: which Model is loaded next, and who may wait.

Callers take turns: a turn is one load. A caller that waits for a hundred Models at once stands in line a hundred times,
but each load moves it back behind those who have had none (start-time fair queueing again, see `policy.fair`, with a
load as the unit). Newcomers start at the turn of whoever was served last, and that moves on with every load, so nobody
is passed for ever by ever new callers.

Among equal turns, and among the Models of one caller, the one goes first whose head waiter arrived first, where each
level of priority (the Model's and the key's) counts as if that waiter had come `PRIORITY_LEVEL_S` earlier. Between the
turns of two callers a level counts as one turn. These ranks do not change while it waits, and later arrivals only ever
get later ones, so nothing starves: a waiter is passed by a Model that is n levels higher for n turns, or by waiters
that come within n * PRIORITY_LEVEL_S after it.

Who gets a free slot of a Model is another question: `policy.fair`.

Places to wait are bounded, and no caller may take them all: it holds at most `LARGEST_SHARE` times as many as are still
free. Alone that is four fifths of a queue; two that flood it get four ninths each and leave a ninth, and so on. Who has
a place keeps it.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from math import inf
from typing import Final, Generic, NamedTuple, TypeVar

from corral.domain.errors import QueueFull

PRIORITY_LEVEL_S: Final = 30.0
"""Seconds of waiting that one level of priority is worth, between Models of one caller or of callers at one turn."""

LARGEST_SHARE: Final = 4
"""The places that one caller may hold, for each one that is free."""

MOST_ABSENT: Final = 1000
"""Callers who wait for no load whose turns are remembered."""

T = TypeVar("T")


class Place(NamedTuple):
    """Where a Model stands among those that one caller waits for; the smallest goes first."""

    since: float  # the head waiter's, less what the priority is worth
    arrival: int  # unique
    level: int


Rank = tuple[float, Place]
"""Where a Model stands in the whole line: the turn, then the place."""

FRONT: Final[Rank] = (-inf, Place(-inf, 0, 0))


def place(since: float, level: int, arrival: int) -> Place:
    """The place of a Model for a caller whose head waiter came at `since`. `level` is the priority of both."""
    return Place(since - level * PRIORITY_LEVEL_S, arrival, level)


def queue_full(
    model: str, *, waiting: int, own: int, limit: int, total: int, own_total: int, total_limit: int, own_limit: int
) -> QueueFull | None:
    """
    The refusal for a request that finds no place to wait, else None.

    `own` counts those of `waiting`, and `own_total` those of `total`, that are the same caller's.
    """
    if waiting >= limit:
        what = f"{_requests(waiting)} for {model!r}."
    elif total >= total_limit:
        what = f"{_requests(total)} in all."
    elif own_limit and own_total >= own_limit:
        what = f"{_requests(own_total, 'of yours')}, as many as this key may have."
    elif own >= LARGEST_SHARE * (limit - waiting):
        what = f"{_requests(own, 'of yours')} for {model!r}, and the places that are left are for others."
    elif own_total >= LARGEST_SHARE * (total_limit - total):
        what = f"{_requests(own_total, 'of yours')} in all, and the places that are left are for others."
    else:
        return None
    return QueueFull(what, hint="Try again later.")


def retry_after_s(expected_s: float | None, head_waited_s: float) -> float:
    """
    When to try again: the wait that is to be expected, from a second to a minute.

    Where nothing has been measured: whoever comes now would wait about as long as the one at the front has waited.
    """
    return min(max(round(head_waited_s if expected_s is None else expected_s), 1), 60)


def _requests(count: int, whose: str = "") -> str:
    words = " ".join(word for word in ("request" if count == 1 else "requests", whose) if word)
    return f"{count} {words} already {'waits' if count == 1 else 'wait'}"


@dataclass(slots=True)
class _Walk(Generic[T]):
    """How far a walk along the line has come with one caller."""

    turn: float
    wanted: tuple[tuple[Place, T], ...]
    index: int = 0
    turns: int = 0  # that its Models ahead take


class Line(Generic[T]):
    """
    Models that wait for a load, by those who want them.

    A Model has a place for each caller that waits for it, and goes when the first of them comes up. A Model that nobody
    but Corral itself wants (a pin, a preload) is a caller of its own.

    The n-th Model of a caller stands n turns behind the caller's own turn. A load moves that turn on by one and the
    Model out of the way, so the others stay where they are: ranks change only when the caller itself thinks better.
    """

    def __init__(self) -> None:
        self.end = FRONT  # no rank is behind this one
        self._places: dict[T, dict[Hashable, Place]] = {}
        self._wanted: dict[Hashable, list[tuple[Place, T]]] = {}  # sorted
        self._turns: dict[Hashable, float] = {}  # of callers in line, and of some who were: they are one ahead at most
        self._turn = 0.0  # of whoever was served last
        self._firsts: dict[Hashable, Rank] = {}  # the first place of each caller
        self._front: list[tuple[Rank, Hashable]] = []  # the same, sorted

    def place(self, model: T, caller: Hashable, place: Place | None) -> bool:
        """Put it there for this caller, or take this caller's wish out (None). True where anything changed."""
        places = self._places.setdefault(model, {})
        old = places.get(caller)
        if old is not None and old != place:
            wanted = self._wanted[caller]
            del wanted[bisect_left(wanted, (old,))]  # (place,) sorts right before (place, model)
            del places[caller]
            if not wanted:
                del self._wanted[caller]
        if place is not None and old != place:
            places[caller] = place
            if caller not in self._wanted:
                self._wanted[caller] = []
                self._turns[caller] = max(self._turns.get(caller, 0.0), self._turn)  # being absent earns nothing
            wanted = self._wanted[caller]
            insort(wanted, (place, model))  # places are unique: models are never compared
            self.end = max(self.end, self._rank(caller, wanted[-1][0], len(wanted) - 1))
        if old != place:
            self._show_first(caller)
        if not places:
            self._forget(model)
        return old != place

    def remove(self, model: T) -> bool:
        """It waits no longer for anybody. True where it did."""
        if model not in self._places:
            return False
        for caller in list(self._places[model]):
            self.place(model, caller, None)
        return True

    def wants(self, model: T, caller: Hashable) -> bool:
        """True where the Model has a place for this caller."""
        return caller in self._places.get(model, ())

    def rank_of(self, model: T, caller: Hashable) -> Rank | None:
        """Where it stands for the sake of this caller, or further in front; None = it does not."""
        place = self._places.get(model, {}).get(caller)
        return None if place is None else self._rank(caller, place, bisect_left(self._wanted[caller], (place,)))

    def loaded(self, model: T) -> None:
        """It has its load: the caller for whose sake it was first has had a turn."""
        ranks = [(self.rank_of(model, caller) or FRONT, n) for n, caller in enumerate(self._places.get(model, ()))]
        if not ranks:
            return
        caller = list(self._places[model])[min(ranks)[1]]
        turn = self._turns[caller]
        self._turns[caller] = turn + 1
        self._show_first(caller)
        self._turn = max(turn, self._turn + 1 / (len(self._wanted) + 1))
        if len(self._turns) > MOST_ABSENT + 2 * len(self._wanted):
            self._turns = {each: self._turns[each] for each in self._wanted}

    def in_order(self) -> Iterator[tuple[Rank, T]]:
        """
        First to go first. The line may change meanwhile.

        Made one by one, because a walk often ends early: of callers that were not reached only the first is looked at.
        """
        if len(self._front) == 1:
            caller = self._front[0][1]
            turn = self._turns[caller]
            for ahead, (place, model) in enumerate(tuple(self._wanted[caller])):
                yield (turn + ahead - place.level, place), model
            return
        reached: list[_Walk[T]] = []
        following: list[tuple[Rank, int]] = []  # a heap: the next place of each caller that was reached
        seen: set[T] = set()
        fronts = iter(self._front.copy())
        front = next(fronts, None)
        while front is not None or following:
            if front is not None and (not following or front[0] < following[0][0]):
                rank, caller = front
                front = next(fronts, None)
                walk, n = _Walk(self._turns[caller], tuple(self._wanted.get(caller, ()))), len(reached)
                reached.append(walk)
                if not walk.wanted:
                    continue  # it has left meanwhile
            else:
                rank, n = heapq.heappop(following)
                walk = reached[n]
            model = walk.wanted[walk.index][1]
            walk.index += 1
            if model not in seen:
                seen.add(model)
                walk.turns += 1
                yield rank, model
            if walk.index < len(walk.wanted):
                place = walk.wanted[walk.index][0]
                heapq.heappush(following, ((walk.turn + walk.turns - place.level, place), n))

    def _show_first(self, caller: Hashable) -> None:
        """Its first place, or its turn, may have changed."""
        wanted = self._wanted.get(caller)
        old = self._firsts.get(caller)
        new = self._rank(caller, wanted[0][0], 0) if wanted else None
        if new != old:
            if old is not None:
                del self._front[bisect_left(self._front, (old,))]
                del self._firsts[caller]
            if new is not None:
                self._firsts[caller] = new
                insort(self._front, (new, caller))  # ranks are unique: callers are never compared

    def _rank(self, caller: Hashable, place: Place, before: int) -> Rank:
        return self._turns[caller] + before - place.level, place

    def _forget(self, model: T) -> None:
        del self._places[model]
        if not self._places:
            self.end = FRONT

    def __contains__(self, model: T) -> bool:
        return model in self._places

    def __len__(self) -> int:
        return len(self._places)
