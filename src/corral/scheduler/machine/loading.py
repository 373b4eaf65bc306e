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
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from corral.domain.commands import Start
from corral.domain.errors import Conflict, NoMemory
from corral.domain.events import InstanceReady, LoadFinished
from corral.domain.instance import InstanceState
from corral.scheduler.machine import leasing, stopping
from corral.scheduler.machine.failing import note_failure
from corral.scheduler.machine.state import READY, STARTING, Alarm, Instance, ModelState, World
from corral.scheduler.policy.groups import Ahead
from corral.scheduler.policy.memory import (
    Amounts,
    Candidate,
    add,
    choose_victims,
    fits,
    lacking,
    load_cost_s,
    never_fits,
    over_budget,
    take,
)

MOST_ROUNDS: Final = 10_000
"""Two or three are usual. A plan that went round for ever would stop everything else, in silence."""

Victims = list[tuple[Instance, str]]  # each with why it leaves


@dataclass(slots=True)
class Walk:
    """What those ahead in the line leave to those behind."""

    ahead: Ahead
    reserved: dict[str, int]  # on top of `world.planned`, for loads that are not claimed yet, less what they will free
    taken: set[Instance]  # their victims
    full: set[str]  # devices of which one ahead waits for memory that others ahead have claimed: no more of them

    def out_of(self, needed: Amounts) -> bool:
        """True where it needs memory of a device that is full."""
        return bool(self.full) and any(device in self.full for device in needed)


def settle(world: World) -> None:
    """Plan until nothing changes. Each round but the last claims, takes back, refuses or retires something."""
    rounds = 0
    while world.dirty:
        rounds += 1
        assert rounds < MOST_ROUNDS, "the plan does not settle"
        world.dirty = False
        _drop_claims(world)
        walk = Walk(Ahead(), {}, set(), set())
        for model in world.claims:
            walk.ahead.add(model.group)
        for model in world.line.in_order():
            if model not in world.claims and model in world.line:
                _consider(world, walk, model)
        for instance in list(world.draining):
            if not instance.model.has_waiters and _may_return(world, walk, instance):
                stopping.take_back(world, instance)
        for model, needed in list(world.claims.items()):
            if _startable(world, model, needed):
                _start(world, model)
        _shed(world)
        stopping.retire(world)
    world.watch_idle = bool(world.line) or bool(world.retiring) or bool(over_budget(world.planned, world.budgets))


def _drop_claims(world: World) -> None:
    for model, needed in list(world.claims.items()):
        if model not in world.line:
            del world.claims[model]
            take(world.planned, needed)


def drop_all_claims(world: World) -> None:
    """The ground they were made on has changed; the Models are still in line and will be planned again."""
    for needed in world.claims.values():
        take(world.planned, needed)
    world.claims.clear()
    world.dirty = True


# --- one Model in line ------------------------------------------------------------------------------------------------


def _consider(world: World, walk: Walk, model: ModelState) -> None:
    needed = model.needs
    if walk.ahead.blocks(model.group) or walk.out_of(needed):
        _give_up_preload(world, model)
        return
    for instance in model.leaving.values():
        if _may_return(world, walk, instance):
            stopping.take_back(world, instance)
            return
    victims = _victims_by_group(world, model)
    pinned = next((victim for victim, _ in victims if victim.model.pinned), None)
    if pinned is not None:
        _refuse_beside_pinned(world, model, pinned)
        return
    if any(victim in walk.taken for victim, _ in victims):
        _give_up_preload(world, model)
        return
    short = lacking(needed, world.budgets, world.planned, walk.reserved, freed=_held(victims))
    if short:
        more = _victims_by_memory(world, walk, model, short, victims)
        if more is None:
            return
        victims += more
    if (victims or not _now(world, model, victims)) and _give_up_preload(world, model):
        return
    if _now(world, model, victims):
        _claim(world, walk, model, victims)
    else:
        _reserve(walk, model, victims)


def _victims_by_group(world: World, model: ModelState) -> Victims:
    return [(instance, why) for instance, why in world.in_the_way(model.group) if not instance.why]


def _victims_by_memory(world: World, walk: Walk, model: ModelState, short: Amounts, known: Victims) -> Victims | None:
    """Who else must leave; None where it cannot be now (the walk is marked full) or ever (it is refused)."""
    spared = {victim for victim, _ in known} | walk.taken
    chosen = choose_victims(short, (_candidate(world, i) for i in world.evictable if i not in spared))
    if chosen is not None:
        return [(instance, "memory") for instance in chosen]
    if not fits(model.needs, world.budgets, _kept_by_pinned(world, model)):
        error = _never_fits(world, model)
        if model.pinned:
            note_failure(world, model, error)
        else:
            model.preload = False
            leasing.refuse_waiters(world, model, lambda: leasing.again(error, retry_after_s=None))
            world.touch(model)
    elif not _give_up_preload(world, model):
        walk.full.update(short)
        add(walk.reserved, model.needs)  # of the devices that are not short it keeps its part
        walk.ahead.add(model.group)
    return None


def _candidate(world: World, instance: Instance) -> Candidate[Instance]:
    model = instance.model
    idle_s = None
    if not instance.busy:
        idle_s = world.now - (instance.since if instance.state is STARTING else instance.idle_since)
    cost_s = load_cost_s(instance.load_s if instance.load_s is not None else model.load_s, instance.holds)
    waiting = len(model.queue) + len(model.light)
    return Candidate(instance, instance.holds, idle_s, cost_s, model.spec.priority, waiting, instance.ready_at)


def _held(victims: Victims) -> dict[str, int]:
    total: dict[str, int] = {}
    for victim, _ in victims:
        add(total, victim.holds)
    return total


def _kept_by_pinned(world: World, but: ModelState) -> dict[str, int]:
    """What pinned Models hold or have claimed, and keep."""
    total: dict[str, int] = {}
    for instance in world.instances.values():
        if instance.model.pinned and not instance.why and instance.model is not but:
            add(total, instance.holds)
    for model, needed in world.claims.items():
        if model.pinned:
            add(total, needed)
    return total


def _never_fits(world: World, model: ModelState) -> NoMemory:
    """The sum, on the devices that are too small."""
    pinned = _kept_by_pinned(world, model)
    short = lacking(model.needs, world.budgets, pinned)
    on_them = [i for i in world.instances.values() if i.model is not model and any(i.holds.get(d) for d in short)]
    return never_fits(
        model.name,
        {device: model.needs[device] for device in short},
        {device: world.budgets[device] - pinned.get(device, 0) for device in short},
        unloading=[i.model.name for i in on_them if not i.model.pinned],
        pinned=[i.model.name for i in on_them if i.model.pinned],
    )


def _refuse_beside_pinned(world: World, model: ModelState, pinned: Instance) -> None:
    """A pinned Model never leaves for another, so this one cannot run while it does."""
    name = pinned.model.name
    text = f"{model.name!r} cannot run beside {name!r}, which is pinned, because of their groups."
    hint = f"Unload {name!r}, unpin it, or change the groups."
    if model.pinned:
        note_failure(world, model, Conflict(text, hint=hint))
        return
    model.preload = False
    leasing.refuse_waiters(world, model, lambda: Conflict(text, hint=hint))
    world.touch(model)


def _give_up_preload(world: World, model: ModelState) -> bool:
    """A preload that nobody waits for costs nobody anything: it is dropped rather than queued or made room for."""
    if not model.preload or model.has_waiters or model.pinned:
        return False
    model.preload = False
    world.touch(model)
    return True


def _now(world: World, model: ModelState, victims: Victims) -> bool:
    """True where the victims can be sent away now; else a timer is set for when a hot one must give way."""
    if lacking(model.needs, world.budgets, world.planned, freed=_held(victims)):
        return False  # it fits only once a load ahead has gone through
    busy = [victim for victim, _ in victims if victim.busy]
    if not busy:
        return True
    if any(victim.state is STARTING for victim in busy):
        return False  # a load serves its waiters first; its InstanceReady plans again
    hot_until = max(model.since, *(victim.ready_at for victim in busy)) + world.limits.max_wait_hot_s
    if world.now >= hot_until:
        return True
    world.timers.ask(Alarm.HOT, hot_until)
    return False


def _claim(world: World, walk: Walk, model: ModelState, victims: Victims) -> None:
    world.claims[model] = model.needs
    add(world.planned, model.needs)
    walk.ahead.add(model.group)
    for victim, why in victims:
        stopping.send_away(world, victim, why, model.name)


def _reserve(walk: Walk, model: ModelState, victims: Victims) -> None:
    add(walk.reserved, model.needs)
    take(walk.reserved, _held(victims))
    walk.taken.update(victim for victim, _ in victims)
    walk.ahead.add(model.group)


def _may_return(world: World, walk: Walk, instance: Instance) -> bool:
    """True where a draining instance can go on serving: nobody needs its place, and it is what its Model should be."""
    model = instance.model
    return (
        instance in world.draining
        and instance.why in stopping.TAKEN_BACK
        and model not in world.claims
        and not model.removed_and_served
        and instance.digest == model.digest
        and not walk.ahead.blocks(model.group)
        and not walk.out_of(instance.holds)
        and fits(instance.holds, world.budgets, world.planned, walk.reserved)
        and fits(instance.holds, world.budgets, world.planned)
        and not _victims_by_group(world, model)
    )


# --- starts -----------------------------------------------------------------------------------------------------------


def _startable(world: World, model: ModelState, needed: Amounts) -> bool:
    """True when all that is in its way is gone. Its own earlier instance is, unless it has another load digest."""
    return (
        fits(needed, world.budgets, world.used)
        and not any(instance.digest == model.digest for instance in model.leaving.values())
        and next(world.in_the_way(model.group), None) is None
    )


def _start(world: World, model: ModelState) -> None:
    """STOPPED | FAILED -> STARTING."""
    needed = world.claims.pop(model)
    take(world.planned, needed)  # `admit` counts it again
    old = InstanceState.FAILED if model.error is not None else InstanceState.STOPPED
    instance = Instance(world.next_id(), model, model.digest, needed, STARTING, world.now)
    model.current = instance
    model.preload = False
    world.admit(instance, old, "wanted")
    world.out.append(Start(instance.id, model.spec, model.digest, needed, frozenset(world.budgets)))
    world.touch(model)


def ready(world: World, event: InstanceReady) -> None:
    """STARTING -> READY: those who wait for it are served before anybody can ask it to leave."""
    instance = world.instances.get(event.instance)
    if instance is None or instance.state is not STARTING:
        return  # it was asked to stop while this event was on its way
    model = instance.model
    waiters = len(model.queue) + len(model.light)
    instance.load_s = model.load_s = event.load_s
    world.tell(LoadFinished(model.name, "ready", event.load_s, waiters))
    become_ready(world, instance, event, f"loaded in {event.load_s:.2f} s")


def become_ready(world: World, instance: Instance, event: InstanceReady, reason: str) -> None:
    """The common part of a load and an adoption."""
    model = instance.model
    instance.endpoint, instance.offered = event.endpoint, event.slots
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
    available = _held([(i, "memory") for i in idle])
    short = {device: min(size, available.get(device, 0)) for device, size in over.items()}
    for instance in choose_victims(short, (_candidate(world, i) for i in idle)) or ():
        stopping.send_away(world, instance, "memory")
