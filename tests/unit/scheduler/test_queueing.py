"""Queueing: order, bounds, deadlines, leaving, and leases without a slot."""

from __future__ import annotations

from corral.domain.fleet import Limits

from .script import Script, spec, swap


def test_more_requests_than_slots_wait_and_are_served_in_order_of_arrival() -> None:
    s = Script(spec("a", slots=2))
    s.load("a")
    lines = [line for request in range(1, 6) for line in s.ask(request, "a")]
    assert lines == ["grant 1 a", "grant 2 a"]
    assert [s.machine.position(request) for request in range(1, 6)] == [None, None, 1, 2, 3]
    assert s.release(2) == ["grant 3 a"]
    assert s.release(1) == ["grant 4 a"]
    assert s.release(3) == ["grant 5 a"]


def test_the_engine_may_have_fewer_slots_than_the_spec_hopes_for() -> None:
    s = Script(spec("a", slots=4))
    s.ask(1, "a")
    s.ask(2, "a")
    assert s.ready("a", slots=1) == ["grant 1 a"]
    assert s.view("a").slots == 1


def test_the_queue_of_a_model_is_bounded() -> None:
    s = Script(spec("a", queue=2))
    assert [*s.ask(1, "a"), *s.ask(2, "a")] == ["start a"]
    assert s.ask(3, "a") == ["refuse 3 queue_full"]
    assert s.errors[3].retry_after_s is not None
    assert s.leave(1) == []
    assert s.ask(4, "a") == []  # a place is free again
    assert s.ask(5, "a") == ["refuse 5 queue_full"]


def test_the_fleets_own_bound_holds_where_the_model_has_none() -> None:
    s = Script("a", limits=Limits(queue_per_model=1))
    s.ask(1, "a")
    assert s.ask(2, "a") == ["refuse 2 queue_full"]


def test_the_queues_together_are_bounded() -> None:
    s = Script("a", "b", "c", limits=Limits(queue_total=2))
    s.ask(1, "a")
    s.ask(2, "b")
    assert s.machine.queue_total == 2
    assert s.ask(3, "c") == ["refuse 3 queue_full"]
    assert "in all" in s.errors[3].message


def test_retry_after_follows_the_wait_of_the_first_in_the_queue() -> None:
    s = Script(spec("a", queue=1))
    s.ask(1, "a")
    s.wait(20)
    s.ask(2, "a")
    assert s.errors[2].retry_after_s == 20
    s.wait(2000)
    s.ask(3, "a")
    assert s.errors[3].retry_after_s == 60


def test_priority_decides_between_models_and_arrival_between_equals() -> None:
    s = Script("a", "b", "c", spec("vip", priority=5), groups=[swap("a", "b", "c", "vip")])
    s.load("a")
    s.ask(1, "a")
    for request, model in ((2, "b"), (3, "c"), (4, "vip")):
        s.ask(request, model)
        s.wait(1)
    assert s.release(1) == ["stop a (swap)"]
    assert s.stopped("a") == ["start vip"]
    assert s.ready("vip") == ["grant 4 vip"]
    assert s.release(4) == ["stop vip (swap)"]
    assert s.stopped("vip") == ["start b"]
    assert s.ready("b") == ["grant 2 b"]
    assert s.release(2) == ["stop b (swap)"]
    assert s.stopped("b") == ["start c"]


def test_a_request_with_a_deadline_is_refused_when_it_comes() -> None:
    s = Script("a")
    s.ask(1, "a", timeout=30)
    s.ask(2, "a", timeout=10)
    assert s.wait(10) == ["refuse 2 queue_timeout"]
    assert s.wait(19) == []
    assert s.wait(1) == ["refuse 1 queue_timeout"]
    assert "30 s" in s.errors[1].message


def test_a_deadline_is_no_matter_once_the_lease_is_there() -> None:
    s = Script("a")
    s.ask(1, "a", timeout=10)
    s.ready("a")
    assert s.wait(100) == []


def test_who_leaves_the_queue_is_not_started_for() -> None:
    s = Script("a", "b", groups=[swap("a", "b")])
    s.load("a")
    s.ask(1, "a")
    s.ask(2, "b")
    s.leave(2)
    assert s.release(1) == []
    assert s.wait(1000) == []


def test_who_leaves_the_queue_gives_the_place_to_the_next() -> None:
    s = Script("a")
    s.load("a")
    s.ask(1, "a")
    s.ask(2, "a")
    s.ask(3, "a")
    s.leave(2)
    assert s.machine.position(3) == 1
    assert s.release(1) == ["grant 3 a"]


def test_leaving_after_the_grant_gives_the_lease_back() -> None:
    s = Script("a")
    s.load("a")
    s.ask(1, "a")
    s.ask(2, "a")
    assert s.leave(1) == ["grant 2 a"]


def test_what_comes_twice_or_too_late_is_ignored() -> None:
    s = Script("a")
    s.load("a")
    s.ask(1, "a")
    assert s.release(1) == []
    assert s.release(1) == []
    assert s.leave(1) == []
    assert s.leave(77) == []
    assert s.view("a").leases == 0


def test_a_lease_without_a_slot_is_given_at_once_on_a_full_instance() -> None:
    s = Script("a")
    s.load("a")
    s.ask(1, "a")
    assert s.ask(2, "a", weight=0) == ["grant 2 a"]
    assert s.view("a").leases == 1  # slots in use
    assert s.release(2) == []


def test_a_lease_without_a_slot_keeps_its_instance() -> None:
    s = Script(spec("a", ttl=5), "b", groups=[swap("a", "b")])
    s.load("a")
    s.ask(1, "a", weight=0)
    assert s.ask(2, "b") == []
    assert s.wait(100) == []
    assert s.release(1) == ["stop a (swap)"]


def test_a_request_without_a_slot_loads_its_model_too() -> None:
    s = Script("a")
    assert s.ask(1, "a", weight=0) == ["start a"]
    s.ask(2, "a")
    assert s.ready("a") == ["grant 1 a", "grant 2 a"]


def test_positions_are_those_of_service_and_who_wants_no_slot_comes_first() -> None:
    s = Script("a")
    s.ask(1, "a")
    s.ask(2, "a", weight=0)
    s.ask(3, "a")
    s.ask(4, "a", caller="another")
    assert [s.machine.position(request) for request in (1, 2, 3, 4, 5)] == [2, 1, 4, 3, None]


def test_no_wake_is_left_when_nothing_waits() -> None:
    s = Script("a")
    s.ask(1, "a", timeout=50)
    s.ready("a")
    s.release(1)
    s.wait(100)
    assert s.wake is None
