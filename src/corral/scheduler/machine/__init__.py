"""
The scheduler's machine: events in, commands out. It decides who runs, who waits, who leaves, and does nothing itself.

No I/O, no clock, no tasks: `step` takes the time as an argument. `corral/scheduler/design.md` explains the rules.
The parts: `state` (what is known), `leasing` (requests and leases), `callers` (what each has in hand), `inline` (what
those in line need), `fetching` (files that are not here), `loading` (who starts, and who leaves for it), `stopping`,
`failing`, `reload`, `timers`, `measured`, `views`, `outlook`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from corral.domain.commands import Command, Grant
from corral.domain.events import (
    FetchProgressed,
    FilesCame,
    FilesFailed,
    FleetChanged,
    InstanceAdopted,
    InstanceChecked,
    InstanceExited,
    InstanceFailed,
    InstanceMeasured,
    InstanceProgressed,
    InstanceReady,
    InstanceStopped,
    KeepWanted,
    LeaseReleased,
    MemoryChanged,
    ModelsSurveyed,
    Requested,
    RequestsLeft,
    SchedulerEvent,
    ShutdownWanted,
    Tick,
    UnloadWanted,
)
from corral.domain.instance import InstanceState, InstanceView
from corral.domain.queue import CallerView, WaitingView
from corral.domain.serving import Caller
from corral.scheduler.machine import failing, fetching, leasing, loading, outlook, reload, stopping, views
from corral.scheduler.machine.outlook import Outlook
from corral.scheduler.machine.state import READY, STARTING, Alarm, Instance, ModelState, World


class Machine:
    """All state of the scheduler. One owner calls `step`, one event after the other, with times that never go back."""

    def __init__(self, *, id_prefix: str) -> None:
        self._world = World(id_prefix=id_prefix)

    def step(self, event: SchedulerEvent, now: float) -> list[Command]:
        """What is to be done about it, in order."""
        if type(event) is Requested:
            if event.weight and event.keep_s is None and event.wish is None:
                instance = self.grant(event.request, event.model, event.caller, now)
                if instance is not None:
                    return [Grant(event.request, instance.id, instance.endpoint, 0.0)]
        elif type(event) is LeaseReleased and not event.broken and self.give_back(event.request, now):
            return []
        return self._step(event, now)

    # The hot path: nothing waits for this Model, so nothing but counters changes. Everything else is in `_step`.

    def grant(self, request: int, model: str, caller: Caller, now: float) -> Instance | None:
        """`Requested`, where a slot is free and nothing has to be decided: whose it is. Else None, and no change."""
        world = self._world
        found = world.models.get(model)
        if found is None or caller.max_concurrent:
            return None
        instance = found.serving
        if instance is None or instance.used >= instance.slots:
            return None
        instance.used += 1
        world.leases[request] = instance, caller, now
        return instance

    def give_back(self, request: int, now: float) -> bool:
        """`LeaseReleased`, where nobody waits for the slot and nothing has to be decided. Else False, and no change."""
        world = self._world
        held = world.leases.get(request)
        if held is None:
            return False
        instance, caller, since = held
        if instance.state is not READY or instance.model.queue or caller.max_concurrent:
            return False
        if instance.used == 1:
            if world.watch_idle or not instance.timed:
                return False
            instance.idle_since = now
        del world.leases[request]
        instance.used -= 1
        instance.returned += 1
        instance.slot_s += now - since
        return True

    def _step(self, event: SchedulerEvent, now: float) -> list[Command]:
        world = self._world
        world.now = now
        world.out = []
        _HANDLERS[type(event)](world, event)
        leasing.unpark(world)
        fetching.refuse_barred(world)
        while world.dirty or world.joined:
            if world.dirty:
                loading.settle(world)
            else:
                loading.join(world)
            leasing.unpark(world)  # who was refused by the plan has left his pass to another
            fetching.refuse_barred(world)
        stopping.finish(world)
        world.rearm()
        return world.out

    def view(self, model: str, instance: str = "") -> InstanceView | None:
        """One Model's state, by the way in which this instance has it loaded; None for a Model not in the Fleet."""
        one = self._world.instances.get(instance) if instance else None
        if one is not None and not one.model.removed:
            return views.view(one.model)
        found = self._world.models.get(model)
        return None if found is None or found.removed else views.view(views.face(found))

    def views(self) -> list[InstanceView]:
        """All Models' states, in the order of the Fleet, each with the other ways in which it is loaded."""
        models = self._world.models
        return [views.view(way) for name in self._world.order for way in views.shown(models[name])]

    def present(self) -> list[InstanceView]:
        """The states of those Models alone that have an engine, a fetch or waiters. The idle thousands cost nothing."""
        world = self._world
        found = {each.model: None for each in world.instances.values()}
        found.update((each, None) for each in world.fetches.values())
        found.update((each.model, None) for each in world.waiting.values())
        return [views.view(model) for model in found if not model.removed]

    def states(self) -> list[tuple[str, InstanceState]]:
        """All Models' states and nothing else of them, in the order of the Fleet."""
        models = self._world.models
        return [(name, views.state(views.face(models[name]))) for name in self._world.order]

    def held(self) -> list[tuple[str, str, Mapping[str, int]]]:
        """(Model, instance, bytes by device) of all engines: those beside a successor, and those of removed Models."""
        return [(each.model.name, each.id, each.holds) for each in self._world.instances.values()]

    def used(self) -> dict[str, int]:
        """Bytes by device that all engines are counted with, those that leave too."""
        return dict(self._world.used)

    def position(self, request: int) -> int | None:
        """1 for the next in line for its Model; None when it does not wait."""
        waiter = self._world.waiting.get(request)
        if waiter is None:
            return None
        return next(n for n, each in enumerate(outlook.in_turn(self._world, waiter.model), 1) if each is waiter)

    def awaited(self, request: int) -> InstanceView | None:
        """The state of what it waits for; None when it does not."""
        waiter = self._world.waiting.get(request)
        return None if waiter is None else views.view(waiter.model)

    def expected_wait_s(self, request: int, now: float) -> float | None:
        """How much longer it will wait; None when it does not, or where too little has been measured."""
        waiter = self._world.waiting.get(request)
        if waiter is None:
            return None
        listed = Outlook(self._world, now).waiters(waiter.model)
        return next(view.expected_s for view in listed if view.request == request)

    def waiters(self, now: float) -> list[WaitingView]:
        """Everyone who waits: the Models in the order of the Fleet, each in the order in which it would serve them."""
        look = Outlook(self._world, now)
        return [view for model in self._world.every() if model.waiting for view in look.waiters(model)]

    def newcomers_wait_s(self, models: Iterable[str], now: float) -> dict[str, float | None]:
        """What a request that came now could expect, by Model; None where too little has been measured."""
        look = Outlook(self._world, now)
        known = self._world.models
        return {name: look.newcomer_s(known[name]) for name in models if name in known}

    def callers(self) -> list[CallerView]:
        """Who has anything in hand. Looks at all leases and waiters: for scrapes and people."""
        world = self._world
        leases = Counter(caller.name for _, caller, _ in world.leases.values())
        waiting = Counter(waiter.caller.name for waiter in world.waiting.values())
        return [CallerView(name, leases[name], waiting[name]) for name in {**leases, **waiting}]

    @property
    def queue_total(self) -> int:
        """How many requests wait, for all Models together."""
        return len(self._world.waiting)


def _requests_left(world: World, event: RequestsLeft) -> None:
    for request in event.requests:
        waiter = world.waiting.get(request)
        if waiter is not None:
            leasing.leave(world, waiter)
        else:  # the grant was already on its way
            stopping.released(world, LeaseReleased(request))


def _instance_checked(world: World, event: InstanceChecked) -> None:
    instance = world.instances.get(event.instance)
    if instance is not None:  # else it was stopped in the meantime
        leasing.cleared(world, instance)


def _instance_progressed(world: World, event: InstanceProgressed) -> None:
    instance = world.instances.get(event.instance)
    if instance is not None and instance.state is STARTING:
        instance.progress = event.progress


def _shutdown_wanted(world: World, event: ShutdownWanted) -> None:
    stopping.shut_down(world, event.deadline)
    reload.adopt_found(world)  # shut down before there was a Fleet: they are stopped like everything else


def _tick(world: World, event: Tick) -> None:
    world.armed = None
    for key in world.timers.due(world.now):
        if isinstance(key, ModelState):
            leasing.expire(world, key)
            failing.retry_pinned(world, key)
        elif key is Alarm.HOT:
            world.dirty = True
        elif key is Alarm.CLOSING:
            stopping.cut_leases(world)
        elif not isinstance(key, Alarm):
            stopping.watch_ttl(world, key)


_HANDLERS: Final[dict[type, Callable[[World, Any], None]]] = {
    Requested: leasing.request,
    RequestsLeft: _requests_left,
    LeaseReleased: stopping.released,
    FetchProgressed: fetching.progressed,
    FilesCame: fetching.came,
    FilesFailed: fetching.failed,
    InstanceReady: loading.ready,
    InstanceProgressed: _instance_progressed,
    InstanceFailed: failing.failed,
    InstanceExited: failing.exited,
    InstanceStopped: stopping.stopped,
    InstanceChecked: _instance_checked,
    InstanceAdopted: reload.adopt,
    FleetChanged: reload.fleet_changed,
    ModelsSurveyed: reload.surveyed,
    MemoryChanged: reload.memory_changed,
    InstanceMeasured: reload.measured,
    KeepWanted: stopping.keep,
    UnloadWanted: stopping.unload,
    ShutdownWanted: _shutdown_wanted,
    Tick: _tick,
}
