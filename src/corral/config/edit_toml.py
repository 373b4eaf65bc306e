"""
One value of a TOML text changed: tomlkit keeps every comment, space and line where it is.

But for one thing: it puts what is new in a table behind the comments that follow the table, and these are the heading
of the next one. So what is new is moved up over them.
"""

from __future__ import annotations

from typing import Any

from corral.config.problems import Keys, dotted
from corral.config.templates import NOTHING
from corral.domain.errors import ConfigError


def set_value(text: str, keys: Keys, value: Any) -> str:
    """The text with this value at these keys. An index one beyond the end of a list appends. Raises ConfigError."""
    import tomlkit  # slow to import, and only needed here
    from tomlkit.items import InlineTable

    document = tomlkit.parse(text)
    place: Any = document
    for depth, key in enumerate(keys[:-1]):
        below = _below(place, key)
        if below is None:
            _can_hold(place, key, keys, depth)
            inline = isinstance(place, list | InlineTable) or isinstance(keys[depth + 1], int)
            below = [] if isinstance(keys[depth + 1], int) else tomlkit.inline_table() if inline else tomlkit.table()
            _put(place, key, below)
            below = _below(place, key)
        place = below
    _can_hold(place, keys[-1], keys, len(keys) - 1)
    _put(place, keys[-1], _item(value))
    return _moved_up(text, tomlkit.dumps(document))


def unset(text: str, keys: Keys) -> str:
    """The text without this key or item. Raises ConfigError where it is not there."""
    import tomlkit

    document = tomlkit.parse(text)
    place: Any = document
    for key in keys[:-1]:
        place = _below(place, key)
    if _below(place, keys[-1]) is None:
        raise ConfigError(f"{dotted(keys)} is not set in this file.")
    del place[keys[-1]]
    return tomlkit.dumps(document)


def _moved_up(before: str, after: str) -> str:
    """Lines that were only inserted, put before the blank lines and comments in front of them."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    begin = 0
    while begin < min(len(old), len(new)) and old[begin] == new[begin]:
        begin += 1
    added = len(new) - len(old)
    if added <= 0 or old[begin:] != new[begin + added :]:
        return after  # something was replaced, and that stays where it is
    place = begin
    while place and (not old[place - 1].strip() or old[place - 1].lstrip().startswith("#")):
        place -= 1
    if not place:
        return after  # the comments at the head of the file are about all of it
    lines = new[begin : begin + added]
    gap = old[place:begin]
    if gap and not any(line.strip() for line in gap[:1]) and not lines[-1].strip():
        lines = lines[:-1]  # a blank line follows already
    return "".join((*old[:place], *lines, *old[place:]))


def _below(place: Any, key: str | int) -> Any:
    try:
        return place[key]
    except (KeyError, IndexError, TypeError):
        return None


def _can_hold(place: Any, key: str | int, keys: Keys, depth: int) -> None:
    fits = isinstance(place, dict) if isinstance(key, str) else isinstance(place, list) and key <= len(place)
    if not fits:
        what = "a list" if isinstance(place, list) else "a mapping" if isinstance(place, dict) else "one value"
        raise ConfigError(f"{dotted(keys[:depth]) or 'the file'} is {what}, so {dotted(keys)} cannot be set.")


def _put(place: Any, key: str | int, value: Any) -> None:
    if isinstance(key, int) and key == len(place):
        place.append(value)
    else:
        place[key] = value


def _item(value: Any) -> Any:
    """What tomlkit writes in one line; null is a template there."""
    import tomlkit

    if value is None:
        return f"${{{NOTHING}}}"
    if isinstance(value, dict):
        table = tomlkit.inline_table()
        table.update({key: _item(item) for key, item in value.items()})
        return table
    return [_item(item) for item in value] if isinstance(value, list) else value
