"""Bytes and seconds as people write them: `1GiB`, `512 MB`, `10m`, `1h30m`, `never`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_BYTE_UNITS: Final[dict[str, int]] = {
    "": 1, "b": 1,
    "k": 1024, "kb": 1000, "kib": 1024,
    "m": 1024**2, "mb": 1000**2, "mib": 1024**2,
    "g": 1024**3, "gb": 1000**3, "gib": 1024**3,
    "t": 1024**4, "tb": 1000**4, "tib": 1024**4,
}  # fmt: skip
_SECOND_UNITS: Final[dict[str, float]] = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*$")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
FOREVER: Final = float("inf")
_MOST_BYTES: Final = (1 << 63) - 1
_MOST_SECONDS: Final = 100 * 365.25 * 86400
_SHOWN: Final = 40


def parse_bytes(text: str | int) -> int:
    """Bytes from `4GiB`, `4 GB`, `4096`. Raises ValueError with a sentence for anything else."""
    if isinstance(text, bool):
        raise ValueError(f"{text!r} is not a size; write for example 4GiB")
    if isinstance(text, int):
        if text < 0:
            raise ValueError("a size cannot be negative")
        if text > _MOST_BYTES:
            raise ValueError("a size of so many bytes is more than there can be")
        return text
    match = _BYTES.match(text)
    unit = match[2].lower() if match else ""
    if not match or unit not in _BYTE_UNITS:
        raise ValueError(f"{_shown(text)} is not a size; write for example 4GiB, 512MiB or a number of bytes")
    size = float(match[1]) * _BYTE_UNITS[unit]
    if size > _MOST_BYTES:
        raise ValueError(f"{_shown(text)} is more than there can be")
    return int(size)


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def format_bytes(count: int) -> str:
    """`9.2 GiB`; whole numbers without a fraction."""
    value, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" or value == int(value) else f"{value:.1f} {unit}"


def format_parameters(count: int | None) -> str:
    """`30.5B`, `494M`, `33.0K`: as models are named. "" where nobody knows."""
    return (
        format_count(count, (("T", 10**12), ("B", 10**9), ("M", 10**6), ("K", 10**3)), tenths_below=100)
        if count
        else ""
    )


def format_count(count: int, units: Sequence[tuple[str, int]], *, tenths_below: int) -> str:
    """A number in the largest of the units, largest first, that it reaches once it is rounded: `1.0M`, not `1000K`."""
    for unit, size in units:
        if count >= size * 0.9995:
            value = count / size
            return f"{value:.1f}{unit}" if value < tenths_below - 0.05 else f"{value:.0f}{unit}"
    return str(count)


def parse_duration(text: str | int | float) -> float:
    """Seconds from `10m`, `1h30m`, `250ms`, `90` or `never` (infinite). Raises ValueError with a sentence."""
    if isinstance(text, bool):
        raise ValueError(f"{text!r} is not a duration; write for example 10m")
    if isinstance(text, int | float):
        if text != text or text < 0:
            raise ValueError("a duration cannot be negative")
        return FOREVER if text == FOREVER else _at_most(text)  # `.inf` is YAML's own word
    word = text.strip().lower()
    if word == "never":
        return FOREVER
    if re.fullmatch(r"\d+(\.\d+)?", word):
        return _at_most(float(word))
    parts = _DURATION_PART.findall(word)
    if not parts or "".join(number + unit for number, unit in parts) != word:
        raise ValueError(f"{_shown(text)} is not a duration; write for example 30s, 10m, 1h30m or never")
    return _at_most(sum(float(number) * _SECOND_UNITS[unit] for number, unit in parts))


def _at_most(seconds: float) -> float:
    if seconds > _MOST_SECONDS:
        raise ValueError("a duration of more than a hundred years has no use; write never")
    return float(seconds)


def format_duration(seconds: float) -> str:
    """`1h 5m`, `12s`, `250ms`, `never`: two units at most."""
    if seconds == FOREVER:
        return "never"
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    rest, parts = round(seconds), []
    for name, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if rest >= size:
            parts.append(f"{rest // size}{name}")
            rest %= size
    return " ".join(parts[:2])


def to_millisecond(value_s: float | None) -> float | None:
    """Seconds as listings show them."""
    return None if value_s is None else round(value_s, 3)
