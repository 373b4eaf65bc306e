"""
Outlook: what everyone who waits may expect, from the state of things now and what was measured.

    wait = until the load can begin + the load + the line for its slots

For people and for `Retry-After`; no decision depends on it. Where a part was never measured the whole is None.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from corral.domain.queue import WaitingView
from corral.scheduler.machine.state import READY, STARTING, Instance, ModelState, Waiter, World
from corral.scheduler.policy.fair import UNKNOWN_COST_S
from corral.scheduler.policy.memory import fits
from corral.scheduler.policy.waits import turn_s, wait_at_full_slots_s, wait_from_ready_s


def in_turn(world: World, model: ModelState) -> Iterator[Waiter]:
    """Who waits for a Model, in the order in which they would be served if nobody came or left."""
    yield from model.light.values()  # they need no slot
    service_s = model.service_s()
    yield from model.fair.order(world.now, UNKNOWN_COST_S if service_s is None else service_s)
    yield from model.parked.values()


@dataclass(slots=True)
class Outlook:
    """One look at the World. It is made for one answer and thrown away: it remembers the sums along the line."""

    world: World
    now: float
    _ahead: dict[ModelState, float | None] | None = None
    _all: float | None = 0.0

    def wait_s(self, model: ModelState, slot_position: int) -> float | None:
        """The wait of the `slot_position`-th who wants a slot of this Model."""
        service_s = model.service_s()
        instance = model.current
        if instance is not None and instance.state is READY:
            behind = slot_position - (instance.slots - instance.used)
            return 0.0 if behind <= 0 else wait_at_full_slots_s(behind, instance.slots, service_s)
        ready_in_s = self._until_ready(model)
        slots_wait_s = wait_from_ready_s(slot_position, self._slots(model), service_s)
        return None if ready_in_s is None or slots_wait_s is None else ready_in_s + slots_wait_s

    def newcomer_s(self, model: ModelState) -> float | None:
        """The wait of a request that would come now."""
        return self.wait_s(model, len(model.queue) + 1)

    def waiters(self, model: ModelState) -> Iterator[WaitingView]:
        """Everyone who waits for this Model, in the order in which they would be served."""
        slot_position = 0
        for place, waiter in enumerate(in_turn(self.world, model), 1):
            slot_position += waiter.weight
            expected_s = None if waiter.parked else self.wait_s(model, slot_position if waiter.weight else 0)
            yield WaitingView(
                request=waiter.request,
                model=model.name,
                caller=waiter.caller.name,
                priority=waiter.caller.priority,
                position=place,
                waited_s=self.now - waiter.asked_at,
                expected_s=expected_s,
                held_back=waiter.parked,
            )

    # --- until the engine is there ---

    def _until_ready(self, model: ModelState) -> float | None:
        current = model.current
        load_s = model.measured.load_s(model.next_digest if current is None else current.digest)
        if load_s is None:
            return None
        if current is not None:
            return max(load_s - (self.now - current.since), 0.0)
        start_s = self._until_start(model)
        return None if start_s is None else start_s + load_s

    def _until_start(self, model: ModelState) -> float | None:
        world = self.world
        if model in world.claims:
            return self._longest([i for i in world.draining if i.for_model == model.name])
        ahead_s = self._turns_ahead(model)
        if ahead_s is None:
            return None
        hot = [i for i in world.instances.values() if i.state is READY and i.busy]
        if not hot or (model not in world.line and self._has_room(model)):
            return ahead_s
        since = model.since if model in world.line else self.now
        hot_until = max(since, *(i.ready_at for i in hot)) + world.limits.max_wait_hot_s
        last_s = self._longest(hot)
        return None if last_s is None else ahead_s + max(hot_until - self.now, 0.0) + last_s

    def _has_room(self, model: ModelState) -> bool:
        world = self.world
        in_the_way = next(world.in_the_way(model.group), None)
        return in_the_way is None and fits(model.needs, world.budgets, world.planned)

    def _turns_ahead(self, model: ModelState) -> float | None:
        """The turns of those that load, or will, before this one. All of them for one that is not in the line."""
        if self._ahead is None:
            self._ahead = {}
            starting = [i.model for i in self.world.instances.values() if i.state is STARTING]
            for each in starting:
                self._add(self._turn(each))
            for _, each in self.world.line.in_order():
                self._ahead[each] = self._all
                self._add(self._turn(each))
        return self._ahead.get(model, self._all)

    def _add(self, turn: float | None) -> None:
        self._all = None if self._all is None or turn is None else self._all + turn

    def _turn(self, model: ModelState) -> float | None:
        return turn_s(
            model.measured.load_s(model.next_digest),
            len(model.queue),
            self._slots(model),
            model.service_s(),
            self.world.limits.max_wait_hot_s,
        )

    @staticmethod
    def _longest(instances: list[Instance]) -> float | None:
        """How long until the last lease of all these is back: about one request more."""
        for each in instances:
            each.model.measured.count(each)
        times = [each.model.measured.service_s(each.digest) for each in instances]
        known = [time for time in times if time is not None]
        return None if len(known) < len(times) else max(known, default=0.0)

    @staticmethod
    def _slots(model: ModelState) -> int:
        return max(model.spec.slots, 1)
