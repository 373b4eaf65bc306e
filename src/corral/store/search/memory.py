"""
Whether a model of some size fits, before anything of it is known but that.

A rough word for lists: what a context takes depends on the model and the settings. Corral works that out from the
file's header once there is one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from corral.domain.devices import RAM, DeviceMemory

_SHARE: Final = 1.1
"""Of the weights: a context of some thousand tokens and the buffers for computing."""
_BESIDE: Final = 512 * 1024**2
_LEFT: Final = 1024**3  # of RAM, to everything else


class Fits(StrEnum):
    """Where it would run."""

    GPU = "gpu"
    PART = "gpu+ram"  # some layers on the GPU
    RAM = "ram"
    NO = "no"


@dataclass(frozen=True, slots=True)
class HostMemory:
    """What this host has in all, used or not."""

    ram_bytes: int
    vram_bytes: int = 0

    @property
    def in_all_bytes(self) -> int:
        """What a model may take at the most."""
        return max(0, self.ram_bytes - _LEFT) + self.vram_bytes

    def fits(self, size_bytes: int) -> Fits:
        """A model whose files have so many bytes."""
        need = int(size_bytes * _SHARE) + _BESIDE
        if self.vram_bytes and need <= self.vram_bytes:
            return Fits.GPU
        if need > self.in_all_bytes:
            return Fits.NO
        return Fits.PART if self.vram_bytes > 2 * _BESIDE else Fits.RAM


def memory_of(devices: Iterable[DeviceMemory]) -> HostMemory:
    """The sums; a GPU that has none of its own adds nothing to RAM."""
    there = list(devices)
    ram = sum(each.total_bytes for each in there if each.name == RAM)
    return HostMemory(ram, sum(each.total_bytes for each in there if each.name != RAM and not each.part_of))
