"""
Callers: how much each has in hand, and those of its requests that its own bound keeps out of every line.

A caller with `max_concurrent` has that many passes. A request in line has one, and keeps it with its lease. Who finds
none left is *parked*: admitted, with a place and a deadline, but in no line, so it delays nobody, keeps no Model hot
and causes no load. When a pass comes back, the one that was parked first gets it. That a request in line counts is what
makes it first come, first served over all Models: else a caller's steady requests for a Model that is ready would keep
its own for another one out for ever.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from corral.domain.serving import Caller

if TYPE_CHECKING:
    from corral.scheduler.machine.state import ModelState, Waiter


@dataclass(slots=True, eq=False)
class Account:
    """What one caller has in hand. It is kept only while that is anything."""

    name: str
    waiting: int = 0  # for all Models, parked ones included
    places: dict[ModelState, int] = field(default_factory=dict)  # the same by Model
    passes: int = 0  # in line or leased, of requests that came with a bound
    parked: OrderedDict[int, Waiter] = field(default_factory=OrderedDict)  # by request, in order of arrival


class Accounts:
    """The callers that have anything in hand."""

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}
        self.freed: dict[str, None] = {}  # whose passes have come back while somebody waits for them

    def find(self, name: str) -> Account | None:
        """None for a caller that has nothing in hand."""
        return self._accounts.get(name)

    def all(self) -> list[Account]:
        """Everybody who has something in hand."""
        return list(self._accounts.values())

    def waiting(self, caller: Caller, model: ModelState) -> tuple[int, int]:
        """How many of its requests wait for this Model, and for all."""
        account = self._accounts.get(caller.name)
        return (account.places.get(model, 0), account.waiting) if account is not None else (0, 0)

    def came(self, waiter: Waiter) -> None:
        """One more of its requests waits."""
        account = self._open(waiter.caller.name)
        account.waiting += 1
        account.places[waiter.model] = account.places.get(waiter.model, 0) + 1

    def went(self, waiter: Waiter) -> None:
        """One waits no more, whatever came of it."""
        account = self._accounts[waiter.caller.name]
        account.waiting -= 1
        account.places[waiter.model] -= 1
        if not account.places[waiter.model]:
            del account.places[waiter.model]
        if waiter.parked:
            del account.parked[waiter.request]
        self._close(account)

    def take_pass(self, caller: Caller) -> bool:
        """A pass for one more request; False where its own bound is reached."""
        if not caller.max_concurrent:
            return True
        account = self._open(caller.name)
        # Who is parked comes first, also when a bound has become larger and its pass has not been given yet.
        if account.passes >= caller.max_concurrent or account.parked:
            return False
        account.passes += 1
        return True

    def give_pass_back(self, caller: Caller) -> None:
        """A request with a pass has ended, or waits no more."""
        if caller.max_concurrent:
            account = self._accounts[caller.name]
            account.passes -= 1
            if account.parked:
                self.freed[caller.name] = None
            self._close(account)

    def park(self, waiter: Waiter) -> None:
        """It has to wait for a pass."""
        waiter.parked = True
        self._accounts[waiter.caller.name].parked[waiter.request] = waiter

    def unpark(self) -> Waiter | None:
        """Somebody who waited for a pass and has it now; None when there is nobody."""
        while self.freed:
            account = self._accounts.get(next(iter(self.freed)))
            if account is not None and account.parked:
                waiter = next(iter(account.parked.values()))
                if account.passes < waiter.caller.max_concurrent:
                    account.passes += 1
                    del account.parked[waiter.request]
                    waiter.parked = False
                    return waiter
            del self.freed[next(iter(self.freed))]
        return None

    def _open(self, name: str) -> Account:
        account = self._accounts.get(name)
        if account is None:
            account = self._accounts[name] = Account(name)
        return account

    def _close(self, account: Account) -> None:
        if not account.waiting and not account.passes:
            del self._accounts[account.name]
