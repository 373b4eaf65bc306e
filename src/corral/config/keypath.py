"""
Keys as people type them: `models.coder.ttl`, `server.keys[0].name`, `models."qwen2.5".ttl`.

Names of Models have dots. Where nothing is quoted, the longest name that is there wins; for a Model that is not there
yet, the shortest after which the rest makes sense.
"""

from __future__ import annotations

import re
from typing import Any, Final, get_origin

from corral.config.problems import Keys
from corral.config.sentences import section_at
from corral.domain.errors import ConfigError
from corral.domain.names import near_names

_STEP: Final = re.compile(
    r"""\[(?P<index>\d{1,9})\]|\[(?P<in>"[^"]*"|'[^']*')\]|(?P<quoted>"[^"]*"|'[^']*')|(?P<bare>[^.\[\]"']+)|(?P<dot>\.)"""
)
_Step = tuple[str, bool | None]
"""A step and whether it was quoted, and so is whole; None for an index in brackets."""
_NAMED: Final = (("models",), ("groups",))
"""Mappings whose keys are names that people gave."""


def resolve(text: str, data: Any, *, create: bool = False) -> Keys:
    """
    The keys that the text means in this data. Raises ConfigError, with near names, for a key that cannot be.

    With `create`, Models and groups that are not there yet are allowed too.
    """
    steps = _split(text)
    keys: Keys = ()
    while steps:
        used = _used(steps, keys, data, create=create)
        step = ".".join(name for name, _ in steps[:used])
        if isinstance(data, list | tuple) or (data is None and steps[0][1] is None):
            keys = (*keys, _index(step, keys, data, text, create=create))
        else:
            _check(step, keys, data, text, create=create)
            keys = (*keys, step)
        steps, data = steps[used:], at(data, keys[-1:])
    return keys


def at(data: Any, keys: Keys) -> Any:
    """The value at these keys; None where there is none."""
    for key in keys:
        try:
            data = data[key]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _split(text: str) -> list[_Step]:
    steps: list[_Step] = []
    end = 0
    for match in _STEP.finditer(text):
        if match.start() != end:
            break
        end = match.end()
        quoted = match["in"] or match["quoted"]
        if match["dot"] is None:
            name, kind = (quoted[1:-1], True) if quoted else (match["index"] or match["bare"], False)
            steps.append((name, None if match["index"] else kind))
    if not steps or end != len(text):
        raise ConfigError(f"{text!r} is no key.", hint='Write it as models.coder.ttl or models."qwen2.5".ttl.')
    return steps


def _used(steps: list[_Step], keys: Keys, data: Any, *, create: bool) -> int:
    """How many steps make the next key."""
    if steps[0][1] or (not isinstance(data, dict) and keys not in _NAMED):
        return 1
    plain = next((index for index, step in enumerate(steps) if step[1]), len(steps))
    for count in range(plain, 0, -1):
        if isinstance(data, dict) and ".".join(name for name, _ in steps[:count]) in data:
            return count
    section = section_at((*keys, "name")) if create and keys in _NAMED else None
    if section is not None:
        fits = (count for count in range(1, plain) if steps[count][0] in section.model_fields)
        return next(fits, plain)
    return 1


def _index(step: str, keys: Keys, data: Any, text: str, *, create: bool) -> int:
    length = len(data) if data is not None else 0
    if not step.isdecimal() or int(step) >= length + (1 if create else 0):
        there = f"items 0 to {length - 1}" if length else "no items"
        raise ConfigError(f"there is no item {step!r} in {shown(keys)}.", key=text, hint=f"It has {there}.")
    return int(step)


def _check(step: str, keys: Keys, data: Any, text: str, *, create: bool) -> None:
    """Refuse a key that its section does not have. Free mappings such as `options` may have any."""
    section = section_at(keys)
    known: list[str] = []
    if keys in _NAMED:
        if create:
            return
        known = list(data) if isinstance(data, dict) else []
    elif section is not None:
        known = list(section.model_fields)
    elif _is_single(keys):
        raise ConfigError(f"{shown(keys)} is one value; there is nothing in it.", key=text)
    else:
        return
    if step in known or (not keys and step.startswith("x-")):
        return
    near = near_names(step, known, most=1)
    here = f" in {shown(keys)}" if keys else ""
    listed = ", ".join(sorted(known)[:30])
    hint = f"Did you mean {near[0]!r}?" if near else f"There is: {listed}." if listed else ""
    raise ConfigError(f"there is no key {step!r}{here}.", key=text, hint=hint)


def _is_single(keys: Keys) -> bool:
    """True for a key of a section that holds one value."""
    section = section_at(keys[:-1]) if keys else None
    field = section.model_fields.get(str(keys[-1])) if section is not None else None
    return field is not None and field.annotation is not Any and get_origin(field.annotation) not in (dict, tuple)


def shown(keys: Keys) -> str:
    """The keys as they can be typed again: a name with a dot in it is quoted."""
    text = ""
    for key in keys:
        if isinstance(key, int):
            text += f"[{key}]"
            continue
        name = key if re.fullmatch(r"[^.\[\]\"']+", key) else f'"{key}"'
        text += f".{name}" if text else name
    return text
