"""Fairness between callers: slots of a Model, turns among Models, priorities and bounds of keys."""

from __future__ import annotations

import pytest

from corral.domain.fleet import Limits
from corral.domain.instance import InstanceState
from corral.domain.serving import Caller

from .script import Script, spec, swap

TWO = Caller("two", max_concurrent=2)
ONE = Caller("one", max_concurrent=1)


def served(s: Script, model: str, requests: int, *, takes: float = 1.0) -> list[int]:
    """Release one after the other whoever has the only slot, and see who comes next."""
    order = []
    for _ in range(requests):
        (now,) = [int(request) for request in s.granted if s.granted[request].instance and _holds(s, request)]
        s.wait(takes)
        order += [int(line.split()[1]) for line in s.release(now) if line.startswith("grant")]
    return order


def _holds(s: Script, request: int) -> bool:
    return request in s.machine._world.leases


# --- the slots of a Model ---------------------------------------------------------------------------------------------


def test_one_request_does_not_wait_behind_those_of_another() -> None:
    s = Script("a")
    s.load("a")
    for request in range(1, 51):
        s.ask(request, "a", caller="flood")
    s.ask(100, "a", caller="other")
    assert s.machine.position(100) == 1
    s.wait(1)
    assert s.release(1) == ["grant 100 a"]


def test_a_load_shares_its_slots_although_one_came_first_with_many() -> None:
    s = Script(spec("a", slots=4))
    for request in range(1, 21):
        s.ask(request, "a", caller="flood")
    s.ask(100, "a", caller="x")
    s.ask(101, "a", caller="y")
    assert s.ready("a") == ["grant 1 a", "grant 100 a", "grant 101 a", "grant 2 a"]


def test_who_has_the_slots_already_comes_after_who_has_none() -> None:
    s = Script(spec("a", slots=3))
    s.load("a")
    for request in (1, 2):
        s.ask(request, "a", caller="early")
    s.ask(3, "a", caller="third")
    s.ask(4, "a", caller="early")
    s.ask(5, "a", caller="late")
    s.wait(1)
    assert s.release(3) == ["grant 5 a"]


def test_slot_seconds_count_and_not_requests() -> None:
    s = Script("a")
    s.load("a")
    s.ask(0, "a", caller="short")
    for request in range(1, 31):
        s.ask(request, "a", caller="long")
        s.ask(100 + request, "a", caller="short")
    running, order = 0, []
    for _ in range(30):
        s.wait(9 if 1 <= running <= 30 else 1)
        (line,) = s.release(running)
        running = int(line.split()[1])
        order.append("long" if running <= 30 else "short")
    long_s, short_s = 9 * order.count("long"), order.count("short")
    assert abs(long_s - short_s) <= 2 * 9


@pytest.mark.parametrize("takes", [0.0, 1.0])
def test_answers_that_take_no_time_and_a_clock_that_stands_still(takes: float) -> None:
    s = Script("a")
    s.load("a")
    s.ask(0, "a", caller="x")
    for request in range(1, 4):
        s.ask(request, "a", caller="x")
    for request in range(11, 14):
        s.ask(request, "a", caller="y")
    order = served(s, "a", 6, takes=takes)
    assert order == [11, 1, 12, 2, 13, 3]


def test_a_key_of_higher_priority_has_a_head_start_and_no_more() -> None:
    s = Script("a")
    s.load("a")
    s.ask(0, "a", caller="low")
    for request in range(1, 21):
        s.ask(request, "a", caller="low")
    for request in range(100, 120):
        s.ask(request, "a", caller=Caller("high", priority=1))
    order = served(s, "a", 12, takes=5.0)
    assert 6 <= order.index(1) <= 8  # 30 slot-seconds, six of its requests
    assert {100, 101, 102, 103, 104} <= set(order[: order.index(1)])
    after = order[order.index(1) :]
    assert abs(sum(r < 100 for r in after) - sum(r >= 100 for r in after)) <= 1


# --- turns among Models -----------------------------------------------------------------------------------------------


def test_a_caller_that_wants_many_models_takes_turns_with_one_that_wants_one() -> None:
    names = [f"m{n}" for n in range(6)]
    s = Script(*names, "chat", groups=[swap(*names, "chat")])
    for number, name in enumerate(names):
        s.ask(number, name, caller="flood")
    s.wait(5)
    s.ask(100, "chat", caller="other")
    assert s.ready("m0") == ["grant 0 m0"]
    assert s.release(0) == ["stop m0 (swap)"]
    assert s.stopped("m0") == ["start chat"]
    s.ready("chat")
    assert s.release(100) == ["stop chat (swap)"]
    assert s.stopped("chat") == ["start m1"]


def test_a_model_that_many_wait_for_is_not_held_up_by_the_one_who_waits_for_all() -> None:
    names = [f"m{n}" for n in range(6)]
    s = Script(*names, groups=[swap(*names)])
    for number, name in enumerate(names):
        s.ask(number, name, caller="flood")
    s.ask(100, "m5", caller="other")
    s.ready("m0")
    s.release(0)
    assert s.stopped("m0") == ["start m5"]


def test_a_key_of_higher_priority_is_loaded_for_first() -> None:
    s = Script("a", "b", "c", groups=[swap("a", "b", "c")], limits=Limits(max_wait_hot_s=999))
    s.load("a")
    s.ask(1, "a")
    s.ask(2, "b", caller="low")
    s.wait(200)
    s.ask(3, "c", caller=Caller("high", priority=1))
    s.release(1)
    assert s.stopped("a") == ["start c"]


def test_a_key_of_higher_priority_lifts_a_model_that_others_wait_for() -> None:
    s = Script("a", "b", "c", groups=[swap("a", "b", "c")], limits=Limits(max_wait_hot_s=99))
    s.load("a")
    s.ask(1, "a")
    s.ask(2, "b", caller="x")
    s.ask(3, "c", caller="y")
    s.ask(4, "c", caller=Caller("high", priority=1))
    s.release(1)
    assert s.stopped("a") == ["start c"]


# --- a key's own bound ------------------------------------------------------------------------------------------------


def test_beyond_its_bound_a_key_waits_and_delays_nobody() -> None:
    s = Script(spec("a", slots=4))
    s.load("a")
    lines = [line for request in range(1, 6) for line in s.ask(request, "a", caller=TWO)]
    assert lines == ["grant 1 a", "grant 2 a"]
    assert s.ask(100, "a", caller="other") == ["grant 100 a"]
    assert s.view("a").waiting == 3
    assert s.release(1) == ["grant 3 a"]
    assert s.release(2, 3) == ["grant 4 a", "grant 5 a"]


def test_the_bound_counts_over_all_models() -> None:
    s = Script("a", "b")
    s.load("a", "b")
    assert s.ask(1, "a", caller=ONE) == ["grant 1 a"]
    assert s.ask(2, "b", caller=ONE) == []
    assert s.release(1) == ["grant 2 b"]


def test_a_lease_without_a_slot_is_not_counted() -> None:
    s = Script("a")
    s.load("a")
    s.ask(1, "a", caller=ONE)
    assert s.ask(2, "a", caller=ONE, weight=0) == ["grant 2 a"]


def test_what_a_bound_holds_back_causes_no_load_and_keeps_no_model_hot() -> None:
    s = Script("a", "b", "c", groups=[swap("a", "b")])
    s.load("a", "c")
    s.ask(1, "c", caller=ONE)
    assert s.ask(2, "b", caller=ONE) == []  # it does not even wait for a's place
    assert s.ask(3, "a", caller=ONE) == []
    s.wait(60)
    assert s.state("a") is InstanceState.READY
    assert s.ask(4, "b", caller="other") == ["stop a (swap)"]  # idle, although 3 waits for it
    s.stopped("a")
    s.ready("b")
    assert s.release(1) == ["grant 2 b"] or s.view("b").waiting == 1


def test_a_key_is_served_in_the_order_in_which_it_asked_whatever_is_ready() -> None:
    s = Script("ready", "cold")
    s.load("ready")
    s.ask(1, "ready", caller=ONE)
    s.ask(2, "cold", caller=ONE)
    s.ask(3, "ready", caller=ONE)
    assert s.release(1) == ["start cold"]  # 3 could have had its slot at once, for ever again
    assert s.ready("cold") == ["grant 2 cold"]
    assert s.release(2) == ["grant 3 ready"]


@pytest.mark.parametrize("how", ["leaves", "times out", "is unloaded", "breaks", "fails"])
def test_a_pass_comes_back_whatever_becomes_of_the_request(how: str) -> None:
    s = Script("a", "b")
    s.load("a")
    s.ask(1, "b" if how != "breaks" else "a", caller=ONE, timeout=10 if how == "times out" else 1e6)
    s.ask(2, "a", caller=ONE)
    if how == "leaves":
        lines = s.leave(1)
    elif how == "times out":
        lines = s.wait(10)
    elif how == "is unloaded":
        lines = s.unload("b")
    elif how == "breaks":
        lines = [*s.release(1, broken=True), *s.checked("a")]
    else:
        lines = s.fail("b")
    assert "grant 2 a" in lines


def test_leases_that_break_with_their_engine_come_back_too() -> None:
    s = Script(spec("a", slots=2))
    s.load("a")
    for request in (1, 2, 3):
        s.ask(request, "a", caller=TWO)
    assert s.exit("a") == []  # 3 is held back: nobody who could be served waits
    assert s.release(1, broken=True) == ["start a"]
    assert s.ready("a") == ["grant 3 a"]


def test_a_refusal_of_the_plan_lets_the_next_of_the_same_key_in_line() -> None:
    s = Script("huge", "a", ram=10, sizes={"huge": 99, "a": 1})
    s.load("a")
    s.ask(9, "a", caller=ONE)
    s.ask(1, "huge", caller=ONE)
    s.ask(2, "a", caller=ONE)
    assert s.release(9) == ["refuse 1 no_memory", "grant 2 a"]


def test_a_model_with_a_ttl_of_zero_stays_for_whom_a_bound_holds_back() -> None:
    s = Script(spec("a", ttl=0))
    s.ask(1, "a", caller=ONE)
    s.ask(2, "a", caller=ONE)
    s.ready("a")
    assert s.release(1) == ["grant 2 a"]
    assert s.release(2) == ["stop a (ttl)"]


def test_a_removed_model_serves_those_too_whom_a_bound_holds_back() -> None:
    s = Script("a", "b")
    s.load("a", "b")
    s.ask(1, "b", caller=ONE)
    s.ask(2, "a", caller=ONE)
    assert s.configure("b") == ["stop a (reload)"]
    assert s.stopped("a") == []
    assert s.release(1) == ["start a"]
    assert s.ready("a") == ["grant 2 a"]
    assert s.release(2) == ["stop a (reload)"]


def test_the_deadline_holds_for_whom_a_bound_holds_back() -> None:
    s = Script("a")
    s.load("a")
    s.ask(1, "a", caller=ONE)
    s.ask(2, "a", caller=ONE, timeout=10)
    assert s.wait(10) == ["refuse 2 queue_timeout"]
    assert s.release(1) == []


def test_shutting_down_refuses_whom_a_bound_holds_back() -> None:
    s = Script("a")
    s.load("a")
    s.ask(1, "a", caller=ONE)
    s.ask(2, "a", caller=ONE)
    assert s.shut_down() == ["refuse 2 shutting_down"]
    assert s.release(1) == ["stop a (shutdown)"]


def test_a_bound_that_was_changed_while_requests_wait() -> None:
    s = Script(spec("a", slots=9))
    s.load("a")
    for request in (1, 2, 3):
        s.ask(request, "a", caller=ONE)
    assert s.ask(4, "a", caller=Caller("one", max_concurrent=3)) == []  # behind those that came before it
    assert s.release(1) == ["grant 2 a"]
    assert s.ask(5, "a", caller=Caller("one")) == ["grant 5 a"]  # no bound any more
    assert s.release(2) == ["grant 3 a", "grant 4 a"]


def test_a_key_that_is_gone_leaves_its_requests_where_they_are() -> None:
    """What the machine knows of a key came with the request: nothing is looked up when it is served."""
    s = Script("a")
    s.load("a")
    gone = Caller("gone", priority=3, max_concurrent=1)
    s.ask(1, "a", caller=gone)
    s.ask(2, "a", caller=gone)
    s.configure("a")
    assert s.release(1) == ["grant 2 a"]


def test_nothing_is_kept_of_callers_that_have_nothing_in_hand() -> None:
    s = Script("a")
    s.load("a")
    for number in range(50):
        s.ask(number, "a", caller=Caller(f"c{number}", max_concurrent=1 + number % 2))
    for number in range(50):
        s.leave(number)
    assert s.machine._world.accounts.all() == []


# --- places to wait ---------------------------------------------------------------------------------------------------


def test_a_flood_leaves_places_for_others() -> None:
    s = Script("a", limits=Limits(queue_per_model=10))
    for request in range(20):
        s.ask(request, "a", caller="flood")
    assert s.view("a").waiting == 8
    assert "of yours" in s.errors[8].message
    assert s.ask(100, "a", caller="other") == []
    assert s.ask(101, "a", caller="third") == []
    assert s.ask(102, "a", caller="fourth") == ["refuse 102 queue_full"]


def test_a_flood_over_many_models_leaves_places_for_others() -> None:
    s = Script(*(f"m{n}" for n in range(20)), limits=Limits(queue_total=10))
    for request in range(20):
        s.ask(request, f"m{request}", caller="flood")
    assert s.machine.queue_total == 8
    assert "m19" in s.ask(100, "m19", caller="other")[0]


def test_a_key_has_a_bound_of_its_own_places() -> None:
    s = Script("a", "b")
    key = Caller("key", max_waiting=2)
    s.ask(1, "a", caller=key)
    s.ask(2, "b", caller=key)
    assert s.ask(3, "a", caller=key) == ["refuse 3 queue_full"]
    assert "this key" in s.errors[3].message
    assert s.ask(4, "a", caller="other") == []


def test_try_again_after_what_was_measured() -> None:
    s = Script(spec("a", slots=2, queue=3))
    s.load("a")
    for request in (1, 2):
        s.ask(request, "a")
    s.wait(8)
    s.release(1)
    s.ask(3, "a")
    for request in range(10, 14):
        s.ask(request, "a", caller=f"c{request}")
    assert s.errors[13].retry_after_s == pytest.approx(3 * s.machine._world.models["a"].service_s() / 2, abs=0.6)  # type: ignore[operator]
