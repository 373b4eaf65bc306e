"""
Which regular expressions are fit to be searched for in every line of a log.

`re` goes back and tries again; nested repetitions make it do so for ever, and nothing can interrupt it. So these are
refused, and the number of open ends is bounded; lines are cut short before they are searched.
"""

from __future__ import annotations

import re
from typing import Any, Final

_LONGEST: Final = 500
OPEN_ENDS: Final = 2
_SHORTER: Final = "it is searched for anywhere in a line, so a few telling words are enough"


def pattern_problem(pattern: str) -> str:
    """What is wrong with it, to follow the option's name; "" for a good one."""
    if not pattern:
        return "is empty"
    if len(pattern) > _LONGEST:
        return f"is longer than {_LONGEST} characters; {_SHORTER}"
    try:
        re.compile(pattern)
        tree: Any = re._parser.parse(pattern)  # type: ignore[attr-defined]  # the one place that knows its structure
    except (re.error, RecursionError, OverflowError) as error:
        return f"is not a regular expression: {error}"
    ends, sound = _walk(tree, inside=False)
    if not sound:
        return f"repeats a repetition, or looks back: that may take for ever; {_SHORTER}"
    if ends > OPEN_ENDS:
        return f"has more than {OPEN_ENDS} repetitions without an end, such as .*; {_SHORTER}"
    if re.search(pattern, ""):
        return f"matches an empty line; {_SHORTER}"
    return ""


def _walk(tree: Any, *, inside: bool) -> tuple[int, bool]:
    """How many repetitions have no end, and whether no repetition is inside another."""
    ends = 0
    for operator, argument in tree:
        name = str(operator)
        if name in ("GROUPREF", "GROUPREF_EXISTS", "ASSERT", "ASSERT_NOT"):
            return ends, False
        if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            low, high, body = argument
            varies = low != high and high > 1
            if inside and high > 1:
                return ends, False
            ends += bool(high > 64 and varies)
            more, sound = _walk(body, inside=inside or high > 1)
        elif name == "SUBPATTERN":
            more, sound = _walk(argument[-1], inside=inside)
        elif name == "ATOMIC_GROUP":
            more, sound = _walk(argument, inside=inside)
        elif name == "BRANCH":
            parts = [_walk(branch, inside=inside) for branch in argument[1]]
            more, sound = max(part[0] for part in parts), all(part[1] for part in parts)
        else:
            continue
        if not sound:
            return ends, False
        ends += more
    return ends, True
