"""
A few at a time, of work in threads: who only waits for somebody else takes no place from those who get on.

Whoever begins waits for a place. Who waits in the middle of his work leaves his own, and takes one again when he goes
on, if there is one; if not he goes on without, for what he has begun may hold others up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

LOOK_S: Final = 0.1


class Turns:
    """So many places."""

    def __init__(self, places: int) -> None:
        self._free = threading.Semaphore(places)

    def turn(self) -> Turn:
        """For one piece of work."""
        return Turn(self._free)


class Turn:
    """Of one piece of work, in whose thread all but `end` is called: that is for who hears of its end."""

    def __init__(self, free: threading.Semaphore) -> None:
        self._free = free
        self._lock = threading.Lock()
        self._has = False
        self._over = False

    def begin(self, stop: Callable[[], bool]) -> None:
        """Return with a place, or when `stop` says so."""
        while not self.go_on() and not stop():
            if self._free.acquire(timeout=LOOK_S):
                with self._lock:
                    self._has = True

    def follow(self, *, begins: bool, waits: bool, stop: Callable[[], bool]) -> None:
        """What the work says of itself now and then, in one thread at a time."""
        if waits:
            self.leave()
        elif begins:
            self.begin(stop)
        else:
            self.go_on()

    def go_on(self) -> bool:
        """Whether there is a place for it."""
        with self._lock:
            if not self._has and not self._over:
                self._has = self._free.acquire(blocking=False)
            return self._has

    def leave(self) -> None:
        """It waits now."""
        with self._lock:
            if self._has:
                self._has = False
                self._free.release()

    def end(self) -> None:
        """It has no place any more, and takes none."""
        with self._lock:
            self._over = True
        self.leave()
