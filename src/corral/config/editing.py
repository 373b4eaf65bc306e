"""
Changing a config by command: one value, in the file where it belongs, and only if the whole is still good.

    plan = plan_change(path, Change(keys, value), ...)   nothing is written
    write.replace(plan.file, plan.before, plan.after)    refused if somebody else has written in between

A config that was bad before may be changed as long as that makes it no worse: so it can be repaired step by step.
"""

from __future__ import annotations

import copy
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from corral.config import edit_toml, edit_yaml, files, keypath
from corral.config.document import Document
from corral.config.problems import ConfigErrors, Keys
from corral.domain.errors import ConfigError

UNSET: Final = object()
"""In place of a value: take the key away."""
_INDEX: Final = re.compile(r"\[\d+\]")


@dataclass(frozen=True, slots=True)
class Change:
    """One value, or UNSET. `append` adds it to the list that is there."""

    keys: Keys
    value: Any
    append: bool = False


@dataclass(frozen=True, slots=True)
class EditPlan:
    """The text of one file before and after; `remaining` are problems that the config had and still has."""

    file: str
    before: str
    after: str
    remaining: tuple[ConfigError, ...] = ()


Check = Callable[[Document], None]
"""Raises ConfigErrors for a document that is no good config."""


def plan_change(path: str, change: Change, *, check: Check, file: str = "") -> EditPlan:
    """
    What the change does to the config at this path (a file, or a folder: then to `file`, or to the one it belongs to).

    Raises ConfigError(s) for a change that cannot be made, or that makes the config worse.
    """
    texts = _texts(path)
    chosen = _choose(texts, change.keys, path, file)
    before = texts[chosen]
    after = _changed(before, chosen, _placed(before, chosen, change))
    remaining = judge(path, {**texts, chosen: after}, check, was=texts)
    return EditPlan(chosen, before, after, remaining)


def judge(
    path: str, texts: Mapping[str, str], check: Check, *, was: Mapping[str, str] | None = None
) -> tuple[ConfigError, ...]:
    """Problems that the config with these texts has, as it had (`was`) before. Raises ConfigErrors for new ones."""
    found = _problems(path, texts, check)
    if not found:
        return ()
    had = Counter(map(_sameness, _problems(path, was, check))) if was is not None else Counter()
    if Counter(map(_sameness, found)) - had:
        raise ConfigErrors(found)
    return found


def _sameness(problem: ConfigError) -> tuple[str, str, str]:
    """What makes two problems one, before and after: items of a list may have moved."""
    return problem.file, _INDEX.sub("[]", problem.key), _INDEX.sub("[]", problem.bare)


def texts_of(path: str) -> dict[str, str]:
    """The text of every file of the config at this path. Raises ConfigErrors."""
    return _texts(path)


def _texts(path: str) -> dict[str, str]:
    parts = files.parts_of(path) if os.path.isdir(path) else [path]
    return {part: files.text_of(part) for part in parts}


def _problems(path: str, texts: Mapping[str, str], check: Check) -> tuple[ConfigError, ...]:
    try:
        parts = [files.parse(text, file=file) for file, text in texts.items()]
        check(files.merge(path, parts) if os.path.isdir(path) else parts[0])
    except ConfigErrors as error:
        return error.problems
    return ()


def _choose(texts: Mapping[str, str], keys: Keys, path: str, file: str) -> str:
    """The file to change: the one that was named, has the key, or has most of the way to it."""
    if file:
        found = next((each for each in texts if os.path.realpath(each) == os.path.realpath(file)), "")
        if not found:
            names = ", ".join(os.path.basename(each) for each in texts)
            raise ConfigError(f"this is no file of the config {path}.", file=file, hint=f"There is: {names}.")
        return found
    if len(texts) == 1:
        return next(iter(texts))
    depths = {each: _depth(files.parse(text, file=each).data, keys) for each, text in texts.items()}
    most = max(depths.values())
    best = [each for each, depth in depths.items() if depth == most]
    if most and len(best) == 1:
        return best[0]
    names = ", ".join(os.path.basename(each) for each in texts)
    raise ConfigError(
        f"{keypath.shown(keys)} could stand in several files.", file=path, hint=f"Name one with --file: {names}."
    )


def _depth(data: Any, keys: Keys) -> int:
    for depth, key in enumerate(keys):
        if not isinstance(data, dict) or key not in data:
            return depth
        data = data[key]
    return len(keys)


def _placed(text: str, file: str, change: Change) -> Change:
    """An appending change with the index that it gets; one text where a list may stand becomes one."""
    if not change.append:
        return change
    there = keypath.at(files.parse(text, file=file).data, change.keys)
    if isinstance(there, list):
        return Change((*change.keys, len(there)), change.value)
    return Change(change.keys, [change.value] if there is None else [there, change.value])


def _changed(text: str, file: str, change: Change) -> str:
    """The text with the change in it, read again and found to say just that."""
    toml = file.lower().endswith(".toml")
    data = files.parse(text, file=file).data  # a text with syntax errors is refused here
    if change.value is UNSET:
        after = edit_toml.unset(text, change.keys) if toml else edit_yaml.unset(text, change.keys)
    elif toml:
        after = edit_toml.set_value(text, change.keys, change.value)
    else:
        after = edit_yaml.set_value(text, change.keys, change.value)
    wanted = _expected(data, change)
    try:
        right = _plain(files.parse(after, file=file).data) == _plain(wanted)
    except ConfigErrors:
        right = False
    if not right:
        raise ConfigError(
            f"{keypath.shown(change.keys)} cannot be changed by command: what stands there is used elsewhere too, or "
            "is written in an unusual way.",
            file=file,
            hint="`corral config edit` opens the file in your editor.",
        )
    return after


def _expected(data: Any, change: Change) -> Any:
    data = copy.deepcopy(data)
    place = data
    for depth, key in enumerate(change.keys[:-1]):
        below = keypath.at(place, (key,))
        if below is None:
            below = [] if isinstance(change.keys[depth + 1], int) else {}
            _put(place, key, below)
        place = below
    last = change.keys[-1]
    if change.value is UNSET:
        del place[last]
    else:
        _put(place, last, change.value)
    return data


def _put(place: Any, key: str | int, value: Any) -> None:
    if isinstance(place, list) and key == len(place):
        place.append(value)
    else:
        place[key] = value


def _plain(value: Any) -> Any:
    """Types count (1 is not true), an empty section is none, and TOML's way to write nothing is nothing."""
    if isinstance(value, dict):
        return {
            key: item for key, item in ((key, _plain(each)) for key, each in value.items()) if item is not None
        } or None
    if isinstance(value, list):
        return [_plain(item) for item in value] or None
    return None if value is None or value == "${null}" else (type(value).__name__, value)
