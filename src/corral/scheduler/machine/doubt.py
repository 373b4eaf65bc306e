"""
Doubt: a measurement that alone makes a Model impossible does not rule for ever.

What a load once held may have been a leak, a cache that grew for days, a reading of something else. A Model that is
refused for it is never loaded, so it would never be measured again. So the estimate is kept beside the measurement:
where the Model does not fit as measured but would as estimated, one start is counted with the estimate, once the
measurement is `BELIEVED_S` old or as soon as an operator asks by hand. What that start shows replaces what was
remembered; if it shows nothing, the next one is as far away again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from corral.domain.events import FleetChanged, ModelsSurveyed
from corral.scheduler.policy.memory import Amounts, Measurement, fits

if TYPE_CHECKING:
    from corral.scheduler.machine.state import ModelState, World

BELIEVED_S: Final = 1800.0
"""For so long a measurement is believed against the estimate. A load that is too large costs others their place."""


@dataclass(slots=True)
class Doubt:
    """Of one way to start a Model, whose size is measured."""

    estimated: Amounts
    believed_until: float  # on the machine's clock
    at: float  # when it was measured, in wall seconds; 0 = nobody knows


def remember(world: World, model: ModelState, event: FleetChanged | ModelsSurveyed) -> None:
    """With its survey: what was measured of each way to start it, here or by an earlier Corral."""
    known, model.doubts = model.doubts, {}
    for digest in model.sizes:
        if (seen := event.remembered.get(digest)) is not None:
            fresh = Doubt(seen.estimated, world.now + BELIEVED_S - seen.age_s, seen.at)
            model.doubts[digest] = known.get(digest, fresh)
    if model.doubted:
        by_hand(world, model)


def measured(world: World, model: ModelState, digest: str, at: float) -> None:
    """A load has shown what it takes; called before the size is replaced, which is the estimate the first time."""
    known = model.doubts.get(digest)
    estimated = model.sizes[digest] if known is None else known.estimated
    model.doubts[digest] = Doubt(estimated, world.now + BELIEVED_S, at)


def by_hand(world: World, model: ModelState) -> None:
    """An operator wants it loaded whatever is remembered, or will be told to have been."""
    model.doubted = not model.surveyed
    for doubt in model.doubts.values():
        doubt.believed_until = min(doubt.believed_until, world.now)


def find_way(world: World, model: ModelState, kept: Amounts) -> bool:
    """Choose a way to start it that fits as estimated and whose measurement is not believed any more; False = none."""
    for way in (None, *model.variants):
        doubt = model.doubts.get(model.digest if way is None else way.digest)
        if doubt is not None and world.now >= doubt.believed_until and fits(doubt.estimated, world.budgets, kept):
            model.variant, model.needs = way, doubt.estimated
            world.recount(model)
            return True
    return False


def started(world: World, model: ModelState, digest: str, needed: Amounts) -> None:
    """Where it was counted with the estimate, that was the one try."""
    doubt = model.doubts.get(digest)
    if doubt is not None and needed == doubt.estimated:
        doubt.believed_until = max(doubt.believed_until, world.now + BELIEVED_S)


def behind(world: World, model: ModelState, digest: str, kept: Amounts) -> Measurement | None:
    """What to say of the measurement for which it is refused; None where it is an estimate."""
    doubt = model.doubts.get(digest)
    if doubt is None:
        return None
    fitting = fits(doubt.estimated, world.budgets, kept)
    return Measurement(doubt.at, doubt.estimated, max(0.0, doubt.believed_until - world.now) if fitting else None)
