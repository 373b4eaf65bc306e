"""
Loading: who starts next, who leaves for it, and when.

`settle` walks along the line of Models that wait for a load, the first in line first, and does for each what can be
done without taking anything from those ahead:

- nobody has to leave, or all who have to are idle: the load is *claimed*. Its memory is set aside, its victims go.
- a victim is in use: the load is only *reserved* (a Model behind it cannot take its place) until the victim becomes
  idle, or has been hot for long enough; then it is claimed and the victim drains.
- a load ahead is in the way: it waits.

A claim becomes a Start when everything in its way is gone and its memory is free in fact. Claims are kept until then,
unless nobody wants them any more or the budget changes.

The walk ends where nobody behind can get anything: all are blocked, or it *rests* because nothing is to be had at
present (`room.at_rest`). It is kept for those who join the line (`join`): so neither a thousand Models in line nor a
newcomer at its end cost a look at each.
"""

from __future__ import annotations

import dataclasses
from math import inf
from typing import Final

from corral.domain.commands import Start
from corral.domain.events import InstanceReady, LoadFinished, Shrunk
from corral.domain.fleet import ModelSpec
from corral.domain.instance import InstanceState
from corral.domain.launch import Variant
from corral.scheduler.machine import doubt, leasing, stopping
from corral.scheduler.machine.room import (
    Victims,
    Walk,
    all_idle,
    at_rest,
    candidate,
    fit,
    held,
    kept_by_pinned,
    memory_is_short,
    refuse_beside_pinned,
    refuse_misfits,
    stays_until,
    victims_by_group,
    victims_by_memory,
)
from corral.scheduler.machine.state import READY, STARTING, Alarm, Instance, ModelState, World
from corral.scheduler.policy.memory import NOTHING, Amounts, add, choose_victims, fits, lacking, over_budget, take

MOST_ROUNDS: Final = 10_000
"""Two or three are usual. A plan that went round for ever would stop everything else, in silence."""

MOST_KINDS: Final = 16
"""To ask of more kinds of Models in line whether all are blocked would cost more than to look at a few of them."""


def settle(world: World) -> None:
    """
    Plan again where somebody joins the line by what was decided: the Model of a victim that has waiters does.

    Whatever else a round changes is for those behind, who come later in the same round, or brings an event.
    """
    rounds = 0
    while world.dirty:
        rounds += 1
        assert rounds < MOST_ROUNDS, "the plan does not settle"
        world.joined.clear()
        _drop_claims(world)
        walk = world.walk = Walk(kept_by_pinned(world))
        for model in world.claims:
            walk.ahead.add(model.group)
            walk.counted.add(model)
        refuse_misfits(world, walk)
        _go(world, walk)
        for instance in list(world.draining):
            if not instance.model.has_waiters and _may_return(world, walk, instance):
                stopping.take_back(world, instance)
        freed_others = _start_claimed(world)
        _shed(world)
        stopping.retire(world)
        world.dirty = freed_others or walk.keeps_more or not _nothing_for_joined(world, walk)
    if not world.line:
        world.walk = None
    world.thorough = False
    world.watch_idle = bool(world.line) or bool(world.retiring) or bool(over_budget(world.planned, world.budgets))


def _go(world: World, walk: Walk) -> None:
    """From the front of the line to where nobody behind can get anything."""
    hopeless = bool(world.claims) and _hopeless(world, walk)
    for rank, model in world.line.in_order():
        if hopeless:
            walk.ended = rank
            return
        if model not in world.claims and model in world.line:
            _consider(world, walk, model)
            hopeless = model in walk.counted and _hopeless(world, walk)


def _hopeless(world: World, walk: Walk) -> bool:
    """True where nobody in line can get anything more: those ahead block every kind, or nothing is to be had now."""
    kinds = world.in_line.kinds
    if world.thorough or len(kinds) > MOST_KINDS:
        return False
    resting = False
    for kind, (_, group) in kinds.items():
        if not walk.blocks(group, kind.devices):
            if group is not None or not memory_is_short(world, kind.devices):
                return False
            resting = True
    walk.at_rest = resting and at_rest(world, walk)
    return walk.at_rest or not resting


def _nothing_for_joined(world: World, walk: Walk) -> bool:
    """True where nobody has joined the line since, or the walk is at rest and they change nothing about that."""
    joined = [model for model in world.joined if model in world.line]
    if joined and not (walk.at_rest and _hopeless(world, walk)):
        return False
    if any(walk.would_serve(world, model) for model in joined):
        return False
    world.joined.clear()
    return True


def join(world: World) -> None:
    """Models have joined the end of the line, and nothing else has changed: those ahead stay as they are."""
    walk = world.walk
    assert walk is not None
    walk.forget_candidates()
    if walk.at_rest:
        refuse_misfits(world, walk)
        world.dirty, world.watch_idle = not _nothing_for_joined(world, walk), True
    else:
        joined = list(world.joined)
        world.joined.clear()
        for model in joined:
            if model in world.line:
                _consider(world, walk, model)
        freed_others = _start_claimed(world)
        world.dirty, world.watch_idle = bool(world.joined) or freed_others or walk.keeps_more, True
    settle(world)


def _start_claimed(world: World) -> bool:
    """Start those whose way is free; True where that lets others go: a load to come conflicts with more than it did."""
    freed_others = False
    for model, needed in list(world.claims.items()):
        if _startable(world, model, needed):
            _start(world, model)
            freed_others = freed_others or (model.group is not None and model.group.exclusive)
    return freed_others


def _drop_claims(world: World) -> None:
    for model, needed in list(world.claims.items()):
        if model not in world.line:
            del world.claims[model]
            take(world.planned, needed)


def drop_all_claims(world: World) -> None:
    """The ground they were made on has changed; the Models are still in line and will be planned again."""
    for model, needed in world.claims.items():
        take(world.planned, needed)
        world.thorough = world.thorough or model.preload  # it goes now, or not at all
    world.claims.clear()
    world.dirty = True


# --- one Model in line ------------------------------------------------------------------------------------------------


def _consider(world: World, walk: Walk, model: ModelState) -> None:
    if not fit(world, walk, model):
        return
    if walk.blocks(model.group, model.needs):
        _give_up_preload(world, model)
        return
    for instance in model.leaving.values():
        if _may_return(world, walk, instance):
            stopping.take_back(world, instance)
            walk.forget_candidates()
            return
    victims = victims_by_group(world, model)
    if victims:
        pinned = next((victim for victim, _ in victims if victim.model.pinned), None)
        if pinned is not None:
            refuse_beside_pinned(world, model, pinned)
            return
        if any(victim in walk.taken for victim, _ in victims):
            _give_up_preload(world, model)
            return
    if model.cramped:
        victims += all_idle(world, walk, model, victims)
    freed = held(victims) if victims else NOTHING
    short = lacking(model.needs, world.budgets, world.planned, walk.reserved, freed=freed)
    if short:
        more = victims_by_memory(world, walk, short, victims)
        if more is None:
            if not _give_up_preload(world, model):
                walk.run_out(model, short)
            return
        victims += more
        freed = held(victims)
    if victims and _give_up_preload(world, model):
        return
    # What loads ahead have only reserved is in use yet: it may fit once they have gone through, and not before.
    if not lacking(model.needs, world.budgets, world.planned, freed=freed) and _may_leave(world, model, victims):
        _claim(world, walk, model, victims)
    elif not _give_up_preload(world, model):
        walk.reserve(model, victims, freed)


def _give_up_preload(world: World, model: ModelState) -> bool:
    """A preload that nobody waits for costs nobody anything: it is dropped rather than queued or made room for."""
    if not model.preload or model.has_waiters or model.pinned:
        return False
    model.preload = False
    world.touch(model)
    return True


def _may_leave(world: World, model: ModelState, victims: Victims) -> bool:
    """True where the victims can be sent away now; else a timer is set for when the last of them must give way."""
    at = max((stays_until(world, model.since, victim) for victim, _ in victims), default=0.0)
    if at > world.now:
        if at < inf:
            world.timers.ask(Alarm.HOT, at)
        return False
    return True


def _claim(world: World, walk: Walk, model: ModelState, victims: Victims) -> None:
    world.claims[model] = model.needs
    add(world.planned, model.needs)
    if model.pinned:
        add(walk.kept, model.needs)
        walk.keeps_more = True
    walk.ahead.add(model.group)
    walk.counted.add(model)
    for victim, why in victims:
        stopping.send_away(world, victim, why, model.name)


def _may_return(world: World, walk: Walk, instance: Instance) -> bool:
    """True where a draining instance can go on serving: nobody needs its place, and it is what its Model should be."""
    model = instance.model
    return (
        instance in world.draining
        and instance.why in stopping.TAKEN_BACK
        and model not in world.claims
        and not model.removed_and_served
        and instance.digest in model.sizes
        and not walk.blocks(model.group, instance.holds)
        and fits(instance.holds, world.budgets, world.planned, walk.reserved)
        and fits(instance.holds, world.budgets, world.planned)
        and not victims_by_group(world, model)
    )


# --- starts -----------------------------------------------------------------------------------------------------------


def _startable(world: World, model: ModelState, needed: Amounts) -> bool:
    """True when all that is in its way is gone. Its own earlier instance is, unless it has another load digest."""
    return (
        fits(needed, world.budgets, world.used)
        and not any(instance.digest in model.sizes for instance in model.leaving.values())
        and next(world.in_the_way(model.group), None) is None
        # The books said that it fits when it failed: this time those who make room are really gone first.
        and not (model.cramped and any(instance.for_model == model.name for instance in world.instances.values()))
    )


def _start(world: World, model: ModelState) -> None:
    """STOPPED | FAILED -> STARTING."""
    needed = world.claims.pop(model)
    take(world.planned, needed)  # `admit` counts it again
    old = InstanceState.FAILED if model.error is not None else InstanceState.STOPPED
    variant = model.variant
    digest = model.digest if variant is None else variant.digest
    doubt.started(world, model, digest, needed)
    instance = Instance(world.next_id(), model, digest, needed, STARTING, world.now, last_try=model.cramped)
    world.line.loaded(model)
    model.current = instance
    model.preload = model.cramped = False
    world.admit(instance, old, "wanted")
    if variant is not None:
        instance.note = variant.note
        world.tell(Shrunk(model.name, instance.id, variant.note))
    spec = model.spec if variant is None else _smaller(model, variant)
    world.out.append(Start(instance.id, spec, digest, needed, frozenset(world.budgets), instance.note))
    world.touch(model)


def _smaller(model: ModelState, variant: Variant) -> ModelSpec:
    return dataclasses.replace(model.spec, options={**model.spec.options, **variant.options})


def ready(world: World, event: InstanceReady) -> None:
    """STARTING -> READY: those who wait for it are served before anybody can ask it to leave."""
    instance = world.instances.get(event.instance)
    if instance is None or instance.state is not STARTING:
        return  # it was asked to stop while this event was on its way
    model = instance.model
    waiters = len(model.queue) + len(model.light)
    instance.load_s = model.load_s = event.load_s
    model.measured.loaded(instance.digest, event.load_s)
    world.tell(LoadFinished(model.name, "ready", event.load_s, waiters))
    become_ready(world, instance, event, f"loaded in {event.load_s:.2f} s")


def become_ready(world: World, instance: Instance, event: InstanceReady, reason: str) -> None:
    """The common part of a load and an adoption."""
    model = instance.model
    instance.endpoint, instance.offered, instance.options = event.endpoint, event.slots, event.options
    instance.slots = usable_slots(instance)
    instance.ready_at = instance.idle_since = world.now
    instance.earlier_failures, model.failures, model.error, model.retry_at = model.failures, 0, None, None
    world.move(instance, READY, reason)
    model.serving = instance
    leasing.serve(world, model)
    stopping.watch_ttl(world, instance)
    world.dirty = True


def usable_slots(instance: Instance) -> int:
    """What the engine offers, or less where the Model's spec says so; always at least one."""
    return max(min(instance.offered, instance.model.spec.slots), 1)


def _shed(world: World) -> None:
    """A budget has become smaller than what stays: idle instances leave."""
    over = over_budget(world.planned, world.budgets)
    if not over:
        return
    idle = [i for i in world.evictable if not i.busy]
    available = held([(i, "memory") for i in idle])
    short = {device: min(size, available.get(device, 0)) for device, size in over.items()}
    for instance in choose_victims(short, [candidate(world, i) for i in idle], []) or ():
        stopping.send_away(world, instance, "memory")
