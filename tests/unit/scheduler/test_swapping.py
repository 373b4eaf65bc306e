"""Swapping: groups decide who leaves, nobody is cut, and conflicting loads go one after the other."""

from __future__ import annotations

from corral.domain.errors import Conflict
from corral.domain.instance import InstanceState

from .script import Script, spec, swap, together


def test_a_swap_stops_the_other_before_it_starts() -> None:
    s = Script("a", "b", groups=[swap("a", "b")])
    s.load("a")
    assert s.ask(1, "b") == ["stop a (swap)"]
    assert s.state("a") is InstanceState.STOPPING
    assert s.stopped("a") == ["start b"]
    assert s.ready("b") == ["grant 1 b"]
    assert s.evictions_told() == [("a", "swap", "b")]


def test_no_swap_while_serving() -> None:
    s = Script("a", "b", groups=[swap("a", "b")])
    s.load("a")
    s.ask(1, "a")
    assert s.ask(2, "b") == []
    assert s.wait(500) == []  # an answer may take as long as it takes
    assert s.state("a") is InstanceState.DRAINING
    assert s.release(1) == ["stop a (swap)"]
    assert s.stopped("a") == ["start b"]


def test_a_b_a_b_is_served_with_two_swaps() -> None:
    s = Script("a", "b", groups=[swap("a", "b")])
    assert s.ask(1, "a") == ["start a"]
    assert [*s.ask(2, "b"), *s.ask(3, "a"), *s.ask(4, "b")] == []
    assert s.ready("a") == ["grant 1 a"]
    assert s.release(1) == ["grant 3 a"]
    assert s.release(3) == ["stop a (swap)"]
    assert s.stopped("a") == ["start b"]
    assert s.ready("b") == ["grant 2 b"]
    assert s.release(2) == ["grant 4 b"]


def test_disjoint_swaps_go_in_parallel() -> None:
    s = Script("a", "b", "c", "d", groups=[swap("a", "b"), swap("c", "d")])
    s.load("a", "c")
    assert s.ask(1, "b") == ["stop a (swap)"]
    assert s.ask(2, "d") == ["stop c (swap)"]
    assert s.stopped("c") == ["start d"]
    assert s.stopped("a") == ["start b"]


def test_overlapping_evictions_do_not_run_at_once() -> None:
    s = Script("a", "b", "c", groups=[swap("a", "b", "c")])
    s.load("a")
    assert s.ask(1, "b") == ["stop a (swap)"]
    assert s.ask(2, "c") == []
    assert s.stopped("a") == ["start b"]
    assert s.ready("b") == ["grant 1 b"]
    assert s.release(1) == ["stop b (swap)"]
    assert s.stopped("b") == ["start c"]


def test_an_exclusive_load_sends_other_groups_away_but_not_persistent_ones_nor_the_ungrouped() -> None:
    s = Script(
        "big",
        "small",
        "embed",
        "free",
        groups=[together("big", exclusive=True), together("small"), together("embed", persistent=True)],
    )
    s.load("small", "embed", "free")
    assert s.ask(1, "big") == ["stop small (exclusive)"]
    assert s.stopped("small") == ["start big"]
    assert s.state("embed") is InstanceState.READY
    assert s.state("free") is InstanceState.READY
    assert s.evictions_told() == [("small", "exclusive", "big")]


def test_a_load_that_is_not_exclusive_leaves_a_running_exclusive_group_alone() -> None:
    s = Script("big", "small", groups=[together("big", exclusive=True), together("small")])
    s.load("big")
    assert s.ask(1, "small") == ["start small"]
    assert s.state("big") is InstanceState.READY


def test_an_exclusive_load_and_another_group_do_not_start_at_once() -> None:
    s = Script("big", "small", "other", groups=[together("big", exclusive=True), together("small"), together("other")])
    s.load("small")
    s.ask(1, "small")
    assert s.ask(2, "big") == []  # small is in use
    assert s.ask(3, "other") == []  # big is ahead, and would send it away again
    assert s.release(1) == ["stop small (exclusive)"]
    assert s.stopped("small") == ["start big", "start other"]


def test_an_exclusive_load_waits_for_those_ahead_that_it_would_send_away() -> None:
    s = Script("a", "b", "big", groups=[swap("a", "b"), together("big", exclusive=True)])
    s.load("a")
    s.ask(1, "a")
    assert s.ask(2, "b") == []
    assert s.ask(3, "big") == []
    assert s.release(1) == ["stop a (swap)"]
    assert s.stopped("a") == ["start b"]
    assert s.ready("b") == ["grant 2 b"]
    assert s.release(2) == ["stop b (exclusive)"]
    assert s.stopped("b") == ["start big"]


def test_the_client_that_leaves_while_waiting_for_a_swap_stops_the_swap() -> None:
    s = Script("a", "b", groups=[swap("a", "b")])
    s.load("a")
    s.ask(1, "a")
    s.ask(2, "b")
    assert s.leave(2) == []
    assert s.release(1) == []
    assert s.state("a") is InstanceState.READY
    assert s.ask(3, "b") == ["stop a (swap)"]  # a later eviction works
    assert s.machine.queue_total == 1


def test_a_drain_is_taken_back_when_nobody_needs_it_any_more() -> None:
    s = Script("a", "b", groups=[swap("a", "b")])
    s.load("a")
    s.ask(1, "a")
    s.ask(2, "b")
    s.wait(11)
    assert s.state("a") is InstanceState.DRAINING
    assert s.ask(3, "a") == []  # no new leases while it drains
    s.leave(2)
    assert s.state("a") is InstanceState.READY
    assert s.release(1) == ["grant 3 a"]
    assert s.evictions_told() == []


def test_waiters_that_come_while_their_model_drains_are_served_by_it_when_the_drain_is_taken_back() -> None:
    s = Script(spec("a", slots=2), "b", groups=[swap("a", "b")])
    s.load("a")
    s.ask(1, "a")
    s.ask(2, "b")
    s.wait(11)
    assert s.ask(3, "a") == []
    assert s.leave(2) == ["grant 3 a"]


def test_the_evicted_are_not_restored_when_the_load_fails() -> None:
    s = Script("a", "b", groups=[swap("a", "b")])
    s.load("a")
    s.ask(1, "b")
    s.stopped("a")
    assert s.fail("b") == ["refuse 1 engine_start_failed"]
    assert s.state("a") is InstanceState.STOPPED


def test_a_member_that_starts_is_not_cut_for_the_next_one() -> None:
    s = Script("a", "b", groups=[swap("a", "b")])
    s.ask(1, "a")
    assert s.ask(2, "b") == []
    assert s.wait(1000) == []
    assert s.ready("a") == ["grant 1 a"]


def test_what_can_never_run_beside_a_pinned_model_is_refused_with_its_name() -> None:
    s = Script(spec("k", pin=True), "a", groups=[swap("k", "a")])
    s.ready("k")
    assert s.ask(1, "a") == ["refuse 1 conflict"]
    error = s.errors[1]
    assert isinstance(error, Conflict)
    assert "'k'" in error.message
    assert "pinned" in error.message


def test_a_pinned_model_is_not_sent_away_by_an_exclusive_one() -> None:
    s = Script(spec("k", pin=True), "big", groups=[together("k"), together("big", exclusive=True)])
    s.ready("k")
    assert s.ask(1, "big") == ["refuse 1 conflict"]
    assert s.state("k") is InstanceState.READY


def test_memory_that_does_not_come_back_refuses_the_load_that_needs_it() -> None:
    s = Script("a", "b", groups=[swap("a", "b")])
    s.load("a")
    s.ask(1, "b")
    assert s.stopped("a", error="2 GiB of VRAM still in use after 5 s") == ["refuse 1 no_memory"]
    assert "2 GiB of VRAM" in s.errors[1].message
    s.wait(2)
    assert s.ask(2, "b") == []  # it is still there: nothing starts beside it
    assert s.stopped("a", error="still in use") == ["refuse 2 no_memory"]
    s.wait(4)
    assert s.ask(3, "b") == []
    assert s.stopped("a") == ["start b"]


def test_memory_that_does_not_come_back_hurts_nobody_else() -> None:
    s = Script("a", "b", "c", "d", groups=[swap("a", "b"), swap("c", "d")])
    s.load("a", "c")
    s.ask(1, "b")
    s.ask(2, "d")
    assert s.stopped("a", error="still in use") == ["refuse 1 no_memory"]
    assert s.stopped("c") == ["start d"]


def test_a_swap_waits_for_a_victim_that_stops_for_another_reason() -> None:
    s = Script(spec("a", ttl=5), "b", groups=[swap("a", "b")])
    s.load("a")
    assert s.wait(5) == ["stop a (ttl)"]
    assert s.ask(1, "b") == []
    assert s.stopped("a") == ["start b"]
