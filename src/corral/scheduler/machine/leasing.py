"""Leasing: requests get in line, get their lease or a refusal, leave, and give the lease back."""

from __future__ import annotations

import copy

from corral.domain.commands import Check, Grant, Refuse
from corral.domain.errors import CorralError, QueueTimeout, ShuttingDown, UnknownModel
from corral.domain.events import LeaseReleased, Requested
from corral.scheduler.machine.state import READY, Instance, MakeError, ModelState, Waiter, World
from corral.scheduler.policy.queue import next_waiter, queue_full


def request(world: World, event: Requested) -> None:
    """A request that the fast path could not serve at once."""
    model = world.models.get(event.model)
    if world.closing is not None:
        refuse(world, event.request, ShuttingDown())
    elif model is None or model.removed:
        refuse(world, event.request, UnknownModel(event.model))
    elif event.weight == 0 and model.serving is not None:
        _lease(world, event.request, 0, model.serving, 0.0)
    elif (error := _no_place(world, model, operator=event.operator)) is not None:
        refuse(world, event.request, error)
    else:
        _enqueue(world, model, event)


def _no_place(world: World, model: ModelState, *, operator: bool) -> CorralError | None:
    """Why the request cannot even wait."""
    if model.retry_at is not None:
        if world.now < model.retry_at and not operator:
            assert model.error is not None
            return again(model.error, retry_after_s=model.retry_at - world.now)
        model.retry_at = None  # FAILED -> STARTING: the back-off is over, or an operator asks
    head = model.head
    return queue_full(
        model.name,
        waiting=len(model.queue) + len(model.light),
        limit=model.spec.queue_limit or world.limits.queue_per_model,
        total=len(world.waiting),
        total_limit=world.limits.queue_total,
        head_waited_s=world.now - head.since if head else 0.0,
    )


def _enqueue(world: World, model: ModelState, event: Requested) -> None:
    assert event.request not in world.waiting, f"request {event.request} asks twice"
    arrival = world.next_arrival()
    waiter = Waiter(event.request, model, event.caller, event.weight, world.now, event.deadline, arrival)
    (model.queue if event.weight else model.light)[event.request] = waiter
    world.waiting[event.request] = waiter
    world.timers.ask(model, event.deadline)
    model.held = False
    if model.current is None:
        world.requeue(model)


def serve(world: World, model: ModelState) -> None:
    """Give leases to those who wait, as far as there are slots."""
    instance = model.serving
    if instance is None:
        return
    while model.light:
        _grant(world, next_waiter(model.light), instance)
    while model.queue and instance.used < instance.slots:
        _grant(world, next_waiter(model.queue), instance)


def _grant(world: World, waiter: Waiter, instance: Instance) -> None:
    _dequeue(world, waiter)
    _lease(world, waiter.request, waiter.weight, instance, world.now - waiter.since)


def _lease(world: World, request: int, weight: int, instance: Instance, waited_s: float) -> None:
    if weight:
        instance.used += 1
        world.leases[request] = instance
    else:
        instance.light += 1
        world.light_leases[request] = instance
    world.out.append(Grant(request, instance.id, instance.endpoint, waited_s))


def _dequeue(world: World, waiter: Waiter) -> None:
    del world.waiting[waiter.request]
    del (waiter.model.queue if waiter.weight else waiter.model.light)[waiter.request]


def leave(world: World, waiter: Waiter) -> None:
    """A waiter is gone: its Model may go down the line, or out of it, or its load may serve nobody now."""
    _dequeue(world, waiter)
    if waiter.model.serving is None or waiter.model.removed:
        world.requeue(waiter.model)


def expire(world: World, model: ModelState) -> None:
    """Refuse those whose deadline has come."""
    late = [w for waiters in (model.queue, model.light) for w in waiters.values() if w.deadline <= world.now]
    for waiter in late:
        leave(world, waiter)
        waited = f"The request waited {world.now - waiter.since:.0f} s for {model.name!r} and got no lease."
        refuse(world, waiter.request, QueueTimeout(waited, hint="Try again, or raise timeouts.queue."))
    left = [w.deadline for waiters in (model.queue, model.light) for w in waiters.values()]
    if left:
        world.timers.ask(model, min(left))


def refuse(world: World, request: int, error: CorralError) -> None:
    """Say no."""
    world.out.append(Refuse(request, error))


def refuse_waiters(world: World, model: ModelState, make: MakeError) -> int:
    """Say no to all who wait for a Model, each with an error of its own; how many they were."""
    waiters = [*model.queue.values(), *model.light.values()]
    for waiter in sorted(waiters, key=lambda waiter: waiter.arrival):
        _dequeue(world, waiter)
        refuse(world, waiter.request, make())
    world.timers.forget(model)  # it was for their deadlines
    if waiters:
        world.touch(model)
    return len(waiters)


def again(error: CorralError, *, retry_after_s: float | None) -> CorralError:
    """The same error for another request: an exception that is raised twice would collect both tracebacks."""
    fresh = copy.copy(error)
    fresh.retry_after_s = retry_after_s
    return fresh


def give_back(world: World, event: LeaseReleased) -> Instance | None:
    """Count a lease as returned; None for one that is not known (it was given back already)."""
    instance = world.leases.pop(event.request, None)
    if instance is not None:
        instance.used -= 1
    else:
        instance = world.light_leases.pop(event.request, None)
        if instance is None:
            return None
        instance.light -= 1
    if event.broken:
        _suspect(world, instance)
    else:
        instance.served = True
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
