"""
A day of requests: 50 Models of very different sizes and popularity, five callers, one of whom floods.

People work in sessions: someone takes a Model, asks it a dozen or two things with pauses for reading, and goes on to
another. Which Model follows Zipf's law. The flooding caller sends whole batches at once to whatever Model it has.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

GIB: Final = 1024**3
DAY_S: Final = 86_400.0
BUDGET_BYTES: Final = 24 * GIB
CALLERS: Final = ("ann", "bob", "cid", "dan", "flood")
DISK_BYTES_PER_S: Final = 1.5 * GIB
LONGEST_ANSWER_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class DayModel:
    """One Model: what it weighs and how long it takes to load."""

    name: str
    size_bytes: int
    load_s: float
    slots: int
    weight: float  # of its popularity


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request, and how long the engine will be busy with it."""

    at: float
    caller: str
    model: str
    service_s: float


def models(seed: int, count: int = 50) -> tuple[DayModel, ...]:
    """Sizes as people have them: most of 2 to 6 GiB, a few of up to 20. The first is the most popular."""
    rng = random.Random(seed)
    found = []
    for rank in range(count):
        size = rng.choices(
            [rng.uniform(0.4, 2), rng.uniform(2, 6), rng.uniform(6, 12), rng.uniform(12, 20)], [3, 5, 3, 1]
        )[0]
        load_s = 1.0 + size * GIB / DISK_BYTES_PER_S
        found.append(DayModel(f"m{rank:02d}", int(size * GIB), load_s, rng.choice([1, 2, 4, 4]), 1 / (rank + 1)))
    return tuple(found)


def arrivals(fleet: tuple[DayModel, ...], seed: int, length_s: float = DAY_S) -> list[Arrival]:
    """All requests of the day in the order of their times."""
    found: list[Arrival] = []
    for number, caller in enumerate(CALLERS):
        rng = random.Random(seed * 100 + number)
        found += (
            _batches(fleet, caller, rng, length_s) if caller == "flood" else _sessions(fleet, caller, rng, length_s)
        )
    return sorted(found, key=lambda each: each.at)


def prompt_order(fleet: tuple[DayModel, ...], arrivals: list[Arrival]) -> list[str]:
    """The Models in the order in which requests would begin if all of them were always loaded: waits are for slots."""
    free_at = {each.name: [0.0] * each.slots for each in fleet}
    begun = []
    for number, arrival in enumerate(arrivals):
        slots = free_at[arrival.model]
        at = max(arrival.at, heapq.heappop(slots))
        heapq.heappush(slots, at + arrival.service_s)
        begun.append((at, number, arrival.model))
    return [model for _, _, model in sorted(begun)]


def _sessions(fleet: tuple[DayModel, ...], caller: str, rng: random.Random, length_s: float) -> Iterator[Arrival]:
    now = rng.expovariate(1 / 300)
    while now < length_s:
        model = _pick(fleet, rng)
        for _ in range(1 + int(rng.expovariate(1 / 15))):
            if now >= length_s:
                return
            yield Arrival(now, caller, model.name, _service_s(rng))
            now += rng.expovariate(1 / 30)
        now += rng.expovariate(1 / 300)


def _batches(fleet: tuple[DayModel, ...], caller: str, rng: random.Random, length_s: float) -> Iterator[Arrival]:
    now = rng.expovariate(1 / 600)
    while now < length_s:
        model = _pick(fleet, rng)
        for _ in range(rng.randint(20, 60)):
            yield Arrival(now, caller, model.name, _service_s(rng))
        now += rng.expovariate(1 / 600)


def _pick(fleet: tuple[DayModel, ...], rng: random.Random) -> DayModel:
    return rng.choices(fleet, [each.weight for each in fleet])[0]


def _service_s(rng: random.Random) -> float:
    return min(rng.lognormvariate(1.2, 0.8), LONGEST_ANSWER_S)
