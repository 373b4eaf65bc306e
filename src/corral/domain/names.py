"""From the name in a request to a Model."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Final

from corral.domain.errors import UnknownModel
from corral.domain.fleet import ModelSpec

MODEL_NAME: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}$")
"""Names that can stand in a URL, a file name (with / replaced) and a metric label."""

_LOOKED_AT: Final = 8  # names that are near enough, of which some may be nearer than they look


def directory(models: Iterable[ModelSpec]) -> dict[str, str]:
    """Every name, alias and profile -> the Model's name. Collisions are the config's business; the first wins here."""
    names: dict[str, str] = {}
    for model in models:
        names.setdefault(model.name, model.name)
    for model in models:
        for alias in model.aliases:
            names.setdefault(alias, model.name)
        for profile in model.profiles:
            for alias in profile.names(model.name):
                names.setdefault(alias, model.name)
    return names


def resolve(name: str, names: Mapping[str, str]) -> str:
    """The Model's name for a name or alias. Raises UnknownModel with near names."""
    found = names.get(name)
    if found is None:
        raise UnknownModel(name, near_names(name, names))
    return found


def near_names(name: str, known: Iterable[str], *, most: int = 3) -> tuple[str, ...]:
    """
    Up to `most` known names that look like `name`, nearest first; compared without regard to case.

    What `name` shortens is nearer than what it resembles: `cmd` is `command`, not `cwd`. So is what has its letters:
    `prot` is `port`, not `root`.
    """
    folded = {candidate.lower(): candidate for candidate in known}
    wanted = name.lower()[:200]
    found = difflib.get_close_matches(wanted, folded, n=max(most, _LOOKED_AT), cutoff=0.6)
    found.sort(key=lambda match: (not _shortens(wanted, match), sorted(wanted) != sorted(match)))
    return tuple(folded[match] for match in found[:most])


def _shortens(short: str, word: str) -> bool:
    """True when `short` begins as `word` does and has only letters of it, in their order."""
    letters = iter(word)
    return len(short) < len(word) and short[:1] == word[:1] and all(letter in letters for letter in short)
