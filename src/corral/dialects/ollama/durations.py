"""
`keep_alive`: how long a Model stays loaded after a request, as a number of seconds or as Go writes durations.

    300   "5m"   "1h30m"   "1.5h"      so long after the last answer
    0     "0s"                         it leaves with the answer
    -1    "-1m"                        for ever
"""

from __future__ import annotations

import math
import re
from typing import Final

from corral.domain.errors import BadRequest

_UNITS_S: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_NUMBER: Final = r"(\d{1,18}(?:\.\d{0,18})?|\.\d{1,18})"
_PIECE: Final = re.compile(_NUMBER + r"(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_DURATION: Final = re.compile(rf"[+-]?(?:0|(?:{_NUMBER}(?:ns|us|µs|μs|ms|s|m|h))+)", re.ASCII)
_LONGEST: Final = 100  # characters


def keep_s(given: float | str | None) -> float | None:
    """Seconds, infinity for ever, None where nothing is said. Raises BadRequest."""
    if given is None or given == "":
        return None
    seconds = _seconds(given) if isinstance(given, str) else float(given)
    return seconds if seconds >= 0 else math.inf


def _seconds(text: str) -> float:
    if len(text) > _LONGEST or not _DURATION.fullmatch(text):
        raise BadRequest(
            f'`keep_alive` is a number of seconds or a duration such as "10m", "1h30m" or "-1s", not {text[:50]!r}.'
        )
    total = sum(float(number) * _UNITS_S[unit] for number, unit in _PIECE.findall(text))
    return -total if text.startswith("-") else total
