"""The one Publisher: notices go to every subscriber, in order, on the serving loop."""

from __future__ import annotations

import asyncio
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
        self._subscribers: tuple[tuple[Subscriber, tuple[type, ...]], ...] = ()
        self._by_kind: dict[type, tuple[Subscriber, ...]] = {}

    def subscribe(self, subscriber: Subscriber, *kinds: type) -> None:
        """Add one; from now on it sees every notice, or every one of these kinds."""
        self._subscribers = (*self._subscribers, (subscriber, kinds))
        self._by_kind.clear()

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Remove one; unknown ones are ignored."""
        self._subscribers = tuple(known for known in self._subscribers if known[0] is not subscriber)
        self._by_kind.clear()

    def publish(self, notice: Notice) -> None:
        """Deliver to every subscriber before returning."""
        kind = type(notice)
        subscribers = self._by_kind.get(kind)
        if subscribers is None:
            subscribers = tuple(each for each, kinds in self._subscribers if not kinds or kind in kinds)
            self._by_kind[kind] = subscribers
        for subscriber in subscribers:
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
            self.unsubscribe(take)
