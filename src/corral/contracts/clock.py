"""Time as a value that can be faked."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Monotonic seconds for waiting, wall seconds for people."""

    def now(self) -> float:
        """Monotonic seconds; never goes back."""
        ...

    def wall(self) -> float:
        """Seconds since the epoch."""
        ...
