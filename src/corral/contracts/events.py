"""Publishing notices: subscribers must be quick and must not raise."""

from __future__ import annotations

from typing import Protocol

from corral.domain.events import Notice


class Publisher(Protocol):
    """Where rooms tell what happened."""

    def publish(self, notice: Notice) -> None:
        """Deliver to every subscriber, in order, before returning. Never raises, never waits."""
        ...


class Subscriber(Protocol):
    """Something that counts, logs or shows notices."""

    def __call__(self, notice: Notice, /) -> None:
        """Take one notice. Runs on the serving loop: microseconds only."""
        ...
