"""
A walk that rests where nothing is to be had decides what a look at everyone in line would decide.

Two machines get the same events of a random world. One is told before each of its plans to look at everyone. Whatever
they order must be the same; only the times at which they ask to be woken may differ (a walk that rests asks for the
first moment at which anybody could leave, sometimes a little early).
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.domain import commands, events
from corral.domain.errors import StartFailed
from corral.domain.fleet import Fleet, GroupSpec, Limits, ModelSpec
from corral.domain.launch import Endpoint
from corral.domain.serving import Caller
from corral.scheduler.machine import Machine, loading

from .consistency import check_books
from .script import footprint

CALLERS = (Caller("p"), Caller("q"), Caller("urgent", priority=1), Caller("two", max_concurrent=2))
WAITS = (0.1, 1.0, 4.0, 9.9, 10.0)
STEPS = 150


class Twins:
    """The two machines, and the world that both believe in."""

    def __init__(self, random: Random) -> None:
        self.random, self.now = random, 0.0
        self.resting, self.thorough = Machine(id_prefix="i"), Machine(id_prefix="i")
        self.wakes: set[float] = set()
        self.engines: dict[str, str] = {}  # starting, ready or stopping
        self.held: list[int] = []
        self.waiting: list[int] = []
        self.asked = self.rests = 0
        self.names = [f"m{n}" for n in range(random.choice([5, 8, 14, 20]))]
        self.ram = random.choice([20, 30, 60])
        self._configure()

    def _configure(self) -> None:
        draw = self.random
        groups = [GroupSpec("g", tuple(self.names[:3]))] if draw.random() < 0.3 else []
        if draw.random() < 0.15:
            groups.append(GroupSpec("x", tuple(self.names[3:5]), swap=False, exclusive=True))
        odd = draw.sample(self.names, 3) if draw.random() < 0.3 else [""] * 3
        same = draw.random() < 0.5
        sizes = {name: {"ram": 10 if same else draw.randint(1, 12)} for name in self.names}
        if draw.random() < 0.4:
            for name in draw.sample(self.names, len(self.names) // 2):
                sizes[name]["CUDA0"] = draw.randint(1, 8)
        specs = {
            name: ModelSpec(
                name,
                slots=draw.choice([1, 1, 2]),
                priority=draw.choice([0, 0, 0, 1]),
                ttl_s=draw.choice([5.0, 60.0, 1e9]),
                pin=name == odd[0],
                preload=name in odd[1:],
            )
            for name in self.names
        }
        limits = Limits(
            queue_per_model=30, queue_total=300, max_wait_hot_s=10, min_loaded_s=draw.choice([0, 5]), backoff_max_s=8
        )
        fleet = Fleet(specs, {group.name: group for group in groups}, {"ram": self.ram, "CUDA0": 12}, limits)
        footprints = {name: footprint(size) for name, size in sizes.items()}
        self.step(events.FleetChanged(fleet, dict.fromkeys(self.names, "d"), footprints))

    def step(self, event: events.SchedulerEvent) -> None:
        """Let both decide, and once more from scratch: which events cause a plan is not the question here."""
        orders = []
        for machine in (self.resting, self.thorough):
            world, out = machine._world, []
            for each in (event, events.Tick()):
                world.thorough = world.thorough or machine is self.thorough
                out += machine.step(each, self.now)
                world.dirty = True
            world.dirty = False
            check_books(machine)
            self.wakes |= {each.at for each in out if isinstance(each, commands.Wake) and each.at is not None}
            orders.append([each for each in out if not isinstance(each, commands.Wake)])
        found, expected = (sorted(repr(each) for each in order) for order in orders)
        assert found == expected, f"{event} at {self.now}"
        walk = self.resting._world.walk
        self.rests += walk is not None and walk.at_rest
        self._note(orders[0])

    def _note(self, order: Iterable[commands.Command]) -> None:
        for command in order:
            match command:
                case commands.Start(instance=instance):
                    self.engines[instance] = "starting"
                case commands.Stop(instance=instance):
                    self.engines[instance] = "stopping"
                case commands.Grant(request=request):
                    self.held.append(request)
                    self._served(request)
                case commands.Refuse(request=request):
                    self._served(request)

    def _served(self, request: int) -> None:
        if request in self.waiting:
            self.waiting.remove(request)

    def happen(self) -> None:
        """Something, whatever it is."""
        draw = self.random
        what = draw.random()
        if what < 0.4:
            self.asked += 1
            self.waiting.append(self.asked)
            deadline = self.now + draw.choice([20.0, 200.0, 1e6])
            name, caller, weight = draw.choice(self.names), draw.choice(CALLERS), draw.choice([1, 1, 1, 1, 0])
            self.step(events.Requested(self.asked, name, caller, deadline, weight))
        elif what < 0.55:
            if self.held:
                self.step(events.LeaseReleased(self.held.pop(draw.randrange(len(self.held)))))
        elif what < 0.6:
            if self.waiting:
                self.step(events.RequestsLeft((self.waiting.pop(draw.randrange(len(self.waiting))),)))
        elif what < 0.84:
            self._engine(draw.choice(["starting", "starting", "stopping", "stopping", "ready"]))
        elif what < 0.87:
            ram, gpu = draw.choice([self.ram, self.ram - 5, self.ram + 7, 9]), draw.choice([12, 4, 20])
            self.step(events.MemoryChanged({"ram": ram, "CUDA0": gpu}))
        else:
            self._time_passes(draw.choice(WAITS))

    def _engine(self, doing: str) -> None:
        """One of those that are doing this is done with it; of one that is ready it is seen what it holds."""
        draw = self.random
        those = [instance for instance, state in self.engines.items() if state == doing]
        if not those:
            return
        instance = draw.choice(those)
        if doing == "ready":
            self.step(events.InstanceMeasured(instance, footprint({"ram": draw.randint(1, 12)})))
        elif doing == "stopping":
            del self.engines[instance]
            self.step(events.InstanceStopped(instance))
        elif draw.random() < 0.07:
            del self.engines[instance]
            self.step(events.InstanceFailed(instance, StartFailed("No.", memory=draw.random() < 0.5)))
        else:
            self.engines[instance] = "ready"
            self.step(events.InstanceReady(instance, Endpoint(), 2, draw.choice([1.0, 4.0])))

    def _time_passes(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [at for at in self.wakes if at <= end]:
            self.now = max(self.now, min(due))
            self.wakes.remove(min(due))
            self.step(events.Tick())
        self.now = end


def play(seed: int) -> Twins:
    twins = Twins(Random(seed))
    for _ in range(STEPS):
        twins.happen()
    return twins


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.integers(0, 10**6))
def test_a_walk_that_rests_decides_what_a_look_at_everyone_would(seed: int) -> None:
    play(seed)


def test_walks_do_rest_in_these_worlds() -> None:
    assert sum(play(seed).rests for seed in range(5)) > 50


def test_a_rest_too_early_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "at_rest", lambda world, walk: True)
    with pytest.raises(AssertionError):
        _ = [play(seed) for seed in range(20)]
