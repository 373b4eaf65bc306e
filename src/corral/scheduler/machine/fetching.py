"""
Fetching: a Model whose files are not here has them fetched before anything else of its start is thought of.

Nothing of it takes memory or a place in the line: who has to leave for a Model is decided when its files are here and
have been surveyed. A fetch that has begun goes on when nobody waits any more, because somebody will again; it is ended
by hand, with the Model, when the Model's source becomes another, and at the end of all.

The ways to load a Model have its files in common, so the fetch is the Model's own, and so is the back-off after one
that failed: asking for the Model in another way brings no file any sooner.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from corral.domain.commands import EndFetch
from corral.domain.errors import FetchRefused
from corral.domain.events import FetchFinished, FetchProgressed, FilesCame, FilesFailed
from corral.scheduler.machine import wishes
from corral.scheduler.machine.failing import forgive, note_failure, note_refusal
from corral.scheduler.machine.leasing import again, refuse_waiters
from corral.scheduler.machine.state import ModelState, World


def progressed(world: World, event: FetchProgressed) -> None:
    """For people, and for those who are told how long to wait."""
    model = world.fetches.get(event.fetch)
    if model is not None and model.fetch is not None:
        model.fetch.progress = event.progress


def came(world: World, event: FilesCame) -> None:
    """The files are here: what its start takes can be found out, and then it gets in line."""
    model = _over(world, event.fetch)
    if model is None:
        return
    outcome = "fetched" if event.fetched_bytes else "there"
    world.tell(FetchFinished(model.name, outcome, event.fetched_bytes, event.seconds))
    old = model.spec
    model.spec = dataclasses.replace(old, source=event.source)
    model.surveyed = model.asked_about = False
    model.refusals = 0
    wishes.fleet_changed(world, model, old)
    follow(world, model)
    for each in (model, *_others(world, model)):
        if event.fetched_bytes:
            forgive(each)
        else:  # nothing is another than it was: what fails again has failed before
            each.error = each.retry_at = None
        world.touch(each)


def failed(world: World, event: FilesFailed) -> None:
    """STARTING -> FAILED, as for a start: who waits is told, and the next request after the back-off tries again."""
    model = _over(world, event.fetch)
    if model is None:
        return
    world.tell(FetchFinished(model.name, "failed", event.fetched_bytes, event.seconds))
    note = note_refusal if isinstance(event.error, FetchRefused) else note_failure
    note(world, model, event.error)
    for way in _others(world, model):
        if way.spec.source.wanting:
            refuse(world, way)


def refuse(world: World, model: ModelState) -> None:
    """Who waits for one whose files could not be had a moment ago is told so. Nobody waits through a back-off."""
    root = model.root
    error, at = root.error, root.retry_at
    assert error is not None
    assert at is not None
    refuse_waiters(world, model, lambda: again(error, retry_after_s=at - world.now))


def refuse_barred(world: World) -> None:
    """Those that came to want their files in the back-off, and not by a request: their engine ended, say."""
    while world.barred:
        refuse(world, world.barred.pop())


def end(world: World, model: ModelState) -> None:
    """Nobody wants it any more. What has come so far is kept by those who fetch."""
    fetch = model.fetch
    if fetch is not None:
        _over(world, fetch.id)
        world.out.append(EndFetch(fetch.id))
        world.tell(FetchFinished(model.name, "ended", 0, world.now - fetch.since))


def end_unwanted(world: World, model: ModelState) -> None:
    """It is not in the Fleet any more: once those who wait are gone, nobody will ask for its files again."""
    if model.fetch is not None and not any(each.waiting for each in (model, *_others(world, model))):
        end(world, model)


def follow(world: World, model: ModelState) -> None:
    """Ways to load it that are on their way out have its files too, where they have none."""
    for way in _others(world, model):
        if way.spec.source.wanting:
            way.spec = dataclasses.replace(way.spec, source=model.spec.source)
            way.surveyed = way.asked_about = False
            world.touch(way)


def _over(world: World, fetch: str) -> ModelState | None:
    """None for one that was ended while its event was on its way."""
    model = world.fetches.pop(fetch, None)
    if model is not None:
        model.fetch = None
    return model


def _others(world: World, model: ModelState) -> Iterator[ModelState]:
    yield from list(model.ways.values())
    yield from [way for way in world.retiring if way.parent is model]
