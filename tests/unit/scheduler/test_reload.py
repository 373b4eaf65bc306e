"""Reload: unchanged Models stay, changed ones change over and lose nobody, removed ones serve those they have."""

from __future__ import annotations

import pytest

from corral.domain.instance import InstanceState

from .script import Script, spec, swap


def test_a_reload_keeps_what_did_not_change() -> None:
    s = Script("a", "b")
    s.load("a")
    s.ask(1, "a")
    assert s.configure("a", "b", "c") == []
    assert s.view("a").instance == "i-1"
    assert s.release(1) == []
    assert s.ask(2, "a") == ["grant 2 a"]


def test_a_new_ttl_applies_to_the_running_instance() -> None:
    s = Script(spec("a", ttl=1000))
    s.load("a")
    s.wait(50)
    assert s.configure(spec("a", ttl=60)) == []
    assert s.wait(9) == []
    assert s.wait(1) == ["stop a (ttl)"]


def test_a_shorter_ttl_that_is_over_already_unloads_at_once() -> None:
    s = Script(spec("a", ttl=1000))
    s.load("a")
    s.wait(50)
    assert s.configure(spec("a", ttl=0)) == ["stop a (ttl)"]


def test_a_new_number_of_slots_applies_to_the_running_instance_up_to_what_the_engine_has() -> None:
    s = Script(spec("a", slots=1))
    s.ask(1, "a")
    s.ready("a", slots=2)
    s.ask(2, "a")
    s.ask(3, "a")
    assert s.configure(spec("a", slots=4)) == ["grant 2 a"]
    assert s.view("a").slots == 2
    s.configure(spec("a", slots=1))
    assert s.release(1) == []
    assert s.release(2) == ["grant 3 a"]


def test_a_new_priority_reorders_those_who_wait() -> None:
    models = ("a", "b", "c")
    groups = [swap(*models)]
    s = Script(*models, groups=groups)
    s.load("a")
    s.ask(1, "a")
    s.ask(2, "b")
    s.ask(3, "c")
    s.configure("a", "b", spec("c", priority=3), groups=groups)
    s.release(1)
    assert s.stopped("a") == ["start c"]


def test_a_new_pin_protects_and_a_pin_that_is_gone_does_not() -> None:
    s = Script(spec("k", pin=True, ttl=50), spec("a", ttl=50))
    s.ready("k")
    s.load("a")
    s.configure(spec("k", ttl=50), spec("a", ttl=50, pin=True))
    assert s.wait(60) == ["stop k (ttl)"]


def test_a_changed_model_changes_over_beside_its_old_instance_where_there_is_room() -> None:
    s = Script("a")
    s.load("a")
    s.ask(1, "a")
    s.ask(2, "a")
    assert s.configure("a", digests={"a": "new"}) == ["start a"]
    assert s.states_told("a")[-2:] == ["draining", "starting"]
    assert s.ready("a") == ["grant 2 a"]
    assert s.granted[2].instance == "i-2"
    assert s.release(1) == ["stop a (reload)"]
    assert s.stopped("a") == []
    assert s.view("a").instance == "i-2"


def test_a_changed_model_waits_for_its_old_instance_where_there_is_no_room_for_both() -> None:
    s = Script("a", ram=10, sizes={"a": 6})
    s.load("a")
    s.ask(1, "a")
    s.ask(2, "a")
    assert s.configure("a", ram=10, digests={"a": "new"}) == []
    assert s.release(1) == ["stop a (reload)"]
    assert s.stopped("a") == ["start a"]
    assert s.ready("a") == ["grant 2 a"]


def test_a_changed_model_that_nobody_waits_for_is_stopped_and_started_on_demand() -> None:
    s = Script("a")
    s.load("a")
    assert s.configure("a", digests={"a": "new"}) == ["stop a (reload)"]
    assert s.stopped("a") == []
    assert s.ask(1, "a") == ["start a"]


def test_a_changed_pinned_model_is_started_again_at_once() -> None:
    s = Script(spec("k", pin=True))
    s.ready("k")
    assert s.configure(spec("k", pin=True), digests={"k": "new"}) == ["stop k (reload)", "start k"]


def test_a_change_during_a_start_aborts_it_and_its_waiters_are_served_by_the_new_one() -> None:
    s = Script("a", ram=10, sizes={"a": 6})
    s.ask(1, "a")
    assert s.configure("a", ram=10, digests={"a": "new"}) == ["stop a (reload)"]
    assert s.stopped("a") == ["start a"]
    assert s.ready("a") == ["grant 1 a"]


def test_a_change_that_is_taken_back_keeps_the_old_instance() -> None:
    s = Script("a", ram=10, sizes={"a": 6})
    s.load("a")
    s.ask(1, "a")
    s.configure("a", ram=10, digests={"a": "new"})
    assert s.state("a") is InstanceState.DRAINING
    s.configure("a", ram=10)
    assert s.state("a") is InstanceState.READY


def test_a_removed_model_serves_those_it_has_and_then_stops() -> None:
    s = Script("a", "b")
    s.load("a")
    for request in (1, 2, 3):
        s.ask(request, "a")
    assert s.configure("b") == []
    assert s.ask(4, "a") == ["refuse 4 model_not_found"]
    assert s.machine.view("a") is None
    assert s.release(1) == ["grant 2 a"]
    assert s.release(2) == ["grant 3 a"]
    assert s.release(3) == ["stop a (reload)"]
    assert s.stopped("a") == []
    assert s.machine._world.models.keys() == {"b"}


def test_a_removed_model_with_free_slots_takes_nobody_new() -> None:
    s = Script(spec("a", slots=4), "b")
    s.load("a")
    s.ask(1, "a")
    s.configure("b")
    assert s.ask(2, "a") == ["refuse 2 model_not_found"]
    assert s.release(1) == ["stop a (reload)"]


def test_a_removed_model_that_is_still_loading_serves_its_waiters() -> None:
    s = Script("a", "b")
    s.ask(1, "a")
    assert s.configure("b") == []
    assert s.ready("a") == ["grant 1 a"]
    assert s.release(1) == ["stop a (reload)"]


def test_a_removed_model_that_waits_for_memory_is_loaded_for_its_waiters() -> None:
    s = Script("a", "b", groups=[swap("a", "b")])
    s.load("b")
    s.ask(1, "b")
    s.ask(2, "a")
    assert s.configure("b", groups=[swap("a", "b")]) == []
    assert s.release(1) == ["stop b (swap)"]
    assert s.stopped("b") == ["start a"]
    assert s.ready("a") == ["grant 2 a"]


def test_a_removed_model_that_nobody_uses_stops_at_once() -> None:
    s = Script("a", "b")
    s.load("a")
    assert s.configure("b") == ["stop a (reload)"]
    assert s.stopped("a") == []


def test_a_removed_model_whose_waiters_all_leave_is_not_loaded() -> None:
    s = Script("a", "b")
    s.ask(1, "a")
    s.configure("b")
    assert s.leave(1) == ["stop a (reload)"]
    s.stopped("a")
    assert "a" not in s.machine._world.models


def test_a_removed_pinned_model_that_waits_for_memory_does_not_take_it() -> None:
    s = Script("a", ram=10, sizes={"a": 6, "k": 6})
    s.load("a")
    s.ask(1, "a")
    s.configure("a", spec("k", pin=True), ram=10)
    s.configure("a", ram=10)
    assert s.release(1) == []
    assert s.wait(100) == []
    assert s.state("a") is InstanceState.READY


def test_a_removed_model_that_comes_back_unchanged_goes_on() -> None:
    s = Script("a", "b")
    s.load("a")
    s.ask(1, "a")
    s.configure("b")
    assert s.states_told("a")[-1] == "draining"
    s.configure("a", "b")
    assert s.state("a") is InstanceState.READY
    assert s.ask(2, "a") == []
    assert s.release(1) == ["grant 2 a"]


def test_removing_the_last_model_leaves_nothing() -> None:
    s = Script("a")
    s.load("a")
    assert s.configure() == ["stop a (reload)"]
    s.stopped("a")
    assert s.machine.views() == []


def test_new_limits_apply_at_once() -> None:
    s = Script(spec("a", queue=1))
    s.ask(1, "a")
    s.configure(spec("a", queue=2))
    assert s.ask(2, "a") == []
    assert s.ask(3, "a") == ["refuse 3 queue_full"]


def test_a_smaller_queue_keeps_those_who_wait_already() -> None:
    s = Script(spec("a", queue=3))
    for request in (1, 2, 3):
        s.ask(request, "a")
    s.configure(spec("a", queue=1, slots=9))
    assert s.ready("a") == ["grant 1 a", "grant 2 a", "grant 3 a"]


def test_new_groups_apply_to_the_next_start_and_cut_nobody() -> None:
    s = Script("a", "b")
    s.load("a", "b")
    assert s.configure("a", "b", "c", groups=[swap("a", "b", "c")]) == []
    assert s.state("a") is InstanceState.READY
    assert sorted(s.ask(1, "c")) == ["stop a (swap)", "stop b (swap)"]


def test_a_reload_in_the_middle_of_a_swap_changes_nothing() -> None:
    s = Script("a", "b", groups=[swap("a", "b")])
    s.load("a")
    s.ask(1, "b")
    assert s.configure("a", "b", groups=[swap("a", "b")]) == []
    assert s.stopped("a") == ["start b"]


def test_a_reload_in_the_middle_of_a_drain_changes_nothing() -> None:
    s = Script("a", "b", groups=[swap("a", "b")])
    s.load("a")
    s.ask(1, "a")
    s.ask(2, "b")
    s.wait(10)
    assert s.configure("a", "b", groups=[swap("a", "b")]) == []
    assert s.state("a") is InstanceState.DRAINING
    assert s.release(1) == ["stop a (swap)"]


@pytest.mark.parametrize("last_waiter", ["leaves", "is served"])
def test_a_removed_model_drains_as_soon_as_nobody_waits_for_it(last_waiter: str) -> None:
    s = Script(spec("a", slots=2), "b")
    s.load("a")
    for request in (1, 2, 3):
        s.ask(request, "a")
    s.configure("b")
    if last_waiter == "leaves":
        s.leave(3)
    else:
        assert s.release(1) == ["grant 3 a"]
    assert s.states_told("a")[-1] == "draining"
    s.release(2)
    assert s.ask(4, "a") == ["refuse 4 model_not_found"]  # although a slot is free


def test_a_smaller_budget_in_a_reload_holds_for_loads_that_were_promised_already() -> None:
    s = Script("a", "b", ram=10, sizes={"a": 10, "b": 6})
    s.load("a")
    assert s.ask(1, "b") == ["stop a (memory)"]
    assert s.configure("a", "b", ram=5) == ["refuse 1 no_memory"]
    assert s.stopped("a") == []


def test_an_old_instance_that_dies_while_it_drains_is_not_the_new_ones_failure() -> None:
    s = Script(spec("a", ttl=5))
    s.load("a")
    s.ask(1, "a")
    s.ask(2, "a")
    s.configure(spec("a", ttl=5), digests={"a": "new"})
    s.ready("a")
    assert s.exit("a") == []  # the old one
    s.release(2)
    assert s.wait(5) == ["stop a (ttl)"]
    s.stopped("a")
    assert s.view("a").state is InstanceState.STOPPED
