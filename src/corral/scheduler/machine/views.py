"""Views: what the snapshot shows of a Model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from corral.domain.devices import RAM
from corral.domain.fetching import Progress
from corral.domain.instance import InstanceState, InstanceView
from corral.scheduler.machine.state import READY, STARTING, Fetch, Instance, ModelState
from corral.scheduler.policy.ttl import expires_at

_NOTHING_YET: Final = Progress(0, None, doing="looking")


def view(model: ModelState) -> InstanceView:
    """The Model's present instance, else the one that leaves, else why there is none."""
    instance = _shown(model)
    return _running(model, instance) if instance else _absent(model)


def face(model: ModelState) -> ModelState:
    """Which of the ways to load it is shown where there is room for one: its own, unless only another is there."""
    if model.ways and _shown(model) is None and not model.waiting:
        return next((way for way in reversed(model.ways.values()) if _is_there(way)), model)
    return model


def shown(model: ModelState) -> Iterator[ModelState]:
    """Its own way, whatever becomes of it, and the others that are there."""
    yield model
    yield from (way for way in model.ways.values() if _is_there(way))


def _is_there(way: ModelState) -> bool:
    return _shown(way) is not None or bool(way.waiting)


def state(model: ModelState) -> InstanceState:
    """That of its view."""
    instance = _shown(model)
    if instance is not None:
        return instance.state
    if _fetch(model) is not None:
        return InstanceState.STARTING
    return InstanceState.FAILED if model.error else InstanceState.STOPPED


def _fetch(model: ModelState) -> Fetch | None:
    return model.root.fetch


def _shown(model: ModelState) -> Instance | None:
    return model.current or (next(reversed(model.leaving.values())) if model.leaving else None)


def _running(model: ModelState, instance: Instance) -> InstanceView:
    idle_since = instance.idle_since if instance.state is READY and not instance.leased else None
    stays_s = instance.stays_s
    return InstanceView(
        model=model.name,
        instance=instance.id,
        state=instance.state,
        digest=instance.digest,
        leases=instance.used,
        slots=instance.slots,
        waiting=model.waiting,
        since=instance.since,
        idle_since=idle_since,
        ttl_s=stays_s,
        expires_at=None if idle_since is None else expires_at(idle_since, stays_s),
        ram_bytes=instance.holds.get(RAM, 0),
        devices=instance.holds,
        note=instance.note,
        options=model.wish.options if model.wish is not None else {},
        load_s=instance.load_s,
        ready_at=instance.ready_at if instance.load_s is not None else None,
        progress=instance.progress if instance.state is STARTING else None,
        service_s=model.service_s(),
        failures=model.failures,
        pinned=model.pinned,
        wanted=(model.pinned and not model.held) or model.preload,
    )


def _next_try(model: ModelState) -> float | None:
    """By itself, where it does that; else by the next who asks."""
    alone = model.retry_at is not None and model.pinned and not model.held
    return model.alone_at if alone else model.retry_at


def _absent(model: ModelState) -> InstanceView:
    last, fetch = model.last, _fetch(model)
    return InstanceView(
        model=model.name,
        instance=last.id if last else "",
        state=state(model),
        digest=model.digest,
        options=model.wish.options if model.wish is not None else {},
        waiting=model.waiting,
        since=fetch.since if fetch is not None else last.since if last else 0.0,
        fetching=(fetch.progress or _NOTHING_YET) if fetch is not None else None,
        load_s=last.load_s if last else None,
        service_s=model.service_s(),
        failures=model.failures,
        retry_at=_next_try(model),
        error=model.error.sentence() if model.error else "",
        pinned=model.pinned,
        wanted=(model.pinned and not model.held) or model.preload,
    )
