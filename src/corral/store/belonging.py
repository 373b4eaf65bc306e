"""
Which projector belongs to a model: by what its header says, where it came from, where it lies and what it is called.

Pure, and the one place for it: lists, what is served, inspection and imports all ask here. A projector that is not the
model's own makes nonsense of every picture, so what is not clear belongs to nobody; the operator can name it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from corral.store.gguf.projectors import Projects
from corral.store.sources.choosing import PROJECTORS, plain_name
from corral.store.sources.quants import quant_of

_ALIKE: Final = 0.6  # names that share most of their letters


@dataclass(frozen=True, slots=True)
class Language:
    """A language model, by the name of its file."""

    name: str
    architecture: str
    width: int | None


@dataclass(frozen=True, slots=True)
class Other:
    """Another language model of the same place. It is looked at only where names do not tell."""

    name: str
    look: Callable[[], Language | None] = field(compare=False)


@dataclass(frozen=True, slots=True)
class Sight:
    """A projector. `above` is how many folders it lies above the model, `came_with` whether both came as one."""

    name: str
    projects: Projects
    quantisation: str = ""  # as its header has it, where its name says nothing
    above: int = 0
    came_with: bool = False


def projector_of(model: Language, there: Sequence[Sight], others: Sequence[Other]) -> Sight | None:
    """
    The one that belongs to it, of those in its folder and above.

    First what came with it, then the nearest, then the one whose name is most like the model's; of one projector's
    quantisations F16, which is small and which every backend computes with.
    """
    fitting = [each for each in there if each.projects.fits(model.architecture, model.width)]
    own = [each for each in fitting if each.came_with or not _of_another(model, each, others)]
    return min(own, key=lambda each: _order(model, each), default=None)


def _order(model: Language, each: Sight) -> tuple[bool, bool, int, float, int, str]:
    quantisation = quant_of(each.name) or each.quantisation
    rank = PROJECTORS.index(quantisation) if quantisation in PROJECTORS else len(PROJECTORS)
    likeness = round(_likeness(model.name, each.name), 1)
    return not each.came_with, each.projects.width is None, each.above, -likeness, rank, each.name


def _of_another(model: Language, each: Sight, others: Sequence[Other]) -> bool:
    """Whether it may as well be made for another model of that place, which its name is no less like."""
    mine, own = _likeness(model.name, each.name), plain_name(model.name)
    for other in others:
        if plain_name(other.name) == own:  # another quantisation of the same
            continue
        if mine >= _ALIKE and mine > _likeness(other.name, each.name):
            continue
        rival = other.look()
        if rival is not None and each.projects.fits(rival.architecture, rival.width):
            return True
    return False


def _likeness(model: str, projector: str) -> float:
    """0 for a projector that has no name of its own."""
    name = plain_name(projector)
    return difflib.SequenceMatcher(None, plain_name(model), name).ratio() if name not in ("", "model") else 0.0
