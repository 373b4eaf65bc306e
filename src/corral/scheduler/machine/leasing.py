"""Leasing: requests get in line, get their lease or a refusal, leave, and give the lease back."""

from __future__ import annotations

import heapq
from collections import OrderedDict

from corral.domain.commands import Check, Grant, Refuse
from corral.domain.errors import CorralError, QueueFull, QueueTimeout, ShuttingDown, UnknownModel
from corral.domain.events import LeaseReleased, Requested
from corral.domain.serving import Caller
from corral.scheduler.machine import doubt, wishes
from corral.scheduler.machine.state import READY, Instance, MakeError, ModelState, Waiter, World
from corral.scheduler.policy.fair import UNKNOWN_COST_S
from corral.scheduler.policy.queue import queue_full, retry_after_s
from corral.scheduler.policy.waits import wait_at_full_slots_s


def request(world: World, event: Requested) -> None:
    """A request that the fast path could not serve at once."""
    model = world.models.get(event.model)
    assert event.request not in world.waiting, f"request {event.request} asks twice"
    if world.closing is not None:
        refuse(world, event.request, ShuttingDown())
    elif model is None or model.removed:
        refuse(world, event.request, UnknownModel(event.model))
    else:
        _serve(world, model, event)


def _serve(world: World, model: ModelState, event: Requested) -> None:
    if event.wish is not None:
        try:
            model = wishes.serving(world, model, event.wish)
        except QueueFull as full:
            return refuse(world, event.request, full)
    elif event.weight == 0 and not event.operator:
        model = wishes.running(model)
    if event.weight == 0 and model.serving is not None:
        _lease(world, event, 0, model.serving, 0.0)
    elif event.weight and (free := _with_free_slot(model)) is not None and world.accounts.take_pass(event.caller):
        _lease(world, event, event.weight, free, 0.0)
    elif (error := _no_place(world, model, event.caller, operator=event.operator)) is not None:
        refuse(world, event.request, error)
    else:
        if event.operator:
            doubt.by_hand(world, model)
        _enqueue(world, model, event)
    return None


def _no_place(world: World, model: ModelState, caller: Caller, *, operator: bool) -> CorralError | None:
    """Why the request cannot even wait."""
    unfetched = model.spec.source.wanting and model.current is None
    for failed in (model, model.root) if unfetched else (model,):  # the back-off after a fetch is for all its ways
        if failed.retry_at is not None:
            if world.now < failed.retry_at and not operator:
                assert failed.error is not None
                return again(failed.error, retry_after_s=failed.retry_at - world.now)
            failed.retry_at = None  # FAILED -> STARTING: the back-off is over, or an operator asks
    own, own_total = world.accounts.waiting(caller, model)
    full = queue_full(
        model.name,
        waiting=model.waiting,
        own=own,
        limit=model.spec.queue_limit or world.limits.queue_per_model,
        total=len(world.waiting),
        own_total=own_total,
        total_limit=world.limits.queue_total,
        own_limit=caller.max_waiting,
    )
    if full is not None:
        head = model.head
        full.retry_after_s = retry_after_s(_wait_of_the_last(model), world.now - head.since if head else 0.0)
    return full


def _wait_of_the_last(model: ModelState) -> float | None:
    """What the last in line may expect; None while the Model is not ready: a refusal must not cost a look at all."""
    instance = model.serving
    return wait_at_full_slots_s(len(model.queue), instance.slots, model.service_s()) if instance is not None else None


def _enqueue(world: World, model: ModelState, event: Requested) -> None:
    waiter = Waiter(
        event.request, model, event.caller, event.weight, world.now, event.deadline, 0, world.now, event.keep_s
    )
    world.waiting[event.request] = waiter
    world.accounts.came(waiter)
    _note_deadline(world, model, event)
    if event.weight and not world.accounts.take_pass(event.caller):
        world.accounts.park(waiter)
        model.parked[event.request] = waiter
    else:
        _get_in_line(world, waiter)


def _note_deadline(world: World, model: ModelState, event: Requested) -> None:
    deadlines = model.deadlines
    heapq.heappush(deadlines, (event.deadline, event.request))
    if len(deadlines) > 64 + 2 * model.waiting:  # mostly of those who have long been served
        model.deadlines = [each for each in deadlines if each[1] in world.waiting]
        heapq.heapify(model.deadlines)
    world.timers.ask(model, event.deadline)


def _get_in_line(world: World, waiter: Waiter) -> None:
    model = waiter.model
    waiter.since, waiter.arrival = world.now, world.next_arrival()
    mates = model.callers.get(waiter.caller.name)
    if mates is None:
        mates = model.callers[waiter.caller.name] = OrderedDict()
    mates[waiter.request] = waiter
    if waiter.weight:
        model.queue[waiter.request] = waiter
        model.fair.add(waiter, world.now)
        if model.fair.wants_holders:
            model.fair.hold_all(_holders(world, model), world.now, _cost_s(model))
    else:
        model.light[waiter.request] = waiter
    model.held = False
    if model.current is None:
        world.requeue(model, waiter.caller.name)


def unpark(world: World) -> None:
    """Passes have come back: those who waited for them get in line, or their slot where one is free."""
    while world.accounts.freed and (waiter := world.accounts.unpark()) is not None:
        model = waiter.model
        del model.parked[waiter.request]
        _get_in_line(world, waiter)
        serve(world, model)


def serve(world: World, model: ModelState) -> None:
    """Give leases to those who wait, as far as there are slots."""
    instance = model.serving
    if instance is None:
        return
    while model.light:
        _grant(world, next(iter(model.light.values())), instance)
    while model.queue and instance.used < instance.slots:
        _grant(world, model.fair.take(world.now, _cost_s(model)), instance, taken=True)


def _cost_s(model: ModelState) -> float:
    """Slot-seconds that a request of this Model is charged before it is known better."""
    service_s = model.service_s()
    return UNKNOWN_COST_S if service_s is None else service_s


def _holders(world: World, model: ModelState) -> list[tuple[str, int]]:
    """Who has leases on it, and which. The one place that looks at all leases: once for each time that callers meet."""
    return [(held[1].name, request) for request, held in world.leases.items() if held[0].model is model]


def _with_free_slot(model: ModelState) -> Instance | None:
    instance = model.serving
    return instance if instance is not None and instance.used < instance.slots else None


def _grant(world: World, waiter: Waiter, instance: Instance, *, taken: bool = False) -> None:
    _dequeue(world, waiter, taken=taken)
    _lease(world, waiter, waiter.weight, instance, world.now - waiter.asked_at)


def _lease(world: World, asked: Requested | Waiter, weight: int, instance: Instance, waited_s: float) -> None:
    request = asked.request
    if weight:
        instance.used += 1
        world.leases[request] = instance, asked.caller, world.now
    else:
        instance.light += 1
        world.light_leases[request] = instance
    if asked.keep_s is not None and asked.keep_s != instance.keep_s:
        # The timer that is set, if any, was for another time: its next idle moment is looked at.
        instance.keep_s, instance.timed = asked.keep_s, False
    world.out.append(Grant(request, instance.id, instance.endpoint, waited_s))


def _dequeue(world: World, waiter: Waiter, *, taken: bool = False) -> None:
    """It waits no more. `taken`: the fair queue has given it up already; its pass goes on with its lease."""
    model, request = waiter.model, waiter.request
    del world.waiting[request]
    if waiter.parked:
        del model.parked[request]
    else:
        mates = model.callers[waiter.caller.name]
        del mates[request]
        if not mates:
            del model.callers[waiter.caller.name]
        if waiter.weight:
            del model.queue[request]
            if not taken:
                model.fair.remove(waiter)
        else:
            del model.light[request]
    world.accounts.went(waiter)
    if not taken and waiter.weight and not waiter.parked:
        world.accounts.give_pass_back(waiter.caller)


def leave(world: World, waiter: Waiter) -> None:
    """A waiter is gone: its Model may go down the line, or out of it, or its load may serve nobody now."""
    model = waiter.model
    _dequeue(world, waiter)
    if model.removed or (model.serving is None and not waiter.parked):
        world.requeue(model, waiter.caller.name)


def expire(world: World, model: ModelState) -> None:
    """Refuse those whose deadline has come."""
    deadlines = model.deadlines
    while deadlines and (deadlines[0][0] <= world.now or deadlines[0][1] not in world.waiting):
        _, request = heapq.heappop(deadlines)
        waiter = world.waiting.get(request)
        if waiter is not None:
            leave(world, waiter)
            refuse(world, request, _too_late(world, waiter))
    if deadlines:
        world.timers.ask(model, deadlines[0][0])


def _too_late(world: World, waiter: Waiter) -> CorralError:
    """With what it waited for, where that is known and takes long."""
    fetch = waiter.model.root.fetch
    if fetch is not None:
        return fetch.unfinished(waiter.model.name)
    waited = f"The request waited {world.now - waiter.asked_at:.0f} s for {waiter.model.name!r} and got no lease."
    return QueueTimeout(waited, hint="Try again, or raise timeouts.queue.")


def refuse(world: World, request: int, error: CorralError) -> None:
    """Say no."""
    world.out.append(Refuse(request, error))


def refuse_waiters(world: World, model: ModelState, make: MakeError) -> int:
    """Say no to all who wait for a Model, each with an error of its own; how many they were."""
    waiters = [*model.queue.values(), *model.light.values(), *model.parked.values()]
    for waiter in sorted(waiters, key=lambda waiter: waiter.request):
        _dequeue(world, waiter)
        refuse(world, waiter.request, make())
    model.deadlines.clear()
    world.timers.forget(model)  # it was for their deadlines
    if waiters:
        world.touch(model)
    return len(waiters)


def again(error: CorralError, *, retry_after_s: float | None) -> CorralError:
    """The same error for another request: an exception that is raised twice would collect both tracebacks."""
    fresh = type(error).__new__(type(error), *error.args)  # not by its own constructor, which may want more
    fresh.__dict__.update(error.__dict__)
    fresh.retry_after_s = retry_after_s if error.asking_again_helps else None
    return fresh


def give_back(world: World, event: LeaseReleased) -> Instance | None:
    """Count a lease as returned; None for one that is not known (it was given back already)."""
    held = world.leases.pop(event.request, None)
    if held is not None:
        instance, caller, since = held
        instance.used -= 1
        instance.model.fair.settle(caller.name, event.request, world.now)
        if not event.broken:
            instance.returned += 1
            instance.slot_s += world.now - since
        world.accounts.give_pass_back(caller)
    else:
        light = world.light_leases.pop(event.request, None)
        if light is None:
            return None
        instance = light
        instance.light -= 1
        instance.served = instance.served or not event.broken
    if event.broken:
        _suspect(world, instance)
    unpark(world)  # before anybody finds that the instance is idle
    return instance


def _suspect(world: World, instance: Instance) -> None:
    """Its connection broke: it may be dead. Nobody else is sent to it before that is known."""
    if instance.state is READY and not instance.suspect:
        instance.suspect = True
        instance.model.serving = None
        world.out.append(Check(instance.id))


def cleared(world: World, instance: Instance) -> None:
    """The suspect is alive."""
    instance.suspect = False
    if instance.state is READY:
        instance.model.serving = instance
        serve(world, instance.model)
