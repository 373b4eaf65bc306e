"""What a decision costs must not grow with the number of idle Models. Work is counted in lines run, not in time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from corral.domain import commands, events
from corral.domain.fleet import Fleet, GroupSpec, Limits, ModelSpec
from corral.domain.launch import Endpoint, Footprint
from corral.domain.serving import Caller
from corral.scheduler.machine import Machine

PLENTY = 1e9
C = Caller("c")


def lines_run(work: Callable[[], object]) -> int:
    count = 0

    def trace(frame: FrameType, what: str, argument: Any) -> Any:
        nonlocal count
        count += what == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def machine_with(count: int) -> Machine:
    """Many Models, one budget that holds two of them, every other one in a swap group; `m0` is ready and idle."""
    names = [f"m{n}" for n in range(count)]
    groups = {"g": GroupSpec("g", tuple(names[1::2]))}
    machine = Machine(id_prefix="i")
    fleet = Fleet({name: ModelSpec(name) for name in names}, groups, {"ram": 20}, Limits(min_loaded_s=0))
    machine.step(events.FleetChanged(fleet, dict.fromkeys(names, "d"), dict.fromkeys(names, Footprint(10))), 0.0)
    machine.step(events.Requested(1, "m0", C, PLENTY), 1.0)
    machine.step(events.InstanceReady("i-1", Endpoint(), 1, 1.0), 2.0)
    machine.step(events.LeaseReleased(1), 3.0)
    return machine


def hot(machine: Machine) -> None:
    machine.step(events.Requested(2, "m0", C, PLENTY), 4.0)
    machine.step(events.LeaseReleased(2), 5.0)


def queued(machine: Machine) -> None:
    machine.step(events.Requested(2, "m0", C, PLENTY), 4.0)
    machine.step(events.Requested(3, "m0", C, PLENTY), 4.0)
    machine.step(events.LeaseReleased(2), 5.0)
    machine.step(events.RequestLeft(3), 5.0)


def swapped(machine: Machine) -> None:
    for request, model, now in ((2, "m1", 4.0), (3, "m3", 6.0)):
        out = machine.step(events.Requested(request, model, C, PLENTY), now)
        for stop in (c for c in out if isinstance(c, commands.Stop)):
            out = machine.step(events.InstanceStopped(stop.instance), now)
        (start,) = (c for c in out if isinstance(c, commands.Start))
        machine.step(events.InstanceReady(start.instance, Endpoint(), 1, 1.0), now + 1.0)
        machine.step(events.LeaseReleased(request), now + 2.0)
    machine.step(events.Tick(), 2000.0)


@pytest.mark.parametrize("work", [hot, queued, swapped])
def test_thousands_of_idle_models_cost_nothing(work: Callable[[Machine], None]) -> None:
    few, many = machine_with(4), machine_with(3000)
    assert lines_run(lambda: work(few)) == lines_run(lambda: work(many))


def test_the_hot_path_stays_short() -> None:
    machine = machine_with(4)
    assert lines_run(lambda: hot(machine)) <= 30
