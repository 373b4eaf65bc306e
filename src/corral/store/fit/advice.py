"""
What a model is best loaded with here: where its layers go, how much context, how many slots.

Ways are tried from the best to the least, and the first that fits is taken. What somebody has asked for is never
changed, and what the engine refuses is no way.
"""

from __future__ import annotations

import bisect
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from corral.domain.devices import RAM
from corral.domain.fleet import OptionValue
from corral.store.fit.placing import Placing
from corral.store.fit.rooms import Rooms, Verdict
from corral.store.fit.server import asks_for_gpus
from corral.store.fit.subject import Options, Subject, used_gpus
from corral.store.fit.ways import LEAST, contexts, takes_slots, trained, unseen, ways
from corral.store.gguf.cache import is_encoder
from corral.store.gguf.estimate import Estimate

_SLOTS: Final = 4


class Where(StrEnum):
    """Where a model would run."""

    GPU = "gpu"  # all of it, on one or several
    PART = "gpu+ram"  # layers or experts stay in RAM
    RAM = "ram"
    NO = "no"


@dataclass(frozen=True, slots=True)
class Advice:
    """
    `options` are those to set, as a config has them; `why` one sentence. `most_context_tokens` is the longest context
    that fits with the same placement, up to what the model was trained for.
    """

    options: dict[str, OptionValue]
    why: str
    verdict: Verdict
    estimate: Estimate
    most_context_tokens: int | None

    @property
    def where(self) -> Where:
        """Where its layers are."""
        where = self.estimate.where
        devices = {*where.layers, *where.experts} if where is not None else {RAM}
        return Where.RAM if devices == {RAM} else Where.PART if RAM in devices else Where.GPU


class _Search:
    """One model in one host."""

    def __init__(self, subject: Subject, rooms: Rooms, *, left_out: Collection[str] = ()) -> None:
        """See `ways` for `left_out`."""
        self.subject, self.rooms, self.left_out = subject, rooms, left_out
        self.placing = Placing(subject, rooms)

    def works(self, options: Options) -> bool:
        """Whether it fits with these, and whoever would serve it takes them."""
        found = self.placing.tried(options)
        if self.rooms.verdict(found) is Verdict.NEVER:
            return False
        return self.subject.server.accepts(options, used_gpus(found))

    def found(self) -> tuple[dict[str, OptionValue], str] | None:
        """Options and the reason for them."""
        saying = self.placing.saying
        # Where they are left open, slots are counted out last: what has no room for several may have it for one.
        slots: dict[str, OptionValue] = {"parallel": 1} if takes_slots(self.subject) else {}
        for way in ways(self.subject, self.rooms, without=saying.without(), left_out=self.left_out):
            for tokens in contexts(self.subject, way.least):
                sized: dict[str, OptionValue] = {} if tokens is None else {"ctx_size": tokens}
                for placed in self.placing.placed({**way.options, **sized, **slots}, way):
                    if self.works(placed):
                        return self.with_slots(placed), way.why.format(device=saying.only(placed))
        return None

    def with_slots(self, options: dict[str, OptionValue]) -> dict[str, OptionValue]:
        """As many requests at one time as cost next to nothing: slots share one context."""
        if not takes_slots(self.subject):
            return options
        for slots in (_SLOTS, _SLOTS // 2):
            if self.works({**options, "parallel": slots}):
                return {**options, "parallel": slots}
        return options

    def most_context(self, options: Options) -> int | None:
        """The longest that fits with these."""
        most = trained(self.subject)
        if not most or is_encoder(self.subject.shape):
            return None
        steps = range(LEAST, most + 1, LEAST)
        if self.works({**options, "ctx_size": most}):
            return most
        place = bisect.bisect_left(steps, True, key=lambda tokens: not self.works({**options, "ctx_size": tokens}))
        return steps[place - 1] if place else None


def advise(subject: Subject, rooms: Rooms) -> Advice | None:
    """What to load it with here; None where nothing fits, with all other Models gone."""
    search, lacking = _Search(subject, rooms), unseen(subject, rooms)
    found = search.found()
    if found is None and lacking and not asks_for_gpus({name: subject.options[name] for name in subject.chosen}):
        search = _Search(subject, rooms.without(lacking), left_out=lacking)
        found = search.found()
    if found is None:
        return None
    options, why = found
    estimate = search.placing.tried(options)
    return Advice(options, why, rooms.verdict(estimate), estimate, search.most_context(options))
