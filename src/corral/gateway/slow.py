"""A client that reads more slowly than it is written to, and when that is too slow."""

from __future__ import annotations


class SlowReader:
    """How many bytes of a connection were unsent when they were last seen to get fewer, and when that was."""

    __slots__ = ("_since", "_unsent")

    def __init__(self) -> None:
        self._unsent = -1  # the client keeps up
        self._since = 0.0

    @property
    def behind(self) -> bool:
        """Bytes wait for the client."""
        return self._unsent >= 0

    def begins(self, unsent: int, now: float) -> None:
        """The client has fallen behind."""
        self._unsent, self._since = unsent, now

    def ends(self) -> None:
        """It has caught up."""
        self._unsent = -1

    def stuck(self, unsent: int, now: float, limit_s: float) -> bool:
        """True when the client has taken nothing of what waits for it during `limit_s`."""
        if unsent == 0:
            self._unsent = -1
        elif self._unsent < 0 or unsent < self._unsent:
            self._unsent, self._since = unsent, now
        return self._unsent >= 0 and now - self._since >= limit_s
