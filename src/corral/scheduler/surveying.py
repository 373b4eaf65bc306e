"""
Surveying: which Models of a Fleet are looked at when, so that ten thousand files delay neither a start nor a request.

Before the Fleet is announced comes what has to be decided with it (pins, preloads, what is running), then as many
others as `FIRST_S` allows: of an ordinary Fleet that is all. The rest follows in slices between which the loop has its
turn, and a Model that somebody asks for is looked at at once, whatever is going on. A newer Fleet ends what is left of
the older one.

What is found goes to the machine as events, and what the files say to `told`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from typing import Final

from corral.domain.events import FleetChanged, ModelsSurveyed
from corral.domain.facts import ModelFacts
from corral.domain.fleet import Fleet, ModelSpec
from corral.domain.launch import Footprint, Remembered, Variant
from corral.kit.tasks import Tasks
from corral.scheduler.survey import Survey

logger = logging.getLogger(__name__)

FIRST_S: Final = 0.2
"""How long a Fleet waits for Models of which nothing has to be decided at once."""

SLICE_S: Final = 0.002
"""Python runs one thread at a time: so long the loop may have to wait for one that reads headers."""

REST: Final = 0.5
"""After a slice the loop has this share of its time for itself alone."""

AT_ONCE: Final = 4
"""Models that are looked at together because somebody asks: one on a slow disk does not hold up the next."""

Facts = Mapping[str, ModelFacts]


class Surveying:
    """
    Owns the tasks. `survey` and `read` (what the files of Models say) are called in threads.

    `submit` takes the events, `told` the facts, both on the loop; `save` is called in a thread when all is read.
    """

    def __init__(
        self,
        survey: Survey,
        read: Callable[[Sequence[ModelSpec]], Facts],
        *,
        submit: Callable[[ModelsSurveyed], None],
        told: Callable[[Facts], None],
        save: Callable[[], None] = lambda: None,
        first_s: float = FIRST_S,
        now: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._survey, self._read = survey, read
        self._submit, self._told, self._save = submit, told, save
        self._first_s = first_s
        self._now, self._sleep = now, sleep
        self._tasks = Tasks("survey")
        self._left: deque[ModelSpec] = deque()  # of the newest Fleet
        self._rest: asyncio.Task[None] | None = None
        self._permits = asyncio.Semaphore(AT_ONCE)

    async def of(self, fleet: Fleet, running: Collection[str]) -> tuple[FleetChanged, Facts]:
        """The event for a new Fleet, and what is known of its files. `go_on` brings what is not in it yet."""
        wanted, others = deque[ModelSpec](), deque[ModelSpec]()
        for model in fleet.models.values():
            at_once = model.pin or model.preload or model.name in running
            (wanted if at_once else others).append(model)
        digests: dict[str, str] = {}
        footprints: dict[str, Footprint] = {}
        load_s: dict[str, float] = {}
        variants: dict[str, tuple[Variant, ...]] = {}
        remembered: dict[str, Remembered] = {}
        facts: dict[str, ModelFacts] = {}
        ends = self._now() + self._first_s
        while (left := wanted or others) and (wanted or self._now() < ends):
            found, says = await asyncio.to_thread(self._slice, left)
            digests.update(found.digests)
            footprints.update(found.footprints)
            load_s.update(found.load_s)
            variants.update(found.variants)
            remembered.update(found.remembered)
            facts.update(says)
        self._abandon()
        self._left = others
        return FleetChanged(fleet, digests, footprints, load_s, variants, remembered), facts

    def go_on(self) -> None:
        """The Fleet of the last `of` is announced: look at what is left of it."""
        self._rest = self._tasks.start(self._go_on(self._left), name="the rest of the Fleet")

    async def over(self) -> None:
        """Return when nothing is left of the newest Fleet."""
        while self._rest is not None and not self._rest.done():
            await asyncio.wait({self._rest})

    def ask(self, model: ModelSpec) -> None:
        """The machine waits for this one -> ModelsSurveyed, whatever happens."""
        self._tasks.start(
            self._one(model),
            name=model.name,
            failed=lambda error: self._submit(self._survey.nothing_of(model)),
        )

    async def aclose(self) -> None:
        """Look at nothing more."""
        await self._tasks.aclose()

    # --- inside ---------------------------------------------------------------------------------------------------

    async def _one(self, model: ModelSpec) -> None:
        async with self._permits:
            found = await asyncio.to_thread(self._survey.of, [model])
        self._submit(found)

    async def _go_on(self, left: deque[ModelSpec]) -> None:
        began, count = self._now(), len(left)
        while left:
            slice_began = self._now()
            found, says = await asyncio.to_thread(self._slice, left)
            self._submit(found)
            self._told(says)
            await self._sleep((self._now() - slice_began) * REST)
        if count:
            logger.info("surveyed the other %d Models in %.1f s", count, self._now() - began)
        await asyncio.to_thread(self._save)

    def _abandon(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

    def _slice(self, left: deque[ModelSpec]) -> tuple[ModelsSurveyed, Facts]:
        """At least one of them, and more while there is time."""
        ends = self._now() + SLICE_S

        def taken() -> Iterator[ModelSpec]:
            while True:
                yield left.popleft()
                if not left or self._now() >= ends:
                    return

        found = self._survey.of(taken())
        return found, self._read(list(found.models.values()))
