"""
Stopping: drains and what ends them, TTL, unloading by hand, shutdown.

An instance leaves in one way: `send_away`. In use, it drains first (READY -> DRAINING, no new leases) and stops with
its last lease; else it stops at once. Its memory counts as free when it is seen to be gone, not before.
"""

from __future__ import annotations

from typing import Final

from corral.domain.commands import Finished, Stop
from corral.domain.errors import NoMemory, ShuttingDown, Unloaded
from corral.domain.events import Evicted, InstanceStopped, KeepWanted, LeaseReleased, LoadFinished, UnloadWanted
from corral.domain.instance import InstanceState
from corral.scheduler.machine import fetching, leasing, wishes
from corral.scheduler.machine.failing import forgive, note_failure
from corral.scheduler.machine.state import DRAINING, READY, STARTING, STOPPING, Alarm, Instance, World
from corral.scheduler.policy import memory
from corral.scheduler.policy.groups import must_leave
from corral.scheduler.policy.ttl import expires_at

REASONS: Final = {
    "swap": "makes room for {0} (same group)",
    "exclusive": "makes room for {0} (exclusive)",
    "memory": "makes room for {0}",
    "ttl": "idle for its TTL",
    "unload": "unloaded by hand",
    "reload": "the configuration changed",
    "options": "makes room for other options of the same Model",
    "shutdown": "Corral is shutting down",
}
TAKEN_BACK: Final = frozenset({"swap", "exclusive", "memory", "reload"})
"""Reasons that can vanish while an instance drains. By hand and at shutdown it was meant."""


def send_away(world: World, instance: Instance, why: str, for_model: str = "", *, force: bool = False) -> None:
    """It has to go: at once where nobody uses it (or by `force`), else after its last lease."""
    if instance.state is STOPPING:
        return
    model = instance.model
    if not instance.why:
        memory.take(world.planned, instance.holds)
    instance.why, instance.for_model = why, for_model
    world.evictable.pop(instance, None)
    world.kept.pop(instance, None)
    if model.current is instance:
        model.current = model.serving = None
        model.leaving[instance.id] = instance
    if instance.leased and not force:
        if instance.state is READY:
            world.move(instance, DRAINING, _reason(instance))  # READY -> DRAINING: it still has leases
    else:
        _stop(world, instance, force=force)
    world.touch(model)


def _stop(world: World, instance: Instance, *, force: bool = False) -> None:
    """READY | DRAINING | STARTING -> STOPPING: nothing uses it any more, or it is cut."""
    if instance.state is STARTING:
        world.tell(LoadFinished(instance.model.name, "aborted", world.now - instance.since))
    world.tell(Evicted(instance.model.name, instance.why, instance.for_model))
    world.move(instance, STOPPING, _reason(instance))
    world.out.append(Stop(instance.id, instance.why, force=force))


def _reason(instance: Instance) -> str:
    if instance.why == "memory" and not instance.for_model:
        return "the memory budget is smaller now"
    return REASONS[instance.why].format(instance.for_model)


def take_back(world: World, instance: Instance) -> None:
    """DRAINING -> READY: the reason is gone, and it still serves what its Model should be."""
    instance.why = instance.for_model = ""
    memory.add(world.planned, instance.holds)
    world.move(instance, READY, "needed no longer elsewhere")
    world.index(instance)
    model = instance.model
    assert model.current is None, "one instance per load digest"
    del model.leaving[instance.id]
    model.current = instance
    if not instance.suspect:
        model.serving = instance
        leasing.serve(world, model)
    watch_ttl(world, instance)
    world.touch(model)


# --- leases come back -------------------------------------------------------------------------------------------------


def released(world: World, event: LeaseReleased) -> None:
    """A lease that the fast path did not take back."""
    instance = leasing.give_back(world, event)
    if instance is None:
        return  # given back already, or cut together with its instance
    if instance.state is READY:
        leasing.serve(world, instance.model)
        if not instance.busy:
            instance.idle_since = world.now
            watch_ttl(world, instance)
            world.dirty = world.dirty or world.watch_idle
        if instance.model.removed:
            world.dirty = True
    elif instance.state is DRAINING and not instance.leased:
        _stop(world, instance)  # DRAINING -> STOPPING: that was its last lease


# --- TTL --------------------------------------------------------------------------------------------------------------


def watch_ttl(world: World, instance: Instance) -> None:
    """Unload a ready instance whose time is over, else make sure that someone looks again in time."""
    instance.timed = True
    ends = expires_at(instance.idle_since, instance.stays_s)
    if instance.state is not READY or ends is None:
        return
    if ends > world.now:
        world.timers.ask(instance, ends)
    elif instance.busy:
        instance.timed = False  # look at the very moment when it becomes idle
    else:
        send_away(world, instance, "ttl")


def keep(world: World, event: KeepWanted) -> None:
    """A client has done with it: the operator's bounds and a pin go before what it says, as for any request."""
    model = world.models.get(event.model)
    for each in wishes.all_of(model) if model is not None else ():
        instance = each.current
        if instance is not None:
            instance.keep_s = event.keep_s
            watch_ttl(world, instance)


# --- by hand ----------------------------------------------------------------------------------------------------------


def unload(world: World, event: UnloadWanted) -> None:
    """Refuse who waits, let who runs end (or not), and forget failures: the operator wants a clean slate."""
    for model in [model for model in world.every() if event.model in ("", model.name)]:
        leasing.refuse_waiters(world, model, lambda name=model.name: Unloaded(_unloaded(name)))  # type: ignore[misc]
        model.held = True
        model.preload = False
        forgive(model)
        fetching.end(world, model)
        alive = [model.current] if model.current else []
        for instance in [*alive, *model.leaving.values()]:
            send_away(world, instance, "unload", force=event.force)
        world.touch(model)


def _unloaded(model: str) -> str:
    return f"{model!r} was unloaded by hand while this request waited for it."


def shut_down(world: World, deadline: float) -> None:
    """Refuse who waits, stop what is idle, let leases end until the deadline. A second call can only shorten it."""
    first = world.closing is None
    world.closing = deadline if world.closing is None else min(world.closing, deadline)
    if first:
        for model in list(world.every()):
            leasing.refuse_waiters(world, model, ShuttingDown)
            model.held = True  # pinned ones too: nothing starts any more
            fetching.end(world, model)
            model.preload = False
            world.touch(model)
        for instance in list(world.instances.values()):
            send_away(world, instance, "shutdown")
    world.timers.forget(Alarm.CLOSING)
    if world.instances:
        world.timers.ask(Alarm.CLOSING, world.closing)


def cut_leases(world: World) -> None:
    """The shutdown's deadline is there."""
    if world.closing is not None and world.closing <= world.now:
        for instance in list(world.draining):
            send_away(world, instance, "shutdown", force=True)


# --- gone -------------------------------------------------------------------------------------------------------------


def stopped(world: World, event: InstanceStopped) -> None:
    """STOPPING -> STOPPED: its memory is free. With an error it is not: it stays, and stays counted, until it is."""
    instance = world.instances.get(event.instance)
    if instance is None:
        return  # it ended by itself while the Stop was under way, and its own event came first
    assert instance.state is STOPPING, f"{instance.id} was not asked to stop"
    if event.error:
        _refuse_dependants(world, instance, event.error)
        return
    world.move(instance, InstanceState.STOPPED, instance.why)
    gone(world, instance)


def _refuse_dependants(world: World, instance: Instance, reason: str) -> None:
    """Memory did not come back: a load that counts on it would fail in a worse way."""
    for model, needed in list(world.claims.items()):
        in_its_way = instance.model is model or must_leave(model.group, instance.model.group)
        if in_its_way or not memory.fits(needed, world.budgets, world.used):
            text = f"{model.name!r} could not start: {instance.model.name!r} has not given its memory back ({reason})."
            note_failure(world, model, NoMemory(text, hint="Try again in a moment."))


def gone(world: World, instance: Instance) -> None:
    """After the last state change of an instance."""
    world.remove(instance)
    world.touch(instance.model)


def finish(world: World) -> None:
    """The end of a shutdown: nothing is alive."""
    if world.closing is not None and not world.instances and not world.finished:
        world.finished = True
        world.timers.forget(Alarm.CLOSING)
        world.out.append(Finished())


def retire(world: World) -> None:
    """Removed Models: gone once they have served those who waited."""
    for model in sorted(world.retiring, key=lambda model: model.parent is None):  # ways to load a Model before itself
        if not model.has_waiters and model.current is not None:
            send_away(world, model.current, world.retiring[model])
        fetching.end_unwanted(world, model)
        awaited = any(way.parent is model for way in world.retiring)
        if not model.waiting and model.current is None and not model.leaving and not awaited:
            del world.retiring[model]
            world.timers.forget(model)
            if world.models.get(model.name) is model:
                del world.models[model.name]
