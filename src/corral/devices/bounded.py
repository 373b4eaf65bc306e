"""
Calls that may never come back, made so that nobody waits for them longer than agreed.

A driver whose GPU has fallen off the bus can hang in the kernel, where no signal reaches. The call is left to its
thread, which is a daemon so that it does not hold up our end either; until it comes back no other is begun.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Bounded(Generic[T]):
    """One source of readings. `name` is for the log, which hears once of each time that it hangs."""

    def __init__(self, name: str, *, deadline_s: float) -> None:
        self._name = name
        self._deadline_s = deadline_s
        self._turn = threading.Lock()
        self._running: threading.Event | None = None
        self._told = False

    def call(self, function: Callable[[], T], otherwise: T) -> T:
        """What `function` returns, or `otherwise` when it is not there by the deadline. An error in it is logged."""
        if not self._turn.acquire(timeout=self._deadline_s):  # two callers at once: each is worth one deadline
            return otherwise
        try:
            if self._running is not None and not self._running.is_set():
                return otherwise
            return self._run(function, otherwise)
        finally:
            self._turn.release()

    def _run(self, function: Callable[[], T], otherwise: T) -> T:
        result: list[T] = []
        done = self._running = threading.Event()

        def work() -> None:
            try:
                result.append(function())
            finally:
                done.set()

        threading.Thread(target=work, name=f"corral {self._name}", daemon=True).start()
        if done.wait(self._deadline_s):
            if self._told:
                logger.warning("%s answers again.", self._name)
            self._told = False
            return result[0] if result else otherwise
        if not self._told:
            self._told = True
            logger.warning("%s has not answered for %g s; its last figures stand.", self._name, self._deadline_s)
        return otherwise
