"""How long to wait between two looks at something that may be ready any moment."""

from __future__ import annotations

from collections.abc import Iterator


def pauses(first_s: float, longest_s: float, growth: float) -> Iterator[float]:
    """Seconds: `first_s`, then each time `growth` times as long, up to `longest_s` for ever."""
    pause_s = first_s
    while True:
        yield pause_s
        pause_s = min(pause_s * growth, longest_s)
