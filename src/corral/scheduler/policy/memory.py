"""
Memory: who leaves when a load needs more than is free.

Idle instances go first, the longest idle before the others. One that is in use is chosen only when all the idle ones
together do not suffice, and then it is waited for, never cut. Nobody leaves without need: the choice is pruned.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, NamedTuple, TypeVar

from corral.domain.errors import NoMemory
from corral.domain.units import format_bytes

T = TypeVar("T")


class Candidate(NamedTuple, Generic[T]):
    """An instance that may be asked to leave. `idle_since` is None while it is in use."""

    instance: T
    ram_bytes: int
    idle_since: float | None
    priority: int
    ready_at: float


def choose_victims(short_bytes: float, candidates: Iterable[Candidate[T]]) -> list[T] | None:
    """Who must leave so that `short_bytes` more become free; None when all of them together are too little."""
    chosen: list[Candidate[T]] = []
    freed = 0
    for candidate in sorted(candidates, key=_reluctance):
        if freed >= short_bytes:
            break
        chosen.append(candidate)
        freed += candidate.ram_bytes
    if freed < short_bytes:
        return None
    kept = []
    for candidate in reversed(chosen):  # the last chosen are those we least like to lose
        if freed - candidate.ram_bytes >= short_bytes:
            freed -= candidate.ram_bytes
        else:
            kept.append(candidate.instance)
    return kept[::-1]


def _reluctance(candidate: Candidate[T]) -> tuple[int, float, float]:
    if candidate.idle_since is not None:
        return 0, candidate.idle_since, 0.0
    return 1, float(candidate.priority), candidate.ready_at


def never_fits(model: str, needed_bytes: int, could_be_free_bytes: float) -> NoMemory:
    """The answer for a Model that does not fit even with everything evictable gone."""
    could_be_free = format_bytes(int(max(could_be_free_bytes, 0)))
    return NoMemory(
        f"{model!r} needs {format_bytes(needed_bytes)}, {could_be_free} could be free.",
        hint="Raise the memory budget, unpin a Model, or choose a smaller one (fewer slots, less context).",
        retry_after_s=None,
    )
