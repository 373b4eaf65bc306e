"""
A short list to begin with, by the memory that a machine has.

`starters.json` says when it was put together and from what. The numbers of each model are those that its header has, so
that it is fitted as any other is, before anything of it is here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

import msgspec

from corral.domain.references import Reference, parse
from corral.store.fit.advice import Where
from corral.store.fit.rough import Judge, RoughModel

_ORDER: Final = (Where.GPU, Where.PART, Where.RAM)


@dataclass(frozen=True, slots=True)
class Starter:
    """
    A model that many begin with. `gigabytes` (of a thousand million bytes) is what its files have, `size_source` where
    that was looked up.
    """

    reference: str
    title: str
    gigabytes: float
    size_source: str
    parameters: int
    architecture: str
    numbers: dict[str, int]
    good_for: str
    licence: str

    @property
    def size_bytes(self) -> int:
        """To the megabyte."""
        return int(self.gigabytes * 1e9)

    @property
    def parsed(self) -> Reference:
        """For a pull."""
        return parse(self.reference)

    @property
    def rough(self) -> RoughModel:
        """For a judgement."""
        return RoughModel(self.title, self.size_bytes, self.parameters, self.architecture, numbers=self.numbers)


@dataclass(frozen=True, slots=True)
class StarterList:
    """The whole of it, the smallest first; `date` is when it was looked over, `source` where its facts are from."""

    date: str
    source: str
    models: tuple[Starter, ...]


@cache
def starters() -> StarterList:
    """The list of this version of Corral."""
    text = resources.files("corral.store.search").joinpath("starters.json").read_bytes()
    return msgspec.json.decode(text, type=StarterList)


def judged(there: Sequence[Starter], judge: Judge) -> list[tuple[Starter, Where]]:
    """
    Those that fit, the largest first: what is larger is mostly better. On the GPU goes before beside it. Then the rest.
    """
    found = [(each, judge.of(each.rough).where) for each in there]
    fitting = [item for item in found if item[1] is not Where.NO]
    fitting.sort(key=lambda item: (_ORDER.index(item[1]), -item[0].gigabytes))
    return fitting + [item for item in found if item[1] is Where.NO]
