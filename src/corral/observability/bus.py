"""The one Publisher: notices go to every subscriber, in order, on the serving loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator
from typing import Final

from corral.contracts.events import Subscriber
from corral.domain.events import Notice

FEED_LIMIT: Final = 1000
"""Notices held for one slow reader of the live feed before the oldest are dropped."""


class Bus:
    """Implements `contracts.events.Publisher`."""

    def __init__(self) -> None:
        self._subscribers: tuple[Subscriber, ...] = ()

    def subscribe(self, subscriber: Subscriber) -> None:
        """Add one; it sees every notice from now on."""
        self._subscribers = (*self._subscribers, subscriber)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Remove one; unknown ones are ignored."""
        self._subscribers = tuple(known for known in self._subscribers if known is not subscriber)

    def publish(self, notice: Notice) -> None:
        """Deliver to every subscriber before returning."""
        for subscriber in self._subscribers:
            subscriber(notice)

    async def feed(self) -> AsyncGenerator[Notice, None]:
        """Notices from now on, for one reader; a slow reader loses the oldest, never slows the rest."""
        waiting: deque[Notice] = deque(maxlen=FEED_LIMIT)
        arrived = asyncio.Event()

        def take(notice: Notice) -> None:
            waiting.append(notice)
            arrived.set()

        self.subscribe(take)
        try:
            while True:
                await arrived.wait()
                arrived.clear()
                while waiting:
                    yield waiting.popleft()
        finally:
            with contextlib.suppress(ValueError):
                self.unsubscribe(take)
