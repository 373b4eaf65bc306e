"""
The scheduler's owner: one inbox, one machine, no locks.

Everything that can change the scheduler's state goes through `submit`, one event after the other, on the serving loop's
thread. The machine answers with commands; quick ones are done here (grant, refuse, timer), slow ones become tasks of
`Instances` and come back as events. A read that gates a change happens in the machine, never here.

The hot path makes no task: `ask` on a ready Model calls the waiter before it returns. Where nothing has to be decided
(a slot is free and nobody waits) it makes no event either: the machine is asked for just that.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from corral.contracts.clock import Clock
from corral.contracts.events import Publisher
from corral.contracts.leases import Lease, Waiter
from corral.domain import commands, events
from corral.domain.errors import CorralError
from corral.domain.fleet import ModelSpec
from corral.domain.instance import InstanceState, InstanceView
from corral.domain.launch import Endpoint, LoadWish
from corral.domain.queue import CallerView, WaitingView
from corral.domain.serving import Caller
from corral.scheduler.instances import Instances
from corral.scheduler.machine import Machine


class GrantedLease(msgspec.Struct, gc=False):
    """A Lease as the gateway holds it. Giving it back twice is harmless."""

    owner: Scheduler | None
    request: int
    instance: str
    endpoint: Endpoint
    waited_s: float

    def release(self, *, broken: bool = False) -> None:
        """Give it back; a second call does nothing."""
        owner, self.owner = self.owner, None
        if owner is not None:
            owner.release(self.request, broken)


class Place:
    """A Ticket: the waiter's place in the queue."""

    __slots__ = ("_owner", "request")

    def __init__(self, owner: Scheduler, request: int) -> None:
        self._owner = owner
        self.request = request

    def leave(self) -> None:
        """Give the place up; a lease that was granted but not yet delivered is given back."""
        self._owner.left(self.request)

    def position(self) -> int | None:
        """1 for the next in line."""
        return self._owner.machine.position(self.request)

    def expected_wait_s(self) -> float | None:
        """How much longer it will wait, from what was measured."""
        return self._owner.expected_wait_s(self.request)

    def view(self) -> InstanceView | None:
        """What it waits for."""
        return self._owner.machine.awaited(self.request)


class Scheduler:
    """Implements `contracts.leases.Leases` over the machine."""

    def __init__(self, machine: Machine, instances: Instances, *, clock: Clock, publisher: Publisher) -> None:
        self.machine = machine
        self.finished = asyncio.Event()
        self.survey: Callable[[ModelSpec], None] = lambda model: None
        """Where Models go of which the machine wants to know what their start takes; who wires it sets it."""
        self.fetch: Callable[[commands.Fetch], None] = lambda command: None
        """Where Models go whose files are not here; who wires it sets it, and `end_fetch`."""
        self.end_fetch: Callable[[str], None] = lambda fetch: None
        self._instances = instances
        self._clock = clock
        self._publisher = publisher
        self._inbox: deque[events.SchedulerEvent] = deque()
        self._busy = False
        self._numbers = itertools.count(1)
        self._waiters: dict[int, Waiter] = {}
        self._left: list[int] = []  # waiters that have left and are not told yet
        self._timer: asyncio.TimerHandle | None = None
        self._direct: commands.Grant | commands.Refuse | None = None
        self._asking: int = 0
        self._answered = Place(self, 0)  # the ticket of whoever had its answer at once: there is nothing to leave
        instances.report = self.submit

    # --- Leases ---------------------------------------------------------------------------------------------------

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
    ) -> Place:
        """See `contracts.leases.Leases.ask`. A waiter's own error leaves through here, after the state is whole."""
        request, now = next(self._numbers), self._clock.now()
        if weight and keep_s is None and wish is None and not self._busy and not self._left:
            instance = self.machine.grant(request, model, caller, now)
            if instance is not None:
                waiter.granted(GrantedLease(self, request, instance.id, instance.endpoint, 0.0))
                return self._answered
        deadline = now + timeout_s
        event = events.Requested(request, model, caller, deadline, weight, operator, keep_s, wish)
        if self._busy:  # asked from inside a command: the answer comes by the event loop
            self._waiters[request] = waiter
            self._inbox.append(event)
            return Place(self, request)
        self._asking = request
        self.submit(event)
        self._asking = 0
        answer, self._direct = self._direct, None
        if answer is None:
            self._waiters[request] = waiter
            return Place(self, request)
        self._deliver(waiter, answer)
        return self._answered

    def keep(self, model: str, keep_s: float) -> None:
        """See `contracts.leases.Leases.keep`."""
        self.submit(events.KeepWanted(model, keep_s))

    def release(self, request: int, broken: bool) -> None:
        """A lease comes back."""
        quick = not (broken or self._busy or self._left)
        if not quick or not self.machine.give_back(request, self._clock.now()):
            self.submit(events.LeaseReleased(request, broken))

    def left(self, request: int) -> None:
        """The caller is gone."""
        if self._waiters.pop(request, None) is not None:
            if not self._left:
                asyncio.get_running_loop().call_soon(self._tell_left)
            self._left.append(request)

    def _tell_left(self) -> None:
        """Thousands may leave in one turn of the event loop: they are told together, before anything else is."""
        if self._left:
            left, self._left = tuple(self._left), []
            self.submit(events.RequestsLeft(left))

    def view(self, model: str, instance: str = "") -> InstanceView | None:
        """The Model's state now, or that of one of its instances."""
        return self.machine.view(model, instance)

    def views(self) -> list[InstanceView]:
        """All Models' states now."""
        return self.machine.views()

    def present(self) -> list[InstanceView]:
        """Of those Models alone that have an engine, or waiters."""
        return self.machine.present()

    def states(self) -> list[tuple[str, InstanceState]]:
        """All Models' states and nothing else of them."""
        return self.machine.states()

    def held(self) -> list[tuple[str, str, Mapping[str, int]]]:
        """(Model, instance, bytes by device) that all engines are counted with."""
        return self.machine.held()

    def used(self) -> dict[str, int]:
        """Bytes by device that all engines are counted with."""
        return self.machine.used()

    def waiters(self) -> list[WaitingView]:
        """Everyone who waits now."""
        return self.machine.waiters(self._clock.now())

    def callers(self) -> list[CallerView]:
        """Who has anything in hand now."""
        return self.machine.callers()

    def newcomers_wait_s(self, models: Iterable[str]) -> dict[str, float | None]:
        """What requests that came now could expect."""
        return self.machine.newcomers_wait_s(models, self._clock.now())

    def expected_wait_s(self, request: int) -> float | None:
        """How much longer this one will wait."""
        return self.machine.expected_wait_s(request, self._clock.now())

    # --- events in, commands out ----------------------------------------------------------------------------------

    def submit(self, event: events.SchedulerEvent) -> None:
        """Give the machine one event; called again from inside, it queues behind the one being handled."""
        if self._busy:
            self._inbox.append(event)
            return
        if self._left:
            self._tell_left()
        self._busy = True
        try:
            while True:
                for command in self.machine.step(event, self._clock.now()):
                    self._act(command)
                if not self._inbox:
                    return
                event = self._inbox.popleft()
        finally:
            self._busy = False

    def _act(self, command: commands.Command) -> None:
        match command:
            case commands.Grant() | commands.Refuse():
                if command.request == self._asking:
                    self._direct = command
                else:
                    # By way of the event loop, so that a waiter's error cannot tear the machine's commands apart.
                    asyncio.get_running_loop().call_soon(self._answer, command)
            case commands.Tell():
                self._publisher.publish(command.notice)
            case commands.Wake():
                self._set_timer(command.at)
            case commands.Survey():
                self.survey(command.model)
            case commands.Fetch():
                self.fetch(command)
            case commands.EndFetch():
                self.end_fetch(command.fetch)
            case commands.Start():
                self._instances.start(command)
            case commands.Stop():
                self._instances.stop(command.instance, force=command.force)
            case commands.Check():
                self._instances.check(command.instance)
            case commands.Finished():
                self.finished.set()

    def _answer(self, command: commands.Grant | commands.Refuse) -> None:
        waiter = self._waiters.pop(command.request, None)
        if waiter is not None:
            self._deliver(waiter, command)

    def _deliver(self, waiter: Waiter, command: commands.Grant | commands.Refuse) -> None:
        if isinstance(command, commands.Grant):
            waiter.granted(GrantedLease(self, command.request, command.instance, command.endpoint, command.waited_s))
        else:
            waiter.refused(command.error)

    def _set_timer(self, at: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if at is not None and at != float("inf"):
            delay = max(0.0, at - self._clock.now())
            self._timer = asyncio.get_running_loop().call_later(delay, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.submit(events.Tick())

    # --- the end --------------------------------------------------------------------------------------------------

    async def shutdown(self, *, drain_s: float) -> None:
        """Refuse what waits, let leases end for `drain_s`, stop every instance; returns when none is left."""
        self.submit(events.ShutdownWanted(self._clock.now() + drain_s))
        async with asyncio.timeout(drain_s + STOP_MARGIN_S):
            await self.finished.wait()

    async def aclose(self) -> None:
        """Drop the timer and the tasks. Instances that still run are the runtimes' business now."""
        self._set_timer(None)
        self._left.clear()
        await self._instances.aclose()


STOP_MARGIN_S: Final = 20.0
"""After the drain: how long all engines together may take to be gone (grace 2 s, SIGKILL, reaping)."""


class LeaseWaiter:
    """A Waiter for code that awaits: `corral load`, tests. The hot path implements Waiter itself."""

    def __init__(self) -> None:
        self._answer: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()

    def granted(self, lease: Lease) -> None:
        """Pass it on, or give it back when nobody waits any more."""
        if self._answer.cancelled():
            lease.release()
        else:
            self._answer.set_result(lease)

    def refused(self, error: CorralError) -> None:
        """Pass it on."""
        if not self._answer.cancelled():
            self._answer.set_exception(error)

    async def result(self) -> Lease:
        """The lease. Raises the refusal. Cancelling it leaves the rest to `Place.leave`."""
        return await self._answer
