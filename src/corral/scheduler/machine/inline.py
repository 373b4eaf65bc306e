"""
In line: what the Models in line need, so that a walk can tell without a look at each whether anybody behind can go.

A *kind* is what can keep a Model waiting, its group and the devices that it needs; there are few. The needs are kept
sorted by device: the least tells whether memory that is free is any use, the largest who can never have enough.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from corral.domain.fleet import GroupSpec

if TYPE_CHECKING:
    from corral.scheduler.machine.state import ModelState

Need = tuple[int, int, "ModelState"]
"""Bytes at most, a number that makes it unique, whose."""


class Kind(NamedTuple):
    """Models that the same things keep waiting."""

    group: str
    devices: tuple[str, ...]
    unasked: bool  # they may be wanted by Corral itself: nobody's arrival tells since when


class InLine:
    """The Models in line by kind and by need."""

    def __init__(self) -> None:
        self.kinds: dict[Kind, tuple[int, GroupSpec | None]] = {}  # how many of each, and their group
        self.unasked = 0  # how many may be wanted by Corral itself
        self._counted: dict[ModelState, tuple[Kind, dict[str, Need]]] = {}
        self._needs: dict[str, list[Need]] = {}
        self._number = 0

    def add(self, model: ModelState) -> None:
        """It is in line from now on."""
        self._number += 1
        # With variants it may need less than it seems to; with nothing to need it is never blocked by memory.
        devices = () if model.variants else tuple(model.needs)
        kind = Kind(model.group.name if model.group else "", devices, model.spec.pin or model.preload)
        needs = {device: (size, self._number, model) for device, size in _most(model).items()}
        self._counted[model] = kind, needs
        self.kinds[kind] = self.kinds.get(kind, (0, None))[0] + 1, model.group
        self.unasked += kind.unasked
        for device, need in needs.items():
            insort(self._needs.setdefault(device, []), need)

    def remove(self, model: ModelState) -> None:
        """It is in line no more."""
        kind, needs = self._counted.pop(model)
        count, group = self.kinds.pop(kind)
        if count > 1:
            self.kinds[kind] = count - 1, group
        self.unasked -= kind.unasked
        for device, need in needs.items():
            sizes = self._needs[device]
            del sizes[bisect_left(sizes, need)]

    def recount(self, model: ModelState) -> None:
        """Its group, or what it needs, is another now."""
        if model in self._counted:
            self.remove(model)
            self.add(model)

    def least(self, device: str) -> float:
        """What the most modest of those that need this device needs of it."""
        sizes = self._needs.get(device)
        return sizes[0][0] if sizes else inf

    def larger(self, device: str, size: int) -> Iterator[ModelState]:
        """Those of which at least one way needs more than this. The line may change meanwhile."""
        sizes = self._needs.get(device)
        if sizes and sizes[-1][0] > size:
            for _, _, model in sizes[bisect_right(sizes, size, key=lambda need: need[0]) :]:
                yield model


def _most(model: ModelState) -> dict[str, int]:
    """By device, what the largest of the ways to start it needs."""
    if not model.variants:
        return dict(model.needs)
    most: dict[str, int] = {}
    for way in model.sizes.values():
        for device, size in way.items():
            most[device] = max(most.get(device, 0), size)
    return most
