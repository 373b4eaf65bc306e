"""How fast something comes: bytes a second over the last few seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from corral.domain.fetching import Progress, Traffic

WINDOW_S: Final = 5.0
_STEP_S: Final = 0.1


@dataclass(slots=True)
class Meter:
    """
    Of what comes over the network: neither what was there, of whatever file, nor what is only hashed, is a speed.

    While nothing comes (it is hashed, or waited for) there is none, and that time is no part of the next.
    """

    now: Callable[[], float]
    _traffic: Traffic = field(default_factory=Traffic)
    _seen: deque[tuple[float, int]] = field(default_factory=deque)

    def look(self, progress: Progress) -> float:
        """So far it is by now."""
        self._traffic.count(progress)
        if progress.doing != "fetching":
            self._seen.clear()
            return 0.0
        at, came = self.now(), self._traffic.fetched_bytes
        if not self._seen or at - self._seen[-1][0] >= _STEP_S:
            self._seen.append((at, came))
        while len(self._seen) > 2 and at - self._seen[1][0] >= WINDOW_S:
            self._seen.popleft()
        began, first = self._seen[0]
        return (came - first) / (at - began) if at > began else 0.0
