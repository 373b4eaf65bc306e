"""
Names for values: `macros:` of the file, and of a Model, whose own go before.

Found and looked at here, filled in by `templates`. A circle is found even where nobody uses it yet.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Iterator, Mapping
from typing import Any, Final

from corral.config.problems import Keys, Problems
from corral.domain.names import near_names

SECTION: Final = "macros"
NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}\Z")
RESERVED: Final = frozenset({"env", "null", "model", "port", "socket"})

MOST_STEPS: Final = 1_000_000  # of looking for circles; those beyond are found where they are used
_USED = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_-]*)\}")
_FOREIGN: Final = {"PORT": "{port}", "MODEL_ID": "{model}", "model": "{model}", "port": "{port}", "socket": "{socket}"}


def _section(data: Mapping[str, Any]) -> Mapping[str, Any]:
    found = data.get(SECTION)
    return found if isinstance(found, dict) else {}


def _own(data: Mapping[str, Any], model: str) -> Mapping[str, Any]:
    """The macros of a Model; nothing where the file is not what it should be, for that is told elsewhere."""
    models = data.get("models")
    found = models.get(model) if isinstance(models, dict) else None
    return _section(found) if isinstance(found, dict) else {}


def find(data: Mapping[str, Any], name: str, model: str) -> tuple[Keys, Any]:
    """Where the macro stands for this Model ("" = outside of one) and its value; no keys where there is none."""
    own = _own(data, model) if model else {}
    if name in own:
        return ("models", model, SECTION, name), own[name]
    shared = _section(data)
    return ((SECTION, name), shared[name]) if name in shared else ((), None)


def unknown(data: Mapping[str, Any], name: str, model: str) -> tuple[str, str]:
    """The sentence and the hint for a macro that is not there."""
    known = [*_section(data), *(_own(data, model) if model else ())]
    near = near_names(name, known, most=1)
    whose = f" for the Model {model!r}" if model else ""
    if near:
        hint = f"Did you mean ${{{near[0]}}}?"
    elif name in _FOREIGN:
        hint = f"Write {_FOREIGN[name]}."
    elif name.isupper():
        hint = f"An environment variable is ${{env.{name}}}."
    else:
        hint = "The tag !literal in front of a value keeps it as it is."
    return f"there is no macro {name!r}{whose}.", hint


def check(data: Mapping[str, Any], problems: Problems, *, literal: set[Keys]) -> None:
    """Tell every circle of macros, used or not."""
    shared = _section(data)
    search = _Search(problems, literal)
    search.run(shared, {name: (SECTION, name) for name in shared}, shared)
    models = data.get("models")
    for model in models if isinstance(models, dict) else ():
        own = _own(data, model)
        if own:
            keys_of = {name: ("models", model, SECTION, name) for name in own}
            search.run(ChainMap(dict(own), dict(shared)), keys_of, own)


class _Search:
    """Looks for circles; iterative, and bounded over all its runs."""

    def __init__(self, problems: Problems, literal: set[Keys]) -> None:
        self._problems, self._literal = problems, literal
        self._steps = 0

    def run(self, found: Mapping[str, Any], own_keys: Mapping[str, Keys], begin: Mapping[str, Any]) -> None:
        """Tell the circles that can be reached from `begin`."""
        done: set[str] = set()
        for name in begin:
            circle = self._circle(name, found, own_keys, done)
            if circle:
                self._tell(circle, own_keys)

    def _tell(self, circle: list[str], own_keys: Mapping[str, Keys]) -> None:
        """At the member that stands first in the file, whichever was looked at first."""
        keys = [own_keys.get(name, (SECTION, name)) for name in circle]
        first = min(range(len(circle)), key=lambda index: self._problems.line(keys[index]) or 0)
        shown = " -> ".join((*circle[first:], *circle[:first], circle[first]))
        if not any(self._problems.has(each) for each in keys):
            self._problems.add(f"these macros go in a circle: {shown}", keys=keys[first])
        for each in keys:
            self._problems.mute(each)

    def _circle(self, start: str, found: Mapping[str, Any], own_keys: Mapping[str, Keys], done: set[str]) -> list[str]:
        """The names of a circle on the way from this macro, each once; [] where there is none."""
        path: dict[str, None] = {}
        walks: list[Iterator[str]] = [iter((start,))]
        while walks and self._steps < MOST_STEPS:
            self._steps += 1
            name = next(walks[-1], None)
            if name is None:
                walks.pop()
                if path:
                    done.add(path.popitem()[0])
            elif name in path:
                done.update(path)
                names = list(path)
                return names[names.index(name) :]
            elif name in found and name not in done:
                path[name] = None
                keys = own_keys.get(name, (SECTION, name))
                walks.append(iter(_names_in(found[name], keys, self._literal)))
        return []


def _names_in(value: Any, keys: Keys, literal: set[Keys]) -> list[str]:
    """The macros that a value names."""
    if isinstance(value, str):
        return _USED.findall(value) if keys not in literal else []
    if isinstance(value, dict):
        return [name for key, item in value.items() for name in _names_in(item, (*keys, key), literal)]
    if isinstance(value, list):
        return [name for index, item in enumerate(value) for name in _names_in(item, (*keys, index), literal)]
    return []
