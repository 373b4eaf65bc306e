"""The machine's own books, recomputed from scratch: indexes and sums must agree with what is alive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from corral.domain.instance import ALIVE, InstanceState
from corral.scheduler.machine import Machine


def check_books(machine: Machine) -> None:
    """Called after every step of every transcript and of the state machine."""
    world = machine._world
    alive = list(world.instances.values())
    staying = [i for i in alive if not i.why]
    assert all(i.state in ALIVE for i in alive)
    assert not world.dirty, "a step ended without planning"
    assert _held(world.used) == _sum(i.holds for i in alive)
    assert _held(world.planned) == _sum([*(i.holds for i in staying), *world.claims.values()])
    assert set(world.evictable) == {i for i in staying if i.holds and not i.model.pinned}
    assert set(world.draining) == {i for i in alive if i.state is InstanceState.DRAINING}
    grouped = {i for members in world.grouped.values() for i in members.values()}
    assert grouped == {i for i in alive if i.model.group is not None}

    for instance in alive:
        assert instance.used == sum(held is instance for held in world.leases.values())
        assert instance.light == sum(held is instance for held in world.light_leases.values())
        assert instance.slots <= max(instance.offered, 1)
        assert bool(instance.why) == (instance.state in {InstanceState.DRAINING, InstanceState.STOPPING})
        assert (instance.model.current is instance) == (not instance.why)
        if instance.state is InstanceState.DRAINING:
            assert instance.leased, "a drain without leases should have become a stop"

    for model in world.models.values():
        current = model.current
        assert current is None or current.state in {InstanceState.STARTING, InstanceState.READY}
        if model.serving is not None:
            assert model.serving is current
            assert current.state is InstanceState.READY
            assert not current.suspect
            assert not model.light, "a lease without a slot is never waited for on a ready instance"
            assert not model.queue or current.used >= current.slots, "someone waits beside a free slot"
        assert (model in world.line) == model.wants_start()
        for waiter in (*model.queue.values(), *model.light.values()):
            assert world.waiting[waiter.request] is waiter
        assert model.retry_at is None or not model.has_waiters, "nobody waits through a back-off"
    in_line = Counter(model.kind for _, model in world.line.in_order())
    assert {kind: count for kind, (count, _) in world.kinds.items()} == in_line
    assert not world.joined, "somebody joined the line and was not looked at"
    waiting = sum(len(m.queue) + len(m.light) for m in world.models.values())
    assert waiting == len(world.waiting)
    assert set(world.claims) <= {model for _, model in world.line.in_order()}
    assert not world.waiting or world.armed is not None, "every waiter has a deadline, so a Tick must be due"


def _sum(amounts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in amounts:
        total.update(each)
    return _held(total)


def _held(amounts: Mapping[str, int]) -> dict[str, int]:
    return {device: size for device, size in amounts.items() if size}
