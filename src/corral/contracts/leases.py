"""
Leases: the right of one request to use one Instance.

Callback style, so that the hot path needs no task: `ask` may call the waiter back before it returns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from corral.domain.errors import CorralError
from corral.domain.instance import InstanceView
from corral.domain.launch import Endpoint, LoadWish
from corral.domain.queue import WaitingView
from corral.domain.serving import Caller


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

    @property
    def request(self) -> int:
        """The number that it has in `Leases.waiters`."""
        ...

    def leave(self) -> None:
        """Give the place up. Harmless after a grant or refusal (a granted lease must still be released)."""
        ...

    def position(self) -> int | None:
        """1 for the next in line for this Model; None when it is not waiting."""
        ...

    def expected_wait_s(self) -> float | None:
        """How much longer, from measured loads and answers; None where too little is measured, or nothing waits."""
        ...

    def view(self) -> InstanceView | None:
        """What it waits for: the Model as it is to be loaded for it. None when it is not waiting. Never waits."""
        ...


class Leases(Protocol):
    """The scheduler as the gateway sees it."""

    def ask(
        self,
        waiter: Waiter,
        *,
        model: str,
        caller: Caller,
        timeout_s: float,
        weight: int = 1,
        operator: bool = False,
        keep_s: float | None = None,
        wish: LoadWish | None = None,
    ) -> Ticket:
        """
        Ask for a lease on `model` (a Model's own name). May call the waiter before it returns.

        `keep_s`: how long the instance that serves it stays once it is idle, as far as the operator allows; None
        changes nothing. `wish`: what the Model shall be loaded with, as its engine reads the request.
        """
        ...

    def keep(self, model: str, keep_s: float) -> None:
        """
        What runs of this Model stays only this long once it is idle, as far as the operator allows.

        Loads nothing, and takes nothing from those who use it or wait for it.
        """
        ...

    def view(self, model: str, instance: str = "") -> InstanceView | None:
        """
        The Model's state now; None for an unknown Model. `instance`: of this one, where a Model is loaded in more ways
        than one, as long as it is there. Never waits.
        """
        ...

    def views(self) -> list[InstanceView]:
        """All Models' states now, in the order of the Fleet."""
        ...

    def waiters(self) -> list[WaitingView]:
        """Everyone who waits: Models in the order of the Fleet, each in the order in which it would serve them."""
        ...

    def newcomers_wait_s(self, models: Iterable[str]) -> Mapping[str, float | None]:
        """What a request that came now could expect to wait, by Model; None where too little has been measured."""
        ...
