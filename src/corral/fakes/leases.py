"""
Leases without a scheduler: engines that simply are there.

Models are given an endpoint; a lease is granted at once, or when a test says so (`hold`, `grant_all`). What was asked
and given back is on record.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

from corral.contracts.leases import Waiter
from corral.domain.errors import CorralError, UnknownModel
from corral.domain.instance import InstanceState, InstanceView
from corral.domain.launch import Endpoint, LoadWish
from corral.domain.queue import WaitingView
from corral.domain.serving import Caller


@dataclass(slots=True, eq=False)
class FakeLease:
    """A lease on an endpoint; remembers how it was released."""

    owner: FakeLeases
    model: str
    instance: str
    endpoint: Endpoint
    waited_s: float = 0.0
    released: bool = False
    broken: bool = False

    def release(self, *, broken: bool = False) -> None:
        """Give it back; once."""
        if not self.released:
            self.released = True
            self.broken = broken
            self.owner.held.discard(self)
            if broken:
                self.owner.broken += 1


@dataclass(slots=True, eq=False)
class FakeTicket:
    """A place among those that wait."""

    owner: FakeLeases
    waiter: Waiter
    model: str
    timeout_s: float
    weight: int
    caller: str
    request: int

    def leave(self) -> None:
        """Stop waiting."""
        if self in self.owner.waiting:
            self.owner.waiting.remove(self)
            self.owner.left += 1

    def position(self) -> int | None:
        """1 for the next in line."""
        return self.owner.waiting.index(self) + 1 if self in self.owner.waiting else None

    def expected_wait_s(self) -> float | None:
        """Nothing is measured here."""
        return None

    def view(self) -> InstanceView | None:
        """Its Model's."""
        return self.owner.view(self.model)


@dataclass(slots=True)
class FakeLeases:
    """
    Implements `contracts.leases.Leases`.

    `hold` True lets everybody wait until `grant_all` or `refuse_all`. `refuse_with` refuses at once. A Model without an
    endpoint is shown as stopped. `shown` are views in place of those, `waited_s` and `expected_s` what waits have taken
    and will.
    """

    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    hold: bool = False
    refuse_with: CorralError | None = None
    waiting: list[FakeTicket] = field(default_factory=list)
    held: set[FakeLease] = field(default_factory=set)
    asked: int = 0
    granted: int = 0
    broken: int = 0
    left: int = 0
    weights: list[int] = field(default_factory=list)
    keeps: list[float | None] = field(default_factory=list)
    kept: list[tuple[str, float]] = field(default_factory=list)
    wishes: list[LoadWish | None] = field(default_factory=list)
    callers: list[str] = field(default_factory=list)
    generation: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    instances: dict[str, str] = field(default_factory=dict)
    shown: dict[str, InstanceView] = field(default_factory=dict)
    waited_s: float = 0.0
    expected_s: float | None = None

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
    ) -> FakeTicket:
        """Grant, refuse or let wait, as the fields say."""
        self.asked += 1
        self.weights.append(weight)
        self.keeps.append(keep_s)
        self.wishes.append(wish)
        self.callers.append(caller.name)
        ticket = FakeTicket(self, waiter, model, timeout_s, weight, caller.name, self.asked)
        if self.hold:
            self.waiting.append(ticket)
        elif self.refuse_with is not None:
            waiter.refused(self.refuse_with)
        else:
            self._grant(ticket)
        return ticket

    def keep(self, model: str, keep_s: float) -> None:
        """Note it."""
        self.kept.append((model, keep_s))

    def grant_all(self) -> None:
        """Everybody who waits gets a lease."""
        waiting, self.waiting = self.waiting, []
        for ticket in waiting:
            self._grant(ticket)

    def refuse_all(self, error: CorralError) -> None:
        """Everybody who waits is refused."""
        waiting, self.waiting = self.waiting, []
        for ticket in waiting:
            ticket.waiter.refused(error)

    def _grant(self, ticket: FakeTicket) -> None:
        endpoint = self.endpoints.get(ticket.model)
        if endpoint is None:
            ticket.waiter.refused(UnknownModel(ticket.model))
            return
        self.granted += 1
        lease = FakeLease(self, ticket.model, self.instance(ticket.model), endpoint, self.waited_s)
        self.held.add(lease)
        ticket.waiter.granted(lease)

    def instance(self, model: str) -> str:
        """The id of the Model's present instance."""
        return self.instances.setdefault(model, f"{model}-{next(self.generation)}")

    def move(self, model: str, endpoint: Endpoint) -> None:
        """The Model's engine was started anew, elsewhere."""
        self.endpoints[model] = endpoint
        self.instances.pop(model, None)

    def view(self, model: str, instance: str = "") -> InstanceView | None:
        """Ready where there is an endpoint, else stopped."""
        if model in self.shown:
            return self.shown[model]
        if model not in self.endpoints:
            return InstanceView(model=model, instance="", state=InstanceState.STOPPED, wanted=True)
        leases = sum(lease.model == model for lease in self.held)
        return InstanceView(model=model, instance=self.instance(model), state=InstanceState.READY, leases=leases)

    def views(self) -> list[InstanceView]:
        """All Models with an endpoint."""
        return [view for model in self.endpoints if (view := self.view(model)) is not None]

    def waiters(self) -> list[WaitingView]:
        """Those that `hold` keeps."""
        return [
            WaitingView(ticket.request, ticket.model, ticket.caller, 0, n, self.waited_s, self.expected_s)
            for n, ticket in enumerate(self.waiting, 1)
        ]

    def newcomers_wait_s(self, models: Iterable[str]) -> dict[str, float | None]:
        """Nothing is measured here."""
        return dict.fromkeys(models)
