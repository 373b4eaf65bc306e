"""
Leases: the right of one request to use one Instance.

Callback style, so that the hot path needs no task: `ask` may call the waiter back before it returns.
"""

from __future__ import annotations

from typing import Protocol

from corral.domain.errors import CorralError
from corral.domain.instance import InstanceView
from corral.domain.launch import Endpoint


class Lease(Protocol):
    """Held from `granted` until `release`. While it is held its instance is not evicted."""

    @property
    def instance(self) -> str:
        """The instance's id."""
        ...

    @property
    def endpoint(self) -> Endpoint:
        """Where to send the request."""
        ...

    @property
    def waited_s(self) -> float:
        """How long the request waited for this lease."""
        ...

    def release(self, *, broken: bool = False) -> None:
        """Give it back; a second call does nothing. `broken`: the engine's connection failed."""
        ...


class Waiter(Protocol):
    """Who asked. Exactly one of the two is called, at most once, unless the ticket was left before."""

    def granted(self, lease: Lease) -> None:
        """The lease is there; the waiter owns it now."""
        ...

    def refused(self, error: CorralError) -> None:
        """There will be no lease."""
        ...


class Ticket(Protocol):
    """A place in the queue."""

    def leave(self) -> None:
        """Give the place up. Harmless after a grant or refusal (a granted lease must still be released)."""
        ...

    def position(self) -> int | None:
        """1 for the next in line for this Model; None when it is not waiting."""
        ...


class Leases(Protocol):
    """The scheduler as the gateway sees it."""

    def ask(
        self,
        waiter: Waiter,
        *,
        model: str,
        caller: str,
        timeout_s: float,
        weight: int = 1,
        operator: bool = False,
    ) -> Ticket:
        """Ask for a lease on `model` (a Model's own name). May call the waiter before it returns."""
        ...

    def view(self, model: str) -> InstanceView | None:
        """The Model's state now; None for an unknown Model. Never waits."""
        ...

    def views(self) -> list[InstanceView]:
        """All Models' states now, in the order of the Fleet."""
        ...
