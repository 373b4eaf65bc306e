"""
Blocking work that nobody can interrupt, in threads that do not hold up the end of the process.

The threads of an executor are waited for when Python ends, however long they wait for a server that says nothing. These
are left alone: use them where a process may be killed at any moment anyway, and nothing is the worse for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")


def in_daemon(work: Callable[[], T], *, name: str) -> asyncio.Future[T]:
    """Begin it now; what it returns, or raises, is in the future."""
    outcome: _Outcome[T] = _Outcome(asyncio.get_running_loop())

    def run() -> None:
        with outcome:
            outcome.value = work()

    threading.Thread(target=run, name=name, daemon=True).start()
    return outcome.future


class _Outcome(Generic[T]):
    """Carries the end of a thread over to the loop."""

    value: T

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.future: asyncio.Future[T] = loop.create_future()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        with contextlib.suppress(RuntimeError):  # the loop was closed, and nobody asks any more
            self._loop.call_soon_threadsafe(self._settle, error)
        return True

    def _settle(self, error: BaseException | None) -> None:
        if self.future.done():  # cancelled meanwhile
            return
        if error is None:
            self.future.set_result(self.value)
        else:
            self.future.set_exception(error)
