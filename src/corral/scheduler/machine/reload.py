"""
Reload: another Fleet, what its Models take, another budget, and engines of an earlier Corral.

What an instance was started with is its load digest. Unchanged: the instance stays and the new spec applies to it at
once. Changed: it drains, and those who wait are served by a new one, which may start beside it where memory and groups
allow. A Model that is not in the Fleet any more serves those it has.

A Fleet may come before all of it is surveyed. A Model of which its digest is not known yet is as it was: its instance
serves, and who waits stays in line. Whatever depends on the digest is asked for at once and decided when it is known.
"""

from __future__ import annotations

from corral.domain.events import (
    FleetChanged,
    InstanceAdopted,
    InstanceMeasured,
    InstanceReady,
    MemoryChanged,
    ModelsSurveyed,
)
from corral.domain.fleet import Fleet, GroupSpec, ModelSpec
from corral.domain.instance import InstanceState
from corral.scheduler.machine import doubt, failing, fetching, leasing, loading, stopping, wishes
from corral.scheduler.machine.state import READY, STARTING, Instance, ModelState, World
from corral.scheduler.policy.groups import must_leave
from corral.scheduler.policy.memory import fits


def fleet_changed(world: World, event: FleetChanged) -> None:
    """Apply another Fleet."""
    if world.closing is not None:
        return
    fleet = event.fleet
    groups = _group_index(fleet)
    world.limits = fleet.limits
    world.order = list(fleet.models)
    loading.drop_all_claims(world)
    world.thorough = True
    for name, spec in fleet.models.items():
        model = world.models.get(name)
        if model is None:
            model = world.models[name] = ModelState(spec, world.next_arrival(), preload=spec.preload)
        old = model.spec
        _apply(world, model, spec, groups.get(name))
        if spec.source != old.source:
            fetching.end(world, model)
        wishes.fleet_changed(world, model, old)
        fetching.follow(world, model)
        if name in event.digests:
            _learn(world, model, event)
        else:
            _follow(world, model)
            if model.current is not None:  # is it still what it should be?
                world.ask_about(model)
    for name, model in world.models.items():
        if name not in fleet.models and not model.removed:
            model.removed = True
            model.preload = False
            world.retiring[model] = "reload"
            world.touch(model)
            wishes.fleet_changed(world, model, model.spec)
    wishes.regroup(world)
    _reindex(world)
    world.budgets = fleet.budgets
    world.has_fleet = True
    adopt_found(world)
    # Who starts without a request: first the pinned, then the preloaded, each in the order of the Fleet.
    for model in sorted((world.models[name] for name in world.order), key=lambda model: not model.pinned):
        world.touch(model)


def _group_index(fleet: Fleet) -> dict[str, GroupSpec]:
    return {member: group for group in fleet.groups.values() for member in group.members}


def _apply(world: World, model: ModelState, spec: ModelSpec, group: GroupSpec | None) -> None:
    """One Model of the new Fleet, new, known or coming back: all that needs no survey."""
    if model.spec != spec:
        failing.forgive(model)
    model.spec, model.group = spec, group
    model.surveyed = model.asked_about = False
    model.removed = model.held = False
    world.retiring.pop(model, None)
    world.recount(model)


def surveyed(world: World, event: ModelsSurveyed) -> None:
    """More of the Fleet is known: most of it nobody waits for, and nothing else changes."""
    for name, spec in event.models.items():
        known = world.models.get(name)
        model = wishes.surveyed_as(world, known, spec) if known is not None else None
        if model is not None and not model.surveyed:
            _learn(world, model, event)
            if model.wants_start():
                world.touch(model)
    adopt_found(world)


def _learn(world: World, model: ModelState, event: FleetChanged | ModelsSurveyed) -> None:
    """What its start takes is known now."""
    name, digest = model.name, event.digests[model.name]
    if model.digest != digest:
        failing.forgive(model)
    model.surveyed, model.digest = True, digest
    model.needs = event.footprints[name].by_device()
    model.variant, model.variants = None, event.variants.get(name, ())
    model.sizes = {digest: model.needs, **{each.digest: each.footprint.by_device() for each in model.variants}}
    doubt.remember(world, model, event)
    world.recount(model)
    model.load_s = event.load_s.get(name, model.load_s)
    model.measured.keep(model.sizes)
    if name in event.load_s:
        model.measured.remembered(digest, event.load_s[name])
    _follow(world, model)


def _follow(world: World, model: ModelState) -> None:
    """Its instance goes by the new spec, or goes."""
    instance = model.current
    if instance is not None and instance.digest not in model.sizes:
        stopping.send_away(world, instance, "reload")
    elif instance is not None and instance.state is READY:
        instance.slots = loading.usable_slots(instance)
        leasing.serve(world, model)
        stopping.watch_ttl(world, instance)


def _reindex(world: World) -> None:
    """Groups and pins may be different now. Instances that run side by side already may go on doing so."""
    world.grouped.clear()
    for instance in world.instances.values():
        world.index(instance)


def memory_changed(world: World, event: MemoryChanged) -> None:
    """Other budgets. What is in use stays; what is idle and too much leaves."""
    loading.drop_all_claims(world)
    world.budgets = event.budgets


def measured(world: World, event: InstanceMeasured) -> None:
    """
    What an instance really holds: it counts at once, and for the next load of the same digest.

    What was promised on the old sum is planned anew; where it is too much now, idle instances leave.
    """
    instance = world.instances.get(event.instance)
    if instance is None:
        return  # it ended while it was measured
    model, holds = instance.model, event.footprint.by_device()
    if instance.digest in model.sizes:
        doubt.measured(world, model, instance.digest, event.at)
        model.sizes[instance.digest] = holds
        if instance.digest == model.next_digest:
            model.needs = holds
        world.recount(model)
    if holds == instance.holds:
        return
    loading.drop_all_claims(world)
    world.weigh(instance, holds)
    world.dirty = True


def adopt(world: World, event: InstanceAdopted) -> None:
    """
    An engine of an earlier Corral: it serves, where the Fleet wants exactly this and has room for it, else it stops.

    Before the first Fleet, and until its Model is surveyed, it is only noted, so that a pinned Model is not started
    beside its own living engine.
    """
    if not world.has_fleet and world.closing is None:
        world.found.append(event)
        return
    model = world.models.get(event.model)
    if model is not None and not (model.surveyed or model.removed or world.closing is not None):
        world.ask_about(model)
        world.found.append(event)
        return
    if model is None:  # like a Model that was just removed: known until its engine is gone
        model = ModelState(ModelSpec(event.model), world.next_arrival(), digest=event.digest, removed=True)
        world.models[event.model] = model
        world.retiring[model] = "reload"
    wanted = _fits(world, model, event.digest)
    holds = model.sizes.get(event.digest, model.needs)
    instance = Instance(event.instance, model, event.digest, holds, STARTING, world.now)
    instance.note = next((each.note for each in model.variants if each.digest == event.digest), "")
    model.current = instance if wanted else model.current
    world.admit(instance, InstanceState.STOPPED, "found again")
    if wanted:
        model.preload = False
        ready = InstanceReady(event.instance, event.endpoint, event.slots, 0.0, event.options)
        loading.become_ready(world, instance, ready, "found again")
        world.touch(model)
    else:
        stopping.send_away(world, instance, "shutdown" if world.closing is not None else "reload")
        model.leaving[instance.id] = instance


def adopt_found(world: World) -> None:
    """Decide about the engines that were found before."""
    found, world.found = world.found, []
    for event in found:
        adopt(world, event)


def _fits(world: World, model: ModelState, digest: str) -> bool:
    """True where it can run beside everything that stays, and beside all that has been promised."""
    beside = [i.model for i in world.instances.values() if not i.why] + list(world.claims)
    return (
        world.closing is None
        and not model.removed
        and model.current is None
        and model not in world.claims
        and digest in model.sizes
        and fits(model.sizes[digest], world.budgets, world.planned)
        and not any(must_leave(model.group, m.group) or must_leave(m.group, model.group) for m in beside)
    )
