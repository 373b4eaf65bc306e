"""Failing: what a failed start, and an engine that ends by itself, mean for those who wait and for the next try."""

from __future__ import annotations

import dataclasses

from corral.domain.errors import CorralError, EngineDied, FileMissing, NoMemory, StartFailed
from corral.domain.events import InstanceExited, InstanceFailed, LoadFinished
from corral.domain.instance import InstanceState
from corral.scheduler.machine.leasing import again, refuse_waiters
from corral.scheduler.machine.state import DRAINING, READY, STARTING, STOPPING, Instance, ModelState, World
from corral.scheduler.policy.backoff import FORGIVEN, backoff_s, died_early


def note_failure(world: World, model: ModelState, error: CorralError) -> None:
    """All who wait get the error; the Model is left alone for its back-off, which doubles from failure to failure."""
    model.failures += 1
    model.refusals = 0
    permanent = isinstance(error, StartFailed) and error.permanent
    delay_s = backoff_s(model.failures, world.limits, permanent=permanent)
    _leave_alone(world, model, error, delay_s, delay_s)


def note_refusal(world: World, model: ModelState, error: CorralError) -> None:
    """
    The same where Corral itself does not fetch its files: who asks once that is mended need not wait long.

    Nobody was bothered, so requests never wait longer than after a first failure. Without a request it is looked at
    less and less often: what refuses is mended by hand, or not at all.
    """
    model.refusals += 1
    model.failures = 1
    first_s, alone_s = (backoff_s(count, world.limits, permanent=False) for count in (1, model.refusals))
    _leave_alone(world, model, error, first_s, alone_s)


def _leave_alone(world: World, model: ModelState, error: CorralError, delay_s: float, alone_s: float) -> None:
    model.error = error
    model.retry_at, model.alone_at = world.now + delay_s, world.now + alone_s
    model.preload = False
    refuse_waiters(world, model, lambda: again(error, retry_after_s=delay_s))
    if model.pinned and not model.held:
        world.timers.ask(model, model.alone_at)
    world.touch(model)


def forgive(model: ModelState) -> None:
    """It is another now: whatever made it fail may be mended."""
    model.failures, model.refusals, model.retry_at, model.error, model.cramped = 0, 0, None, None, False


def retry_pinned(world: World, model: ModelState) -> None:
    """FAILED -> STARTING: a pinned Model comes back without a request, once its back-off is over."""
    if model.retry_at is None or not model.pinned or model.held:
        return
    assert model.alone_at is not None
    if world.now < model.alone_at:
        world.timers.ask(model, model.alone_at)
        return
    model.retry_at = None
    world.touch(model)


def failed(world: World, event: InstanceFailed) -> None:
    """STARTING -> FAILED."""
    instance = world.instances.get(event.instance)
    if instance is None:
        return
    model = instance.model
    if instance.state is STOPPING:
        _gone_while_stopping(world, instance, event.error.message)
        return
    assert instance.state is STARTING, f"{instance.id} was ready already"
    waiters = len(model.queue) + len(model.light)
    world.tell(LoadFinished(model.name, "failed", world.now - instance.since, waiters))
    world.move(instance, InstanceState.FAILED, event.error.message)
    world.remove(instance)
    if _for_memory(event.error) and not instance.last_try and model.wants_start() and not model.preload:
        # FAILED -> STARTING once more, when everything that is idle has made room. Who waits goes on waiting.
        model.cramped, model.error = True, event.error
        world.touch(model)
    else:
        if isinstance(event.error, FileMissing):
            _lost(world, model)
        note_failure(world, model, event.error)


def _lost(world: World, model: ModelState) -> None:
    """A file that was here is not: where it can be fetched, that is done before the next start, in whatever way."""
    if not model.spec.source.reference:
        return
    for each in (model.root, *model.root.ways.values(), *world.retiring):
        if each.root is model.root:
            source = dataclasses.replace(each.spec.source, path="", projector="", adapters=())
            each.spec = dataclasses.replace(each.spec, source=source)
            if each is not model:  # its own end is told first
                world.touch(each)


def _for_memory(error: CorralError) -> bool:
    return isinstance(error, NoMemory) or (isinstance(error, StartFailed) and error.memory)


def exited(world: World, event: InstanceExited) -> None:
    """
    READY | DRAINING -> FAILED: it ended by itself. Open leases are the gateway's to end; they come back as usual.

    Who waits is served by a fresh start at once, unless engines of this Model keep dying early: then that is a failed
    start.
    """
    instance = world.instances.get(event.instance)
    if instance is None:  # its end is known already, or it was found but not taken over yet
        world.found = [found for found in world.found if found.instance != event.instance]
        return
    model, state = instance.model, instance.state
    text = f"The engine of {model.name!r} {event.exit}."
    if state is STOPPING:
        _gone_while_stopping(world, instance, text)
        return
    if state is STARTING:  # the exit was seen before the start's own failure was
        failed(world, InstanceFailed(instance.id, StartFailed(text)))
        return
    assert state in (READY, DRAINING)
    world.move(instance, InstanceState.FAILED, str(event.exit))
    world.remove(instance)
    error = EngineDied(text)
    if state is READY and died_early(world.now - instance.ready_at, served=instance.has_served):
        model.failures = instance.earlier_failures
        if model.failures >= FORGIVEN:
            note_failure(world, model, error)
        else:
            model.failures += 1
            model.error = error
            world.touch(model)
    else:
        if model.last is instance:
            model.error = error
        world.touch(model)


def _gone_while_stopping(world: World, instance: Instance, reason: str) -> None:
    """STOPPING -> STOPPED: it ended by itself just before the Stop reached it. No failure: it had to go anyway."""
    world.move(instance, InstanceState.STOPPED, reason)
    world.remove(instance)
    world.touch(instance.model)
