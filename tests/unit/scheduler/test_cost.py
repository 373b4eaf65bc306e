"""What a decision costs must not grow with the number of idle Models. Work is counted in lines run, not in time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import pytest

from corral.domain import commands, events
from corral.domain.fleet import Fleet, GroupSpec, Limits, ModelSpec
from corral.domain.launch import Endpoint, Footprint
from corral.domain.serving import Caller
from corral.scheduler.machine import Machine
from tests.lines_run import lines_run

PLENTY = 1e9
C = Caller("c")
CALLERS = [Caller(f"c{number}") for number in range(7)]


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


def quick(machine: Machine) -> None:
    """The same without events."""
    assert machine.grant(4, "m0", C, 4.0) is not None and machine.give_back(4, 5.0)


def queued(machine: Machine) -> None:
    machine.step(events.Requested(2, "m0", C, PLENTY), 4.0)
    machine.step(events.Requested(3, "m0", C, PLENTY), 4.0)
    machine.step(events.LeaseReleased(2), 5.0)
    machine.step(events.RequestsLeft((3,)), 5.0)


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


def test_who_asks_for_what_is_present_does_not_pay_for_the_idle() -> None:
    few, many = machine_with(4), machine_with(3000)
    assert [view.model for machine in (few, many) for view in machine.present()] == ["m0", "m0"]
    assert lines_run(few.present) == lines_run(many.present)
    assert lines_run(few.used) == lines_run(many.used)


def test_the_hot_path_stays_short() -> None:
    machine = machine_with(4)
    assert lines_run(lambda: hot(machine)) <= 32
    assert lines_run(lambda: quick(machine)) <= 24


# --- a long line ------------------------------------------------------------------------------------------------------


def crowd(count: int, alive: int = 10, large: str = "") -> Machine:
    """Some Models are ready and in use, `count` others wait for their memory with five requests each."""
    names = [f"m{n}" for n in range(count + alive + 1)]
    limits = Limits(queue_per_model=count * 10, queue_total=count * 10)
    machine = Machine(id_prefix="i")
    fleet = Fleet({name: ModelSpec(name) for name in names}, {}, {"ram": 10 * alive}, limits)
    sizes = {name: Footprint(90 if name == large else 10) for name in names}
    machine.step(events.FleetChanged(fleet, dict.fromkeys(names, "d"), sizes), 0.0)
    for number in range(alive):
        machine.step(events.Requested(number, names[number], CALLERS[0], PLENTY), 1.0)
        machine.step(events.InstanceReady(f"i-{number + 1}", Endpoint(), 1, 1.0), 1.0)
    for number in range(count * 5):
        caller = CALLERS[number % len(CALLERS)]
        machine.step(events.Requested(100 + number, names[alive + number % count], caller, PLENTY), 2.0)
    return machine


def newcomer(machine: Machine) -> None:
    machine.step(events.Requested(99, list(machine._world.models)[-1], CALLERS[1], PLENTY), 3.0)


def one_more(machine: Machine) -> None:
    machine.step(events.Requested(99, "m30", Caller("one more"), PLENTY), 3.0)


def gone(machine: Machine) -> None:
    machine.step(events.RequestsLeft((100 + 40,)), 3.0)


def hot_for_long(machine: Machine) -> None:
    machine.step(events.Tick(), 12.5)


def measured(machine: Machine) -> None:
    machine.step(events.InstanceMeasured("i-1", Footprint(9)), 3.0)


def expired(machine: Machine) -> None:
    machine.step(events.Requested(99, "m60", Caller("urgent", priority=9), 4.0), 3.0)
    (refused,) = (c for c in machine.step(events.Tick(), 4.0) if isinstance(c, commands.Refuse))
    assert refused.request == 99


def less_memory(machine: Machine) -> None:
    """Less than there was, and enough for each of those who wait."""
    out = machine.step(events.MemoryChanged({"ram": machine._world.budgets["ram"] - 5}), 3.0)
    assert not [each for each in out if isinstance(each, commands.Refuse)]


def more_memory(machine: Machine) -> None:
    machine.step(events.MemoryChanged({"ram": machine._world.budgets["ram"] + 1}), 3.0)


def freed(machine: Machine) -> None:
    (stop,) = (c for c in machine.step(events.LeaseReleased(0), 3.0) if isinstance(c, commands.Stop))
    (start,) = (c for c in machine.step(events.InstanceStopped(stop.instance), 3.0) if isinstance(c, commands.Start))
    machine.step(events.InstanceReady(start.instance, Endpoint(), 1, 1.0), 4.0)


EVENTS = [newcomer, one_more, gone, freed, expired, hot_for_long, measured, less_memory, more_memory]


@pytest.mark.parametrize("work", EVENTS)
def test_what_an_event_costs_does_not_grow_with_the_line(work: Callable[[Machine], None]) -> None:
    short, long = crowd(60), crowd(600)
    few, many = lines_run(lambda: work(short)), lines_run(lambda: work(long))
    assert many <= few * 1.1 + 20, (few, many)


@pytest.mark.parametrize("work", [newcomer, one_more, gone, freed, expired, measured, less_memory, more_memory])
def test_an_engine_that_is_alive_costs_others_events_a_glance(work: Callable[[Machine], None]) -> None:
    """`freed` are three events, `expired` two. A look at what each could make free would be some 80 lines each time."""
    few, many = crowd(600), crowd(600, alive=50)
    assert lines_run(lambda: work(many)) <= lines_run(lambda: work(few)) + 40 * 40


def test_who_becomes_impossible_is_told_although_nobody_else_is_looked_at() -> None:
    machine = crowd(600, large="m500")

    def shrink() -> None:
        out = machine.step(events.MemoryChanged({"ram": 80}), 3.0)
        assert len([each for each in out if isinstance(each, commands.Refuse)]) == 5

    lines = lines_run(shrink)
    assert lines < 2500, lines


def test_all_who_wait_may_leave_at_once() -> None:
    def leave(count: int) -> int:
        machine = crowd(count)
        return lines_run(lambda: [machine.step(events.RequestsLeft((100 + n,)), 3.0) for n in range(count * 5)])

    few, many = leave(50), leave(200)
    assert many <= 4 * few * 1.3


def test_those_who_leave_together_take_one_plan() -> None:
    machine, requests = crowd(1000), tuple(range(100, 5100))
    together = lines_run(lambda: machine.step(events.RequestsLeft(requests), 3.0))
    assert machine.queue_total == 0
    assert together < 200 * len(requests)  # a plan costs a thousand lines


def test_a_decision_in_a_long_line_takes_well_under_a_millisecond() -> None:
    """A generous bound on time: the bench has the numbers (5 to 75 us each)."""
    machine = crowd(1000)
    taken = []
    for number in range(200):
        began = time.perf_counter()
        machine.step(events.Requested(10_000 + number, f"m{20 + number}", CALLERS[2], PLENTY), 3.0)
        machine.step(events.RequestsLeft((200 + number,)), 3.0)
        taken.append(time.perf_counter() - began)
    began = time.perf_counter()
    freed(machine)
    assert statistics.median(taken) < 0.0005
    assert time.perf_counter() - began < 0.01
