"""A short list to begin with, by the memory that a machine has; `starters.json` says when it was put together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

import msgspec

from corral.domain.references import Reference, parse
from corral.store.search.memory import Fits, HostMemory


@dataclass(frozen=True, slots=True)
class Starter:
    """A model that many begin with. `gigabytes` (of a thousand million bytes) is about what its files have."""

    reference: str
    title: str
    gigabytes: float
    good_for: str
    licence: str

    @property
    def size_bytes(self) -> int:
        """About."""
        return int(self.gigabytes * 1e9)

    @property
    def parsed(self) -> Reference:
        """For a pull."""
        return parse(self.reference)


@dataclass(frozen=True, slots=True)
class StarterList:
    """The whole of it, the smallest first; `date` is when it was looked over."""

    date: str
    models: tuple[Starter, ...]


@cache
def starters() -> StarterList:
    """The list of this version of Corral."""
    text = resources.files("corral.store.search").joinpath("starters.json").read_bytes()
    return msgspec.json.decode(text, type=StarterList)


def fitting(there: tuple[Starter, ...], memory: HostMemory) -> list[tuple[Starter, Fits]]:
    """Those that fit, the largest first: what is larger is mostly better. On the GPU goes before beside it."""
    judged = [(each, memory.fits(each.size_bytes)) for each in there]
    order = [Fits.GPU, Fits.PART, Fits.RAM]
    found = [(each, fits) for each, fits in judged if fits is not Fits.NO]
    return sorted(found, key=lambda item: (order.index(item[1]), -item[0].gigabytes))
