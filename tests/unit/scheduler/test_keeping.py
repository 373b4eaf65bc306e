"""What requests ask of the time that their Model stays loaded after them: Ollama's keep_alive."""

from __future__ import annotations

import pytest

from corral.domain.launch import LoadWish
from corral.domain.units import FOREVER

from .script import Script, spec, swap


def test_a_request_sets_the_time_and_the_next_one_that_says_nothing_keeps_it() -> None:
    s = Script(spec("a", ttl=60))
    s.ask(1, "a", keep_s=5)
    s.ready("a")
    assert s.view("a").ttl_s == 5
    s.release(1)
    assert s.view("a").expires_at == 5
    s.wait(4)
    s.ask(2, "a")
    s.wait(10)
    s.release(2)
    assert s.view("a").expires_at == 19
    assert s.wait(4.9) == []
    assert s.wait(0.1) == ["stop a (ttl)"]
    assert s.evictions_told() == [("a", "ttl", "")]


def test_a_fresh_instance_begins_with_the_models_own_time() -> None:
    s = Script(spec("a", ttl=60))
    s.ask(1, "a", keep_s=0)
    s.ready("a")
    assert s.release(1) == ["stop a (ttl)"]
    s.stopped("a")
    s.ask(2, "a")
    s.ready("a")
    assert s.view("a").ttl_s == 60
    assert s.release(2) == []


def test_zero_waits_for_the_last_lease_and_for_those_in_line() -> None:
    s = Script(spec("a", ttl=60, slots=2))
    s.load("a")
    s.ask(1, "a", keep_s=0)
    s.ask(2, "a")
    s.ask(3, "a")
    assert s.release(1) == ["grant 3 a"]
    assert s.release(2) == []
    assert s.release(3) == ["stop a (ttl)"]


def test_a_longer_time_than_the_timer_was_set_for() -> None:
    s = Script(spec("a", ttl=10))
    s.load("a")
    s.wait(5)
    s.ask(1, "a", keep_s=100)
    s.release(1)
    assert s.wait(99.9) == []
    assert s.wait(0.1) == ["stop a (ttl)"]


def test_a_shorter_time_than_the_timer_was_set_for() -> None:
    s = Script(spec("a", ttl=100))
    s.load("a")
    s.ask(1, "a", keep_s=10)
    s.release(1)
    assert s.wait(10) == ["stop a (ttl)"]


def test_for_ever_until_another_request_says_else() -> None:
    s = Script(spec("a", ttl=10))
    s.ask(1, "a", keep_s=FOREVER)
    s.ready("a")
    s.release(1)
    assert (s.view("a").ttl_s, s.view("a").expires_at) == (None, None)
    assert s.wait(100_000) == []
    s.ask(2, "a", keep_s=1)
    s.release(2)
    assert s.wait(1) == ["stop a (ttl)"]


def test_a_lease_without_a_slot_sets_it_too() -> None:
    """A question for nothing but a load, and one for an unload after it."""
    s = Script(spec("a", ttl=10))
    assert s.ask(1, "a", weight=0, keep_s=50) == ["start a"]
    assert s.ready("a") == ["grant 1 a"]
    s.release(1)
    assert s.view("a").expires_at == 50
    assert s.ask(2, "a", weight=0, keep_s=0) == ["grant 2 a"]
    assert s.release(2) == ["stop a (ttl)"]


def test_who_leaves_before_the_grant_has_changed_nothing() -> None:
    s = Script(spec("a", ttl=10))
    s.load("a")
    s.ask(1, "a")
    s.ask(2, "a", keep_s=FOREVER)
    s.leave(2)
    s.release(1)
    assert s.wait(10) == ["stop a (ttl)"]


def test_a_pinned_model_stays() -> None:
    s = Script(spec("a", ttl=10, pin=True))
    s.ready("a")
    s.ask(1, "a", keep_s=0)
    assert s.release(1) == []
    assert s.wait(1000) == []
    assert s.view("a").ttl_s is None


@pytest.mark.parametrize(("asked", "stays"), [(0.0, 20.0), (20.0, 20.0), (25.0, 25.0), (FOREVER, 30.0), (None, 60.0)])
def test_the_operators_bounds_go_before_what_is_asked(asked: float | None, stays: float) -> None:
    """But not before the operator's own ttl."""
    s = Script(spec("a", ttl=60, keep=(20, 30)))
    s.ask(1, "a", keep_s=asked)
    s.ready("a")
    s.release(1)
    assert s.view("a").ttl_s == stays
    assert s.wait(stays - 0.1) == []
    assert s.wait(0.1) == ["stop a (ttl)"]


def test_bounds_of_a_new_fleet_hold_at_once() -> None:
    s = Script(spec("a", ttl=60))
    s.ask(1, "a", keep_s=FOREVER)
    s.ready("a")
    s.release(1)
    s.wait(50)
    assert s.configure(spec("a", ttl=60, keep=(0, 30))) == ["stop a (ttl)"]


def test_what_is_kept_for_ever_makes_room_like_any_other() -> None:
    s = Script("a", "b", "c", groups=[swap("a", "b")], ram=2)
    s.ask(1, "a", keep_s=FOREVER)
    s.ready("a")
    s.release(1)
    assert s.ask(2, "b") == ["stop a (swap)"]
    s.stopped("a")
    s.ready("b")
    s.ask(3, "c", keep_s=FOREVER)
    s.ready("c")
    s.release(2, 3)
    assert s.ask(4, "a") == ["stop b (swap)"]
    s.stopped("b")
    s.ready("a")
    assert s.memory(1) == ["stop c (memory)"]


def test_the_same_time_again_costs_no_timer() -> None:
    """Clients that name it with every request stay on the short way at the release."""
    s = Script(spec("a", ttl=10))
    s.ask(1, "a", keep_s=100)
    s.ready("a")
    s.release(1)
    s.ask(2, "a", keep_s=100)
    assert s.machine.give_back(2, s.now)


def test_a_client_that_has_done_with_a_model_takes_it_from_nobody() -> None:
    s = Script(spec("a", ttl=60))
    s.ask(1, "a")
    s.ask(2, "a")
    assert s.keep("a", 0) == [], "it is being loaded for others"
    s.ready("a", slots=1)
    assert s.keep("a", 0) == []
    assert s.release(1) == ["grant 2 a"]
    assert s.release(2) == ["stop a (ttl)"]
    s.stopped("a")
    assert s.keep("a", 0) == [] and s.keep("nobody", 0) == [], "nothing is loaded for it"
    s.load("a")
    assert s.view("a").ttl_s == 60
    assert s.keep("a", 0) == ["stop a (ttl)"]


def test_neither_a_pin_nor_the_operators_least_gives_way_to_a_client() -> None:
    s = Script(spec("a", ttl=60, pin=True), spec("b", ttl=60, keep=(30, FOREVER)))
    s.ready("a")
    s.load("b")
    assert s.keep("a", 0) == [] and s.keep("b", 0) == []
    assert s.wait(29.9) == []
    assert s.wait(0.1) == ["stop b (ttl)"]


def test_all_ways_of_a_model_go_when_a_client_has_done_with_it() -> None:
    s = Script(spec("a"))
    s.load("a")
    s.ask(1, "a", wish=LoadWish({"threads": 2}))
    s.surveyed("a threads=2", digest="2")
    s.ready("a threads=2")
    assert s.keep("a", 0) == ["stop a (ttl)"]
    assert s.release(1) == ["stop a threads=2 (ttl)"]
