"""
Tasks with a name and an owner. A bare `asyncio.create_task` may be garbage-collected and loses its error.

One of the three places where `except Exception` is meant: the guard logs what a task could not handle itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any

logger = logging.getLogger(__name__)


class Tasks:
    """The tasks of one owner. `aclose` cancels what is left and waits for it."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(
        self, coroutine: Coroutine[Any, Any, Any], *, name: str, failed: Callable[[Exception], None] | None = None
    ) -> asyncio.Task[Any]:
        """
        Run it now, under `owner: name`. An error that leaves it is logged, never lost.

        `failed` hears of it too: for tasks whose end somebody else waits for.
        """
        guarded = self._guard(coroutine, name, failed)
        task = asyncio.get_running_loop().create_task(guarded, name=f"{self.owner}: {name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: coroutine.close())  # cancelled before its first step, it was never awaited
        return task

    async def _guard(
        self, coroutine: Coroutine[Any, Any, Any], name: str, failed: Callable[[Exception], None] | None
    ) -> Any:
        try:
            return await coroutine
        except Exception as error:  # the task guard: one of the three doors
            logger.exception("%s: task %r failed", self.owner, name)
            if failed is not None:
                failed(error)
            return None

    def __len__(self) -> int:
        return len(self._tasks)

    async def aclose(self) -> None:
        """Cancel all and wait until they have ended."""
        while self._tasks:
            batch = list(self._tasks)
            for task in batch:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*batch, return_exceptions=True)
