"""
Room: who has to leave for a load, and what is said when nothing would help.

A `Walk` is one pass along the line of Models that wait for a load: what each of them has claimed or reserved, and what
that leaves to those behind. It outlives the pass (`World.walk`): who joins the end of the line later is looked at with
what was left then, because nobody behind can change what those ahead get.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from itertools import islice
from math import inf

from corral.domain.errors import Conflict, CorralError
from corral.domain.fleet import GroupSpec
from corral.domain.launch import Variant
from corral.scheduler.machine import doubt, leasing
from corral.scheduler.machine.failing import note_failure
from corral.scheduler.machine.state import STARTING, Alarm, Instance, ModelState, World
from corral.scheduler.policy.groups import Ahead
from corral.scheduler.policy.memory import (
    NOTHING,
    Amounts,
    Candidate,
    add,
    choose_victims,
    fits,
    lacking,
    least_needed,
    load_cost_s,
    never_fits,
    take,
)
from corral.scheduler.policy.queue import Rank

Victims = list[tuple[Instance, str]]  # each with why it leaves


@dataclass(slots=True)
class Walk:
    """What those ahead in the line leave to those behind."""

    kept: dict[str, int]  # what pinned Models hold or have claimed, and keep
    ahead: Ahead = field(default_factory=Ahead)
    # On top of `world.planned`: what loads will take that are not claimed yet, less what their victims will free.
    reserved: dict[str, int] = field(default_factory=dict)
    taken: set[Instance] = field(default_factory=set)  # their victims
    full: set[str] = field(default_factory=set)  # devices of which one ahead could not get enough: no more of them
    counted: set[ModelState] = field(default_factory=set)  # who has claimed, reserved, or could not get enough
    ended: Rank | None = None  # it went no further than this: nobody behind could get anything
    at_rest: bool = False  # the reason was that nothing can be had at present: what they would reserve is not known
    keeps_more: bool = False  # a pinned Model has claimed: `kept` has grown
    idle: list[Candidate[Instance]] | None = None  # who could leave; None = not known at present
    in_use: list[Candidate[Instance]] | None = None
    spent: int = 0  # so many at the begin of `in_use` are no candidates any more
    # From when on they can leave at the earliest, the first last; None = not known.
    times: list[tuple[float, int, Instance]] | None = None

    def blocks(self, group: GroupSpec | None, devices: Iterable[str]) -> bool:
        """True where a load ahead is in the way of one of this group that needs these devices."""
        full = self.full
        if full:
            for device in devices:
                if device in full:
                    return True
        return group is not None and self.ahead.blocks(group)

    def reserve(self, model: ModelState, victims: Victims, freed: Amounts = NOTHING) -> None:
        """Its place is kept: those behind can take neither its memory nor its victims."""
        add(self.reserved, model.needs)
        take(self.reserved, freed)
        self.taken.update(victim for victim, _ in victims)
        self.ahead.add(model.group)
        self.counted.add(model)

    def forget_candidates(self) -> None:
        """Who is idle may have changed."""
        self.idle = self.in_use = self.times = None

    def would_serve(self, world: World, model: ModelState) -> bool:
        """
        True where a walk that is at rest may have left something to this Model if it stood in front of all.

        That is what those ahead keep for themselves but cannot have yet, not having waited as long as it has.
        """
        if model.group is not None:
            return True
        at = min((stays_until(world, model.since, victim) for victim in self.taken), default=inf)
        if at > world.now and at < inf:
            world.timers.ask(Alarm.HOT, at)
        return at <= world.now

    def run_out(self, model: ModelState, short: Amounts) -> None:
        """There is not enough for it: of what is short nobody behind gets any; of the rest it keeps its part."""
        self.full.update(short)
        self.reserve(model, [])


def kept_by_pinned(world: World) -> dict[str, int]:
    """What pinned Models hold or have claimed, and keep."""
    total: dict[str, int] = {}
    for instance in world.kept:
        add(total, instance.holds)
    for model, needed in world.claims.items():
        if model.pinned:
            add(total, needed)
    return total


# --- who has to leave -------------------------------------------------------------------------------------------------


def victims_by_group(world: World, model: ModelState) -> Victims:
    """Whom its group does not let run beside it."""
    if model.group is None:
        return []
    return [(instance, why) for instance, why in world.in_the_way(model.group) if not instance.why]


def victims_by_memory(world: World, walk: Walk, short: Amounts, known: Victims) -> Victims | None:
    """Who else must leave so that as much as is short becomes free; None where that cannot be now."""
    idle, in_use = _candidates(world, walk)
    evictable, taken = world.evictable, walk.taken
    # Those ahead took them from the front: to pass over all of them for each Model would be a square of their number.
    while walk.spent < len(in_use) and _out(in_use[walk.spent].instance, taken, evictable):
        walk.spent += 1
    spared = taken.union(victim for victim, _ in known) if known else taken
    chosen = choose_victims(
        short,
        [each for each in idle if not _out(each.instance, spared, evictable)],
        (each for each in islice(in_use, walk.spent, None) if not _out(each.instance, spared, evictable)),
    )
    return None if chosen is None else [(instance, "memory") for instance in chosen]


def _out(instance: Instance, spared: Container[Instance], evictable: Container[Instance]) -> bool:
    return instance in spared or instance not in evictable


def all_idle(world: World, walk: Walk, model: ModelState, known: Victims) -> Victims:
    """
    Everything that can leave at once and holds memory where this Model needs some: its last start lacked it.

    Of a Model of which nothing is known that is everywhere.
    """
    spared, needs = walk.taken.union(victim for victim, _ in known), model.needs
    return [
        (instance, "memory")
        for instance in world.evictable
        if not (instance.busy or instance in spared or (needs and instance.holds.keys().isdisjoint(needs)))
    ]


def held(victims: Victims) -> Amounts:
    """What they hold together."""
    if len(victims) == 1:
        return victims[0][0].holds
    total: dict[str, int] = {}
    for victim, _ in victims:
        add(total, victim.holds)
    return total


def _candidates(world: World, walk: Walk) -> tuple[list[Candidate[Instance]], list[Candidate[Instance]]]:
    """Idle ones, and those in use in the order in which they are given up. Collected once for each walk."""
    if walk.idle is None or walk.in_use is None:
        every = [candidate(world, instance) for instance in world.evictable]
        walk.idle = [each for each in every if each.idle_s is not None]
        walk.in_use = least_needed(each for each in every if each.idle_s is None)
        walk.spent = 0
    return walk.idle, walk.in_use


def candidate(world: World, instance: Instance) -> Candidate[Instance]:
    """What losing it would free and cost."""
    model, holds = instance.model, instance.holds
    if instance.busy:
        waiting = len(model.queue) + len(model.light)
        return Candidate(instance, holds, None, 0.0, model.spec.priority, waiting, instance.ready_at)
    idle_s = world.now - (instance.since if instance.state is STARTING else instance.idle_since)
    return Candidate(
        instance, holds, idle_s, load_cost_s(model.load_s if instance.load_s is None else instance.load_s, holds)
    )


# --- nothing to be had ------------------------------------------------------------------------------------------------


def stays_until(world: World, since: float, victim: Instance) -> float:
    """
    When it must give way to a Model that is wanted since then.

    In use: once the other has waited `max_wait_hot_s`, and it has itself been ready for that long. One that is starting
    serves its waiters first; its InstanceReady plans again.

    Idle: as long as its load took, at most `min_loaded_s`, so that two callers in turns do not spend more time on
    loads than on answers. Never longer than if it were in use: the bound on waiting is the same.
    """
    limits = world.limits
    if victim.busy:
        return inf if victim.state is STARTING else max(since, victim.ready_at) + limits.max_wait_hot_s
    if victim.state is STARTING:
        return 0.0
    return victim.ready_at + min(victim.load_s or 0.0, limits.min_loaded_s, limits.max_wait_hot_s)


def at_rest(world: World, walk: Walk) -> bool:
    """
    True where no load can be claimed at present by those behind, if they need memory that is not there.

    Nobody whom those ahead have left can leave yet, and nobody who is leaving could return. A timer is set for when
    the first of them could.
    """
    if walk.times is None:
        since = _wanted_since(world)
        walk.times = sorted([(stays_until(world, since, i), n, i) for n, i in enumerate(world.evictable)], reverse=True)
    times = walk.times
    while times and _out(times[-1][2], walk.taken, world.evictable):
        times.pop()
    first = times[-1][0] if times else inf
    if first <= world.now or any(fits(i.holds, world.budgets, world.planned) for i in world.draining):
        return False
    if first < inf:
        world.timers.ask(Alarm.HOT, first)
    return True


def _wanted_since(world: World) -> float:
    """No Model in line is wanted for longer."""
    first = next(iter(world.waiting.values()), None)
    return -inf if first is None or world.in_line.unasked else first.asked_at


def memory_is_short(world: World, devices: Iterable[str]) -> bool:
    """True where what is free of one of these devices is too little for anybody in line who needs it."""
    for device in devices:
        budget = world.budgets.get(device)
        if budget is not None and world.planned.get(device, 0) + world.in_line.least(device) > budget:
            return True
    return False


# --- what can never be ------------------------------------------------------------------------------------------------


def refuse_misfits(world: World, walk: Walk) -> None:
    """Those in line who can never fit beside what is pinned, wherever they stand."""
    for device, budget in world.budgets.items():
        for model in world.in_line.larger(device, budget - walk.kept.get(device, 0)):
            if model in world.line and model not in world.claims:
                fit(world, walk, model)


def fit(world: World, walk: Walk, model: ModelState) -> bool:
    """
    Choose the largest way to start it that fits beside what is pinned; False = there is none, it is refused.

    Usually that is the Model as it was configured, and as it was measured where it was.
    """
    if model.variants:
        ways: tuple[Variant | None, ...] = (None, *model.variants)
        for way in ways:
            needs = model.sizes[model.digest if way is None else way.digest]
            if fits(needs, world.budgets, walk.kept):
                model.variant, model.needs = way, needs
                return True
        model.variant, model.needs = None, model.sizes[model.digest]
    else:
        if model.doubts and (size := model.sizes[model.digest]) is not model.needs:  # a try was counted otherwise
            model.needs = size
            world.recount(model)
        if fits(model.needs, world.budgets, walk.kept):
            return True
    if model.doubts and doubt.find_way(world, model, walk.kept):
        return True
    _refuse(world, model, _never_fits(world, model, walk.kept))
    return False


def _never_fits(world: World, model: ModelState, kept: Amounts) -> CorralError:
    """The sum, on the devices that are too small; of several ways to start it the smallest."""
    digest = model.variants[-1].digest if model.variants else model.digest
    needs = model.sizes[digest] if model.variants else model.needs
    short = lacking(needs, world.budgets, kept)
    on_them = [i for i in world.instances.values() if i.model is not model and any(i.holds.get(d) for d in short)]
    return never_fits(
        model.name,
        {device: needs[device] for device in short},
        {device: world.budgets[device] - kept.get(device, 0) for device in short},
        unloading=[i.model.name for i in on_them if not i.model.pinned],
        pinned=[i.model.name for i in on_them if i.model.pinned],
        smallest=model.variants[-1].note if model.variants else "",
        measured=doubt.behind(world, model, digest, kept),
    )


def refuse_beside_pinned(world: World, model: ModelState, pinned: Instance) -> None:
    """A pinned Model never leaves for another, so this one cannot run while it does."""
    name = pinned.model.name
    text = f"{model.name!r} cannot run beside {name!r}, which is pinned, because of their groups."
    _refuse(world, model, Conflict(text, hint=f"Unload {name!r}, unpin it, or change the groups."))


def _refuse(world: World, model: ModelState, error: CorralError) -> None:
    if model.pinned:
        note_failure(world, model, error)
        return
    model.preload = False
    leasing.refuse_waiters(world, model, lambda: leasing.again(error, retry_after_s=None))
    world.touch(model)
