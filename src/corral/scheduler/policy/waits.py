"""
Waits: how long a request will wait, from what was measured. What was never measured is None, not a guess.

The picture is simple on purpose: slots become free one after the other at an even pace, and nobody comes or leaves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MEMORY: Final = 0.9
"""What the mean keeps of itself at each new value: the last ten or so decide."""


@dataclass(slots=True)
class Pace:
    """A mean that follows its values; None until there is one."""

    mean_s: float | None = None

    def add(self, total_s: float, count: int = 1) -> None:
        """`count` values that make `total_s` together."""
        if count < 1:
            return
        mean_s = max(total_s, 0.0) / count
        kept = 0.0 if self.mean_s is None else MEMORY**count
        self.mean_s = kept * (self.mean_s or 0.0) + (1 - kept) * mean_s


def wait_at_full_slots_s(position: int, slots: int, service_s: float | None) -> float | None:
    """The wait of the `position`-th in line (1 is next) while all slots are in use."""
    return None if service_s is None else position * service_s / slots


def wait_from_ready_s(position: int, slots: int, service_s: float | None) -> float | None:
    """The wait of the `position`-th in line from the moment when an engine is ready with all slots free."""
    return 0.0 if position <= slots else wait_at_full_slots_s(position - slots, slots, service_s)


def turn_s(load_s: float | None, queue: int, slots: int, service_s: float | None, hot_s: float) -> float | None:
    """
    How long a Model that is ahead in the line keeps the place: its load, and its queue, but no longer than a hot Model
    may and one request more.
    """
    if load_s is None or service_s is None:
        return None
    return load_s + min(queue * service_s / slots, hot_s + service_s)
