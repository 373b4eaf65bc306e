"""What a client connection asks of whoever serves its present request."""

from __future__ import annotations

from typing import Protocol


class Serving(Protocol):
    """What is being done about the present request."""

    def gone(self) -> None:
        """The client has left: stop, give everything back."""
        ...

    def pause(self) -> None:
        """The client reads too slowly: write no more for now."""
        ...

    def resume(self) -> None:
        """Go on writing."""
        ...


class Timed(Serving, Protocol):
    """Serving with deadlines of its own."""

    def overdue(self, now: float) -> float:
        """A deadline may have passed: act if so, and say when to ask again."""
        ...
