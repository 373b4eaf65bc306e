"""Memory: never over the budget, idle instances leave first, and what they held is seen to be free before use."""

from __future__ import annotations

from corral.domain.errors import NoMemory
from corral.domain.instance import InstanceState

from .script import Script, spec, swap

GIB = 1024**3


def test_the_longest_idle_leaves_first() -> None:
    s = Script("a", "b", "c", ram=10, sizes={"a": 4, "b": 4, "c": 4})
    s.load("a")
    s.wait(5)
    s.load("b")
    s.wait(5)
    s.ask(1, "a")
    s.release(1)  # now b is idle for longer
    assert s.ask(2, "c") == ["stop b (memory)"]
    assert s.stopped("b") == ["start c"]
    assert s.evictions_told() == [("b", "memory", "c")]


def test_no_more_leave_than_needed() -> None:
    s = Script("a", "b", "c", ram=10, sizes={"a": 2, "b": 8, "c": 8})
    s.load("a")
    s.wait(1)
    s.load("b")
    assert s.ask(1, "c") == ["stop b (memory)"]


def test_memory_counts_as_free_only_when_the_evicted_is_seen_to_be_gone() -> None:
    s = Script("a", "b", ram=10, sizes={"a": 6, "b": 6})
    s.load("a")
    assert s.ask(1, "b") == ["stop a (memory)"]
    assert s.wait(100) == []
    assert s.stopped("a") == ["start b"]


def test_an_idle_one_leaves_rather_than_one_in_use() -> None:
    s = Script("a", "b", "c", ram=10, sizes={"a": 5, "b": 5, "c": 5})
    s.load("a", "b")
    s.ask(1, "a")
    s.wait(60)
    assert s.ask(2, "c") == ["stop b (memory)"]


def test_one_in_use_is_waited_for_when_nothing_else_suffices() -> None:
    s = Script("a", "b", ram=10, sizes={"a": 6, "b": 6})
    s.load("a")
    s.ask(1, "a")
    assert s.ask(2, "b") == []
    assert s.wait(30) == []
    assert s.release(1) == ["stop a (memory)"]
    assert s.stopped("a") == ["start b"]


def test_two_loads_do_not_take_the_same_bytes() -> None:
    s = Script("a", "b", "c", ram=10, sizes={"a": 10, "b": 6, "c": 6})
    s.load("a")
    assert s.ask(1, "b") == ["stop a (memory)"]
    assert s.ask(2, "c") == []  # 4 are left of what a gives back
    assert s.stopped("a") == ["start b"]
    assert s.ready("b") == ["grant 1 b"]
    assert s.release(1) == ["stop b (memory)"]
    assert s.stopped("b") == ["start c"]


def test_two_loads_share_what_one_eviction_gives_back() -> None:
    s = Script("a", "b", "c", ram=10, sizes={"a": 10, "b": 5, "c": 5})
    s.load("a")
    assert s.ask(1, "b") == ["stop a (memory)"]
    assert s.ask(2, "c") == []
    assert s.stopped("a") == ["start b", "start c"]


def test_a_small_load_does_not_slip_past_one_that_waits_for_the_same_memory() -> None:
    s = Script("a", "b", "c", ram=10, sizes={"a": 6, "b": 8, "c": 3})
    s.load("a")
    s.ask(1, "a")
    assert s.ask(2, "b") == []
    assert s.ask(3, "c") == []  # it would fit now, and then b would not
    assert s.release(1) == ["stop a (memory)"]
    assert s.stopped("a") == ["start b"]


def test_a_small_load_goes_ahead_where_it_takes_nothing_from_those_before_it() -> None:
    s = Script("a", "b", "c", ram=10, sizes={"a": 6, "b": 7, "c": 3})
    s.load("a")
    s.ask(1, "a")
    assert s.ask(2, "b") == []
    assert s.ask(3, "c") == ["start c"]


def test_what_can_never_fit_is_refused_at_once_with_the_sum() -> None:
    s = Script(spec("k", pin=True), "a", ram=10 * GIB, sizes={"k": int(3.9 * GIB), "a": int(9.2 * GIB)})
    s.ready("k")
    assert s.ask(1, "a") == ["refuse 1 no_memory"]
    assert isinstance(s.errors[1], NoMemory)
    assert "'a' needs 9.2 GiB, 6.1 GiB free; k stays (pinned)." in s.errors[1].message


def test_pinned_models_are_never_evicted_for_memory() -> None:
    s = Script(spec("k", pin=True), "a", "b", ram=10, sizes={"k": 4, "a": 6, "b": 6})
    s.ready("k")
    s.load("a")
    s.wait(100)
    assert s.ask(1, "b") == ["stop a (memory)"]
    assert s.state("k") is InstanceState.READY


def test_a_load_serves_its_waiters_before_it_can_be_evicted() -> None:
    s = Script("a", "b", ram=10, sizes={"a": 6, "b": 6})
    s.ask(1, "a")
    assert s.ask(2, "b") == []
    s.wait(60)  # b has waited far longer than a hot Model may go on
    assert s.ready("a") == ["grant 1 a"]
    assert s.release(1) == ["stop a (memory)"]


def test_a_smaller_budget_sends_idle_ones_away_until_the_rest_fits() -> None:
    s = Script("a", "b", "c", ram=30, sizes={"a": 10, "b": 10, "c": 10})
    for model in "abc":
        s.load(model)
        s.wait(1)
    s.ask(1, "a")
    assert s.memory(15) == ["stop b (memory)", "stop c (memory)"]
    assert s.state("a") is InstanceState.READY


def test_one_in_use_that_is_too_much_leaves_when_it_is_idle() -> None:
    s = Script("a", ram=30, sizes={"a": 10})
    s.load("a")
    s.ask(1, "a")
    assert s.memory(5) == []
    assert s.release(1) == ["stop a (memory)"]


def test_a_larger_budget_lets_those_who_wait_go() -> None:
    s = Script("a", "b", ram=10, sizes={"a": 6, "b": 6})
    s.load("a")
    s.ask(1, "a")
    assert s.ask(2, "b") == []
    assert s.memory(12) == ["start b"]


def test_a_larger_budget_takes_a_drain_back() -> None:
    s = Script("a", "b", ram=10, sizes={"a": 6, "b": 6})
    s.load("a")
    s.ask(1, "a")
    s.ask(2, "b")
    s.wait(11)
    assert s.state("a") is InstanceState.DRAINING
    assert s.memory(None) == ["start b"]
    assert s.state("a") is InstanceState.READY


def test_a_smaller_budget_refuses_a_waiter_that_can_not_fit_any_more() -> None:
    s = Script("a", "b", ram=20, sizes={"a": 12, "b": 12})
    s.load("a")
    s.ask(1, "a")
    s.ask(2, "b")
    assert s.memory(11) == ["refuse 2 no_memory"]


def test_groups_and_memory_together() -> None:
    s = Script("a", "b", "c", groups=[swap("a", "b")], ram=10, sizes={"a": 3, "b": 6, "c": 5})
    s.load("a", "c")
    assert s.ask(1, "b") == ["stop a (swap)", "stop c (memory)"]
    assert s.stopped("c") == []
    assert s.stopped("a") == ["start b"]


def test_an_abandoned_load_runs_to_its_end_when_nobody_needs_its_memory() -> None:
    s = Script("a", ram=10, sizes={"a": 6})
    s.ask(1, "a")
    assert s.leave(1) == []
    assert s.ready("a") == []
    assert s.state("a") is InstanceState.READY


def test_an_abandoned_load_is_aborted_for_one_that_waits() -> None:
    s = Script("a", "b", ram=10, sizes={"a": 6, "b": 6})
    s.ask(1, "a")
    assert s.ask(2, "b") == []
    assert s.leave(1) == ["stop a (memory)"]
    assert s.stopped("a") == ["start b"]
    assert s.loads_told() == [("a", "aborted", 0)]


def test_an_abandoned_load_serves_who_comes_before_it_is_ready() -> None:
    s = Script("a")
    s.ask(1, "a")
    s.leave(1)
    assert s.ask(2, "a") == []
    assert s.ready("a") == ["grant 2 a"]
