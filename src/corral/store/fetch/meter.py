"""How fast something comes: bytes a second over the last few seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

WINDOW_S: Final = 5.0
_STEP_S: Final = 0.1


@dataclass(slots=True)
class Meter:
    """What was there when it began does not count: the first look is the beginning."""

    now: Callable[[], float]
    _seen: deque[tuple[float, int]] = field(default_factory=deque)

    def look(self, done_bytes: int) -> float:
        """So much has come by now. A count that falls (from the beginning again) begins anew."""
        at = self.now()
        if self._seen and done_bytes < self._seen[-1][1]:
            self._seen.clear()
        if not self._seen or at - self._seen[-1][0] >= _STEP_S:
            self._seen.append((at, done_bytes))
        while len(self._seen) > 2 and at - self._seen[1][0] >= WINDOW_S:
            self._seen.popleft()
        began, first = self._seen[0]
        return (done_bytes - first) / (at - began) if at > began else 0.0
