"""
Wishes: requests that want their Model loaded with other options than its operator chose.

Such a way to load a Model is a Model of its own to everything else: it has a load digest, a place in the line, waiters,
failures and an instance. Only its name, its group and its bounds are its parent's, and nobody can ask for it by name.
Its parent knows it by its options, and knows few: for a new one the one that was used longest ago goes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from corral.domain.errors import QueueFull
from corral.domain.fleet import ModelSpec, OptionValue
from corral.domain.launch import LoadWish
from corral.scheduler.machine.state import ModelState, World
from corral.scheduler.policy.wishes import MOST_WAYS, in_any_case, is_enough


def serving(world: World, parent: ModelState, wish: LoadWish) -> ModelState:
    """
    Who serves a request with this wish: who runs, or will, and has all that is wanted; else one made for it.

    A wish for nothing is one for the Model as it was configured. Raises QueueFull where all ways that a Model may have
    are in use.
    """
    if not wish.options:
        return parent
    exact = parent.ways.get(wish.key)
    for model in (exact, parent, *reversed(parent.ways.values())):
        if model is not None and (model.current is not None or model.waiting) and _has(model, wish):
            break
    else:
        model = exact or _new(world, parent, wish)
    if model is not parent:
        assert model.wish is not None
        parent.ways.move_to_end(model.wish.key)
    return model


def running(parent: ModelState) -> ModelState:
    """Who serves a request that needs no slot, and says nothing of how: whoever runs, so that nothing is loaded."""
    if parent.current is None and not parent.waiting:
        return next((model for model in reversed(parent.ways.values()) if model.serving is not None), parent)
    return parent


def all_of(parent: ModelState) -> Iterator[ModelState]:
    """The Model and the other ways to load it."""
    yield parent
    yield from parent.ways.values()


def surveyed_as(world: World, parent: ModelState, spec: ModelSpec) -> ModelState | None:
    """Whose spec it is; None for one that was replaced meanwhile."""
    candidates = (*all_of(parent), *(model for model in world.retiring if model.parent is parent))
    return next((model for model in candidates if model.spec is spec), None)


def fleet_changed(world: World, parent: ModelState, old: ModelSpec) -> None:
    """
    The parent goes by another spec than `old`, or by the same one over files that may be others.

    Wishes are reckoned from the parent's options: where those have changed, the other ways serve who waits and go.
    """
    spec = parent.spec
    same = (spec.engine, spec.options, spec.args) == (old.engine, old.options, old.args) and not parent.removed
    for way in list(parent.ways.values()):
        if not same:
            _drop(world, way, "reload")
            continue
        assert way.wish is not None
        _reckon(world, way, parent, way.wish)
        if way.current is not None:
            world.ask_about(way)
        world.touch(way)


def regroup(world: World) -> None:
    """Those on their way out have their Model's new group too: they hold what it must not run beside."""
    for way in world.retiring:
        if way.parent is not None and way.group is not way.parent.group:
            way.group = way.parent.group
            world.recount(way)


def _drop(world: World, way: ModelState, why: str) -> None:
    """Nobody is led to it any more. Who waits is served, then it goes, like a Model that has left the Fleet."""
    parent, wish = way.parent, way.wish
    assert parent is not None
    assert wish is not None
    del parent.ways[wish.key]
    way.removed = True
    world.retiring[way] = why
    world.touch(way)


def _reckon(world: World, way: ModelState, parent: ModelState, wish: LoadWish) -> None:
    """What its start takes has to be looked at anew; until that is known it is as it was."""
    way.wish, way.spec, way.group = wish, _spec(parent, wish), parent.group
    way.surveyed = way.asked_about = False
    world.recount(way)


def _spec(parent: ModelState, wish: LoadWish) -> ModelSpec:
    own = parent.spec
    options = {**own.options, **wish.options}
    return dataclasses.replace(own, options=options, aliases=(), unlisted=True, pin=False, preload=False)


def _new(world: World, parent: ModelState, wish: LoadWish) -> ModelState:
    if len(parent.ways) >= MOST_WAYS:
        oldest = next((way for way in parent.ways.values() if not _in_use(way)), None)
        if oldest is None:
            raise QueueFull(
                f"{parent.name!r} is loaded with {MOST_WAYS} other choices of options already, and all are in use.",
                hint="Try again, or ask for one that is loaded.",
            )
        _drop(world, oldest, "options")
    spec = _spec(parent, wish)
    for way in world.retiring:
        if way.parent is parent and way.spec.options == spec.options:  # it has not gone yet: there is only one of each
            del world.retiring[way]
            way.removed = False
            _reckon(world, way, parent, wish)
            if way.current is not None:
                world.ask_about(way)
            break
    else:
        way = ModelState(spec, world.next_arrival(), parent=parent, wish=wish, group=parent.group)
    parent.ways[wish.key] = way
    return way


def _in_use(way: ModelState) -> bool:
    leased = any(instance.leased for instance in (way.current, *way.leaving.values()) if instance is not None)
    return bool(way.waiting) or leased


def _has(model: ModelState, wish: LoadWish) -> bool:
    own = wish.own if model.wish is None else {**model.wish.own, **wish.own}
    has = _options(model)
    if model.current is not None:  # what its engine found room for may be less than what nobody chose
        has.update((name, value) for name, value in model.current.options.items() if name in wish.options)
    elif not model.surveyed and model.spec.fit is not None:  # how small it will be is not known yet
        has.update(in_any_case(model.spec.fit, {**own, **has}))
    return is_enough(has, wish.options, own)


def _options(model: ModelState) -> dict[str, OptionValue]:
    """What its instance has, or would have, in the place of the Model's own options."""
    digest = model.current.digest if model.current is not None else model.next_digest
    smaller = next((each.options for each in model.variants if each.digest == digest), {})
    return {**(model.wish.options if model.wish is not None else {}), **smaller}
