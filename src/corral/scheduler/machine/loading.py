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
from corral.domain.errors import Conflict
from corral.domain.events import InstanceReady, LoadFinished
from corral.domain.instance import InstanceState
from corral.scheduler.machine import leasing, stopping
from corral.scheduler.machine.failing import note_failure
from corral.scheduler.machine.state import READY, STARTING, Alarm, Instance, ModelState, World
from corral.scheduler.policy.groups import Ahead
from corral.scheduler.policy.memory import Candidate, choose_victims, never_fits

MOST_ROUNDS: Final = 10_000
"""Two or three are usual. A plan that went round for ever would stop everything else, in silence."""

Victims = list[tuple[Instance, str]]  # each with why it leaves


@dataclass(slots=True)
class Walk:
    """What those ahead in the line leave to those behind."""

    ahead: Ahead
    reserved: int  # bytes, on top of `world.planned`, for loads that are not claimed yet (less what they will free)
    taken: set[Instance]  # their victims
    full: bool = False  # one ahead waits for memory that others ahead have claimed: no more for those behind

    def free(self, world: World) -> float:
        return world.budget - world.planned - self.reserved


def settle(world: World) -> None:
    """Plan until nothing changes. Each round but the last claims, takes back, refuses or retires something."""
    rounds = 0
    while world.dirty:
        rounds += 1
        assert rounds < MOST_ROUNDS, "the plan does not settle"
        world.dirty = False
        _drop_claims(world)
        walk = Walk(Ahead(), 0, set())
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
    world.watch_idle = bool(world.line) or bool(world.retiring) or world.planned > world.budget


def _drop_claims(world: World) -> None:
    for model, needed in list(world.claims.items()):
        if model not in world.line:
            del world.claims[model]
            world.planned -= needed


def drop_all_claims(world: World) -> None:
    """The ground they were made on has changed; the Models are still in line and will be planned again."""
    world.planned -= sum(world.claims.values())
    world.claims.clear()
    world.dirty = True


# --- one Model in line ------------------------------------------------------------------------------------------------


def _consider(world: World, walk: Walk, model: ModelState) -> None:
    needed = model.ram_bytes
    if walk.ahead.blocks(model.group) or (walk.full and needed):
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
    short = needed - walk.free(world) - sum(victim.ram_bytes for victim, _ in victims)
    if short > 0:
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


def _victims_by_memory(world: World, walk: Walk, model: ModelState, short: float, known: Victims) -> Victims | None:
    """Who else must leave; None where it cannot be now (the walk is marked full) or ever (it is refused)."""
    spared = {victim for victim, _ in known} | walk.taken
    chosen = choose_victims(short, (_candidate(i) for i in world.evictable if i not in spared))
    if chosen is not None:
        return [(instance, "memory") for instance in chosen]
    could_be_free = world.budget - _pinned_bytes(world, model)
    if model.ram_bytes > could_be_free:
        error = never_fits(model.name, model.ram_bytes, could_be_free)
        if model.pinned:
            note_failure(world, model, error)
        else:
            model.preload = False
            leasing.refuse_waiters(world, model, lambda: leasing.again(error, retry_after_s=None))
            world.touch(model)
    elif not _give_up_preload(world, model):
        walk.full = True
    return None


def _candidate(instance: Instance) -> Candidate[Instance]:
    model = instance.model
    idle_since = None if instance.busy else instance.since if instance.state is STARTING else instance.idle_since
    return Candidate(instance, instance.ram_bytes, idle_since, model.spec.priority, instance.ready_at)


def _pinned_bytes(world: World, but: ModelState) -> int:
    """What pinned Models hold or have claimed, and keep."""
    alive = sum(i.ram_bytes for i in world.instances.values() if i.model.pinned and not i.why and i.model is not but)
    return alive + sum(needed for model, needed in world.claims.items() if model.pinned)


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
    freed = sum(victim.ram_bytes for victim, _ in victims)
    if world.planned - freed + model.ram_bytes > world.budget:
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
    world.claims[model] = model.ram_bytes
    world.planned += model.ram_bytes
    walk.ahead.add(model.group)
    for victim, why in victims:
        stopping.send_away(world, victim, why, model.name)


def _reserve(walk: Walk, model: ModelState, victims: Victims) -> None:
    walk.reserved += model.ram_bytes - sum(victim.ram_bytes for victim, _ in victims)
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
        and (not instance.ram_bytes or (not walk.full and instance.ram_bytes <= walk.free(world)))
        and instance.ram_bytes <= world.budget - world.planned
        and not _victims_by_group(world, model)
    )


# --- starts -----------------------------------------------------------------------------------------------------------


def _startable(world: World, model: ModelState, needed: int) -> bool:
    """True when all that is in its way is gone. Its own earlier instance is, unless it has another load digest."""
    return (
        needed <= world.budget - world.used
        and not any(instance.digest == model.digest for instance in model.leaving.values())
        and next(world.in_the_way(model.group), None) is None
    )


def _start(world: World, model: ModelState) -> None:
    """STOPPED | FAILED -> STARTING."""
    needed = world.claims.pop(model)
    world.planned -= needed  # `admit` counts it again
    old = InstanceState.FAILED if model.error is not None else InstanceState.STOPPED
    instance = Instance(world.next_id(), model, model.digest, needed, STARTING, world.now)
    model.current = instance
    model.preload = False
    world.admit(instance, old, "wanted")
    world.out.append(Start(instance.id, model.spec, model.digest))
    world.touch(model)


def ready(world: World, event: InstanceReady) -> None:
    """STARTING -> READY: those who wait for it are served before anybody can ask it to leave."""
    instance = world.instances.get(event.instance)
    if instance is None or instance.state is not STARTING:
        return  # it was asked to stop while this event was on its way
    model = instance.model
    waiters = len(model.queue) + len(model.light)
    instance.load_s = event.load_s
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
    """The budget has become smaller than what stays: idle instances leave, the longest idle first."""
    over = world.planned - world.budget
    if over <= 0:
        return
    idle = [i for i in world.evictable if not i.busy]
    available = sum(i.ram_bytes for i in idle)
    for instance in choose_victims(min(over, available), (_candidate(i) for i in idle)) or ():
        stopping.send_away(world, instance, "memory")
