"""When something comes too slowly to be waited for: a connection that drips is as good as one that is silent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LEAST_PER_S: Final = 1024
"""
Bytes. A gigabyte would take twelve days: what drips like this is a server that hangs and keeps its connections alive,
or somebody who wants ours to stay open, and another connection is hardly worse.
"""

OVER_S: Final = 60.0
"""So long on average, so that a link that is down for half a minute and then goes on loses nothing."""


@dataclass(slots=True)
class Pace:
    """Of one answer. Only time that was waited counts: what is done with the bytes meanwhile may take its own."""

    waited_s: float = 0.0
    came_bytes: int = 0

    def drips(self, count: int, waited_s: float) -> bool:
        """So many more bytes came after so long a wait. True where the last minute brought too little."""
        self.came_bytes += count
        self.waited_s += waited_s
        if self.waited_s < OVER_S:
            return False
        dripped = self.came_bytes < LEAST_PER_S * self.waited_s
        self.waited_s, self.came_bytes = 0.0, 0
        return dripped
