"""The bounded wait: nobody starves behind a hot Model, a higher priority or a smaller Model."""

from __future__ import annotations

import pytest

from corral.domain import events
from corral.domain.fleet import Limits
from corral.domain.instance import InstanceState

from .script import Script, spec, swap


def test_a_hot_model_goes_on_granting_until_the_other_has_waited_ten_seconds() -> None:
    s = Script(spec("hot", slots=2), "b", groups=[swap("hot", "b")])
    s.load("hot")
    s.ask(1, "hot")
    assert s.ask(100, "b") == []
    s.wait(9.9)
    assert s.ask(2, "hot") == ["grant 2 hot"]
    s.wait(0.1)
    assert s.state("hot") is InstanceState.DRAINING
    s.release(2)
    assert s.ask(3, "hot") == []
    assert s.release(1) == ["stop hot (swap)"]
    assert s.stopped("hot") == ["start b"]


def test_the_wake_is_set_for_the_moment_when_the_hot_one_must_give_way() -> None:
    s = Script("hot", "b", groups=[swap("hot", "b")], limits=Limits(max_wait_hot_s=3))
    s.load("hot")
    s.ask(1, "hot")
    s.wait(20)
    s.ask(100, "b")
    assert s.wake == 23


@pytest.mark.parametrize("shared", ["group", "memory"])
def test_constant_traffic_on_one_model_delays_another_by_ten_seconds_a_lease_and_the_load(shared: str) -> None:
    lease_s, load_s = 4.0, 7.0
    groups, ram = ([swap("hot", "b")], None) if shared == "group" else ([], 10)
    s = Script(spec("hot", slots=2), "b", groups=groups, ram=ram, sizes={"hot": 6, "b": 6})
    s.load("hot")
    asked_at = None
    open_leases: list[tuple[float, int]] = []
    lines: list[str] = []
    for tick in range(400):  # a new request on the hot Model every second, for ever
        lines = s.wait(1)
        for ends, request in [lease for lease in open_leases if lease[0] <= s.now]:
            open_leases.remove((ends, request))
            lines += s.release(request)
        lines += s.ask(tick, "hot", timeout=60)
        open_leases += [(s.now + lease_s, int(line.split()[1])) for line in lines if line.startswith("grant")]
        if tick == 20:
            asked_at = s.now
            s.ask(1000, "b")
        if any(line.startswith("stop hot") for line in lines):
            assert s.stopped("hot") == ["start b"]
            lines = s.wait(load_s)
            assert s.ready("b") == ["grant 1000 b"]
            break
    assert asked_at is not None
    assert s.granted[1000].waited_s <= 10 + lease_s + load_s + 1  # the test itself moves in steps of a second


def test_those_the_hot_model_left_waiting_get_their_turn_back() -> None:
    s = Script("hot", "b", groups=[swap("hot", "b")])
    s.load("hot")
    s.ask(1, "hot")
    s.ask(100, "b")
    s.ask(101, "b")
    s.wait(10)
    s.ask(2, "hot")
    s.release(1)
    s.stopped("hot")
    s.ready("b")
    s.wait(9)
    assert s.release(100) == ["grant 101 b"]  # b has its own ten seconds
    s.wait(1)
    assert s.state("b") is InstanceState.DRAINING
    assert s.release(101) == ["stop b (swap)"]
    assert s.stopped("b") == ["start hot"]
    assert s.ready("hot") == ["grant 2 hot"]


def test_a_load_that_took_long_still_serves_one_round_although_another_waits() -> None:
    s = Script(spec("a", slots=2), "b", groups=[swap("a", "b")], limits=Limits(max_wait_hot_s=0))
    for request in (1, 2, 3):
        s.ask(request, "a")
    s.ask(100, "b")
    s.wait(60)
    assert s.ready("a") == ["grant 1 a", "grant 2 a"]
    assert s.state("a") is InstanceState.DRAINING
    s.release(1)
    assert s.release(2) == ["stop a (swap)"]
    assert s.stopped("a") == ["start b"]
    s.ready("b")
    assert s.release(100) == ["stop b (swap)"]
    assert s.stopped("b") == ["start a"]
    assert s.ready("a") == ["grant 3 a"]


def test_a_busy_higher_priority_does_not_hold_the_model_for_ever() -> None:
    s = Script(spec("vip", priority=100), "b", groups=[swap("vip", "b")])
    s.load("vip")
    s.ask(1, "vip")
    s.ask(2, "vip")
    s.ask(100, "b")
    s.wait(10)
    assert s.release(1) == ["stop vip (swap)"]
    assert s.stopped("vip") == ["start b"]


def test_one_level_of_priority_is_worth_thirty_seconds_of_waiting() -> None:
    for head_start, first in ((29, "vip"), (31, "b")):
        s = Script("a", "b", spec("vip", priority=1), groups=[swap("a", "b", "vip")], limits=Limits(max_wait_hot_s=99))
        s.load("a")
        s.ask(1, "a")
        s.ask(2, "b")
        s.wait(head_start)
        s.ask(3, "vip")
        s.release(1)
        assert s.stopped("a") == [f"start {first}"]


def test_nobody_starves_behind_a_stream_of_higher_priorities() -> None:
    s = Script("low", *(spec(f"vip{n}", priority=2) for n in range(40)), ram=1)
    s.ask(1000, "vip0")
    s.ask(0, "low")
    running = "vip0"
    for n in range(1, 40):
        s.wait(3)
        s.ask(n, f"vip{n}")  # there is always one of higher priority in line
        s.wait(3)
        (granted,) = [int(line.split()[1]) for line in s.ready(running)]
        s.wait(3)
        s.release(granted)
        (line,) = s.stopped(running)
        running = line.split()[1]
        if running == "low":
            break
    assert running == "low"
    # Two levels are worth 60 s: whoever came later than that went after it.
    assert s.now <= 60 + 20 * 9


def test_the_first_in_line_is_not_passed_by_small_ones_for_ever() -> None:
    s = Script("a", "big", *(f"s{n}" for n in range(30)), ram=10, sizes={"a": 6, "big": 10})
    s.load("a")
    s.ask(1, "a")
    s.ask(2, "big")
    for n in range(30):
        assert s.ask(100 + n, f"s{n}") == []
    s.wait(10)
    assert s.release(1) == ["stop a (memory)"]
    assert s.stopped("a") == ["start big"]


def test_the_ten_seconds_are_a_setting_that_a_reload_changes() -> None:
    models, groups = ("a", "b"), [swap("a", "b")]
    s = Script(*models, groups=groups, limits=Limits(max_wait_hot_s=100))
    s.load("a")
    s.ask(1, "a")
    s.ask(2, "b")
    s.wait(20)
    assert s.state("a") is InstanceState.READY
    s.configure(*models, groups=groups, limits=Limits(max_wait_hot_s=5))
    assert s.state("a") is InstanceState.DRAINING


def test_a_model_that_took_long_to_load_still_has_its_ten_seconds() -> None:
    s = Script("a", "b", groups=[swap("a", "b")])
    for request in (1, 2, 3):
        s.ask(request, "a")
    s.ask(100, "b")
    s.wait(60)
    assert s.ready("a") == ["grant 1 a"]
    s.wait(9)
    assert s.release(1) == ["grant 2 a"]
    s.wait(1)
    assert s.release(2) == ["stop a (swap)"]


def test_nobody_slips_past_one_that_waits_for_memory_that_others_have_claimed() -> None:
    s = Script("a", "b", "c", "d", ram=10, sizes={"a": 10, "b": 4, "c": 7, "d": 5})
    s.load("a")
    assert s.ask(1, "b") == ["stop a (memory)"]
    assert s.ask(2, "c") == []
    assert s.ask(3, "d") == []  # it would fit beside b, and c would have to wait for it too
    assert s.stopped("a") == ["start b"]


def test_a_load_that_fits_only_after_one_ahead_keeps_its_own_claim_on_the_hot_model() -> None:
    s = Script("hot", "b", "c", ram=10, sizes={"hot": 6, "b": 5, "c": 5})
    s.load("hot")
    s.ask(1, "hot")
    s.ask(2, "b")  # hot must leave for it, and then c fits as well
    s.ask(3, "c")
    s.leave(2)
    s.wait(10)
    assert s.state("hot") is InstanceState.DRAINING
    assert s.release(1) == ["stop hot (memory)"]
    assert s.evictions_told() == [("hot", "memory", "c")]


def test_a_victim_that_two_wait_for_goes_to_the_one_ahead() -> None:
    s = Script("x", "c", spec("vip", priority=5), groups=[swap("x", "c")], ram=10, sizes={"x": 6, "c": 6, "vip": 8})
    s.load("x")
    s.ask(1, "x")
    s.ask(2, "c")  # needs x out because of the group
    s.wait(5)
    s.ask(3, "vip")  # needs x out because of memory
    s.wait(5)
    assert s.state("x") is InstanceState.READY
    s.wait(5)
    assert s.release(1) == ["stop x (memory)"]
    assert s.stopped("x") == ["start vip"]


def test_a_clock_that_leaps_over_every_deadline_answers_everybody_once() -> None:
    """A machine that slept, or a process that was stopped: hours pass between two events."""
    s = Script(spec("a", ttl=60), "b", groups=[swap("a", "b")])
    s.ask(1, "a")
    s.ready("a", slots=1)
    s.ask(2, "b", timeout=100.0)
    s.ask(3, "a", timeout=50.0)
    s.now += 50_000
    assert sorted(s.step(events.Tick())) == ["refuse 2 queue_timeout", "refuse 3 queue_timeout"]
    s.ask(4, "a")
    assert s.release(1) == ["grant 4 a"]
    s.release(4)
    s.now += 50_000
    assert s.step(events.Tick()) == ["stop a (ttl)"]
