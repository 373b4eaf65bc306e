"""Bytes and seconds as people write them: `1GiB`, `512 MB`, `10m`, `1h30m`, `never`."""

from __future__ import annotations

import re
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


def parse_bytes(text: str | int) -> int:
    """Bytes from `4GiB`, `4 GB`, `4096`. Raises ValueError with a sentence for anything else."""
    if isinstance(text, bool):
        raise ValueError(f"{text!r} is not a size; write for example 4GiB")
    if isinstance(text, int):
        if text < 0:
            raise ValueError("a size cannot be negative")
        return text
    match = _BYTES.match(text)
    unit = match[2].lower() if match else ""
    if not match or unit not in _BYTE_UNITS:
        raise ValueError(f"{text!r} is not a size; write for example 4GiB, 512MiB or a number of bytes")
    return int(float(match[1]) * _BYTE_UNITS[unit])


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
    for unit, size in (("T", 10**12), ("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if count and count >= size:
            value = count / size
            return f"{value:.0f}{unit}" if value >= 100 else f"{value:.1f}{unit}"
    return str(count or "")


def parse_duration(text: str | int | float) -> float:
    """Seconds from `10m`, `1h30m`, `250ms`, `90` or `never` (infinite). Raises ValueError with a sentence."""
    if isinstance(text, bool):
        raise ValueError(f"{text!r} is not a duration; write for example 10m")
    if isinstance(text, int | float):
        if text != text or text < 0:
            raise ValueError("a duration cannot be negative")
        return float(text)
    word = text.strip().lower()
    if word == "never":
        return FOREVER
    if re.fullmatch(r"\d+(\.\d+)?", word):
        return float(word)
    parts = _DURATION_PART.findall(word)
    if not parts or "".join(number + unit for number, unit in parts) != word:
        raise ValueError(f"{text!r} is not a duration; write for example 30s, 10m, 1h30m or never")
    return sum(float(number) * _SECOND_UNITS[unit] for number, unit in parts)


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
