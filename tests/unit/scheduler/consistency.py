"""The machine's own books, recomputed from scratch: indexes and sums must agree with what is alive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from math import inf

from corral.domain.instance import ALIVE, InstanceState
from corral.scheduler.machine import Machine
from corral.scheduler.machine.state import ModelState
from corral.scheduler.policy.wishes import MOST_WAYS


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
    assert set(world.kept) == {i for i in staying if i.model.pinned}
    assert set(world.draining) == {i for i in alive if i.state is InstanceState.DRAINING}
    grouped = {i for members in world.grouped.values() for i in members.values()}
    assert grouped == {i for i in alive if i.model.group is not None}

    for instance in alive:
        assert instance.used == sum(held[0] is instance for held in world.leases.values())
        assert instance.light == sum(held is instance for held in world.light_leases.values())
        assert instance.slots <= max(instance.offered, 1)
        assert bool(instance.why) == (instance.state in {InstanceState.DRAINING, InstanceState.STOPPING})
        assert (instance.model.current is instance) == (not instance.why)
        if instance.state is InstanceState.DRAINING:
            assert instance.leased, "a drain without leases should have become a stop"

    for model in world.every():
        current = model.current
        assert current is None or current.state in {InstanceState.STARTING, InstanceState.READY}
        if model.serving is not None:
            assert model.serving is current
            assert current.state is InstanceState.READY
            assert not current.suspect
            assert not model.light, "a lease without a slot is never waited for on a ready instance"
            assert not model.queue or current.used >= current.slots, "someone waits beside a free slot"
        wanting, root = model.spec.source.wanting, model.parent or model
        assert (model in world.line) == (model.wants_start() and model.surveyed and not wanting)
        assert wanting or model.surveyed or model.asked_about or not model.wants_start(), "nobody looks what it takes"
        assert root.fetch is not None or not (wanting and model.wants_start()), "nobody fetches its files"
        assert model.fetch is None or world.fetches[model.fetch.id] is model
        in_line = [*model.queue.values(), *model.light.values()]
        for waiter in (*in_line, *model.parked.values()):
            assert world.waiting[waiter.request] is waiter
            assert waiter.parked == (waiter.request in model.parked)
        by_caller = [waiter for mates in model.callers.values() for waiter in mates.values()]
        assert sorted(w.request for w in by_caller) == sorted(w.request for w in in_line)
        assert sorted(w.request for w in model.fair.order(world.now, 1.0)) == sorted(model.queue)
        assert len(model.fair) == len({w.caller.name for w in model.queue.values()})
        for caller in model.callers if model in world.line else ():
            assert world.line.wants(model, caller)
        assert model.retry_at is None or not model.waiting, "nobody waits through a back-off"
    assert len(world.fetches) == sum(model.fetch is not None for model in world.every())
    _check_ways(machine)
    line = [model for _, model in world.line.in_order()]
    _check_in_line(machine, line)
    assert not world.joined, "somebody joined the line and was not looked at"
    assert len(line) == len(set(line)) == len(world.line)
    waiting = sum(m.waiting for m in world.every())
    assert waiting == len(world.waiting)
    _check_accounts(machine)
    assert set(world.claims) <= set(line)
    assert not world.waiting or world.armed is not None, "every waiter has a deadline, so a Tick must be due"


def _check_ways(machine: Machine) -> None:
    world = machine._world
    for model in world.models.values():
        assert len(model.ways) <= MOST_WAYS
        options = [dict(way.spec.options) for way in (model, *model.ways.values())]
        options += [dict(way.spec.options) for way in world.retiring if way.parent is model]
        for key, way in model.ways.items():
            assert way.wish is not None
            assert (way.wish.key, way.parent, way.removed, way.group) == (key, model, False, model.group)
            assert options.count(dict(way.spec.options)) == 1, "one state for each way"
            assert not way.ways


def _check_in_line(machine: Machine, line: list[ModelState]) -> None:
    found = machine._world.in_line
    kinds = Counter((m.group.name if m.group else "", () if m.variants else tuple(m.needs)) for m in line)
    counted: Counter[tuple[str, tuple[str, ...]]] = Counter()
    for kind, (count, _) in found.kinds.items():
        counted[kind.group, kind.devices] += count
    assert counted == kinds
    assert found.unasked >= sum(m.pinned or m.preload for m in line)
    for device in {device for m in line for device in m.needs}:
        users = {m for m in line if device in m.needs}
        sizes = [m.needs[device] for m in users if not m.variants]
        assert found.least(device) <= min(sizes, default=inf)
        assert set(found.larger(device, -1)) >= users


def _sum(amounts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in amounts:
        total.update(each)
    return _held(total)


def _held(amounts: Mapping[str, int]) -> dict[str, int]:
    return {device: size for device, size in amounts.items() if size}


def _check_accounts(machine: Machine) -> None:
    world = machine._world
    waiters = list(world.waiting.values())
    held = [caller for _, caller, _ in world.leases.values() if caller.max_concurrent]
    for account in world.accounts.all():
        own = [w for w in waiters if w.caller.name == account.name]
        in_line = [w for w in own if not w.parked and w.weight and w.caller.max_concurrent]
        assert account.waiting == len(own) == sum(account.places.values())
        assert account.passes == len(in_line) + sum(caller.name == account.name for caller in held)
        assert sorted(account.parked) == sorted(w.request for w in own if w.parked)
        assert account.waiting or account.passes, "callers with nothing in hand are forgotten"
        if account.parked:
            first = next(iter(account.parked.values()))
            assert account.passes >= first.caller.max_concurrent, "a pass is free, and somebody waits for one"
    assert {w.caller.name for w in waiters} <= {account.name for account in world.accounts.all()}
