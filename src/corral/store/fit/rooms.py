"""Where a model may go: the memories of a host, what is free on each now, and what engines may have of it at most."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from corral.domain.devices import RAM, DeviceMemory
from corral.store.gguf.estimate import Estimate

Charged = Callable[[Mapping[str, int]], Mapping[str, int]]
"""Needs by device -> the same with every byte at each memory that it takes room in (a GPU may share RAM)."""


class Verdict(StrEnum):
    """Whether something fits."""

    NOW = "now"
    LATER = "later"  # once other Models have left
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Room:
    """One memory. `limit_bytes` is what Models may have of it together; None has no limit."""

    device: DeviceMemory
    limit_bytes: int | None = None

    @property
    def most_bytes(self) -> int:
        """What a Model alone may have of it."""
        total = self.device.total_bytes
        return total if self.limit_bytes is None else min(total, self.limit_bytes)

    def verdict(self, needs: int) -> Verdict:
        """Whether so many bytes fit."""
        if needs > self.most_bytes:
            return Verdict.NEVER
        return Verdict.NOW if needs <= self.device.free_bytes else Verdict.LATER


@dataclass(frozen=True, slots=True)
class Rooms:
    """All of them, RAM first; GPUs in the order in which the program counts them."""

    all: tuple[Room, ...]
    charged: Charged = dict

    @property
    def gpus(self) -> tuple[Room, ...]:
        """Those beside RAM."""
        return tuple(room for room in self.all if room.device.name != RAM)

    @property
    def devices(self) -> tuple[DeviceMemory, ...]:
        """As estimates want them."""
        return tuple(room.device for room in self.all)

    def without(self, names: Collection[str]) -> Rooms:
        """The same for a program that cannot use these."""
        return Rooms(tuple(room for room in self.all if room.device.name not in names), self.charged)

    def emptied(self) -> tuple[DeviceMemory, ...]:
        """The devices as they would be if every other Model left."""
        return tuple(_with_free(room.device, max(room.most_bytes, room.device.free_bytes)) for room in self.all)

    def verdict(self, found: Estimate) -> Verdict:
        """Whether all of a load fits: the worst of its devices."""
        needs = self.charged(found.total())
        verdicts = {room.verdict(needs.get(room.device.name, 0)) for room in self.all}
        known = {room.device.name for room in self.all}
        if any(size for name, size in needs.items() if name not in known):
            return Verdict.NEVER
        return next(each for each in (Verdict.NEVER, Verdict.LATER, Verdict.NOW) if each in {*verdicts, Verdict.NOW})


def _with_free(device: DeviceMemory, free: int) -> DeviceMemory:
    return DeviceMemory(
        device.name, device.total_bytes, free, device.description, device.id, device.source, device.part_of
    )


def rooms_of(devices: Sequence[DeviceMemory], limits: Mapping[str, int], *, charged: Charged | None = None) -> Rooms:
    """`limits` are budgets by device; one without an entry has none."""
    return Rooms(tuple(Room(each, limits.get(each.name)) for each in devices), charged or dict)
