"""RAM and GPUs: what is short on one memory is nobody's business on another."""

from __future__ import annotations

from corral.domain.devices import RAM
from corral.domain.instance import InstanceState

from .script import Script, spec

GIB = 1024**3


def test_a_load_must_fit_on_every_device() -> None:
    s = Script(
        "a", "b", ram={"ram": 100, "CUDA0": 10}, sizes={"a": {"ram": 1, "CUDA0": 6}, "b": {"ram": 1, "CUDA0": 6}}
    )
    s.load("a")
    assert s.ask(1, "b") == ["stop a (memory)"]
    assert s.stopped("a") == ["start b"]
    assert s.starts["b"].footprint == {"ram": 1, "CUDA0": 6}
    assert s.starts["b"].limited == {"ram", "CUDA0"}


def test_only_those_leave_that_hold_memory_where_it_is_short() -> None:
    sizes = {"ram": {"ram": 50}, "gpu": {"ram": 1, "CUDA0": 8}, "new": {"ram": 1, "CUDA0": 6}}
    s = Script("ram", "gpu", "new", ram={"ram": 100, "CUDA0": 10}, sizes=sizes)
    s.load("ram")
    s.wait(100)
    s.load("gpu")
    assert s.ask(1, "new") == ["stop gpu (memory)"]
    assert s.state("ram") is InstanceState.READY


def test_a_device_without_a_budget_has_no_limit() -> None:
    s = Script("a", "b", ram={"CUDA0": 10}, sizes={"a": {"ram": 10**15, "CUDA0": 5}, "b": {"CUDA1": 10**15}})
    assert s.ask(1, "a") == ["start a"]
    assert s.ask(2, "b") == ["start b"]


def test_one_that_waits_for_a_gpu_keeps_nobody_from_another() -> None:
    sizes = {"a": {"ram": 10, "CUDA0": 8}, "b": {"ram": 10, "CUDA0": 8}, "c": {"ram": 10, "CUDA0": 8}}
    s = Script("a", "b", "c", "d", ram={"ram": 40, "CUDA0": 10, "CUDA1": 10}, sizes={**sizes, "d": {"CUDA1": 9}})
    s.ask(1, "a")
    assert s.ask(2, "b") == []  # a starts for its own waiters first
    assert s.ask(3, "c") == []
    assert s.ask(4, "d") == ["start d"]


def test_of_a_device_that_is_not_short_one_that_waits_keeps_its_part() -> None:
    sizes = {"a": {"CUDA0": 8}, "b": {"CUDA0": 8, "ram": 20}, "c": {"CUDA0": 8, "ram": 30}, "d": {"ram": 60}}
    s = Script("a", "b", "c", "d", "e", ram={"ram": 100, "CUDA0": 10}, sizes={**sizes, "e": {"ram": 45}})
    s.ask(1, "a")
    assert s.ask(2, "b") == []
    assert s.ask(3, "c") == []  # nothing on CUDA0 for it, but of the RAM it keeps 30
    assert s.ask(4, "d") == []  # 50 are left
    assert s.ask(5, "e") == []
    s = Script("a", "b", "c", "e", ram={"ram": 100, "CUDA0": 10}, sizes={**sizes, "e": {"ram": 45}})
    s.ask(1, "a")
    s.ask(2, "b")
    s.ask(3, "c")
    assert s.ask(5, "e") == ["start e"]


def test_what_can_never_fit_is_refused_with_the_sum_of_each_device() -> None:
    sizes = {"k": {"ram": GIB, "CUDA0": 4 * GIB}, "b": {"CUDA0": 9 * GIB}, "big": {"ram": 2 * GIB, "CUDA0": 21 * GIB}}
    s = Script(spec("k", pin=True), "b", "big", ram={"ram": 8 * GIB, "CUDA0": 24 * GIB}, sizes=sizes)
    s.ready("k")
    s.load("b")
    assert s.ask(1, "big") == ["refuse 1 no_memory"]
    message = s.errors[1].message
    assert message == "'big' needs 21 GiB of CUDA0, 20 GiB of CUDA0 free after unloading b; k stays (pinned)."


def test_what_can_never_fit_is_refused_at_once_behind_others_that_wait() -> None:
    s = Script("a", "b", "big", ram=10, sizes={"a": 6, "b": 6, "big": 11})
    s.ask(1, "a")
    s.ask(2, "b")
    assert s.ask(3, "big") == ["refuse 3 no_memory"]


def test_a_gpu_that_vanishes_sends_away_what_is_idle_on_it() -> None:
    sizes = {"gpu": {"ram": 1, "CUDA0": 8}, "both": {"ram": 1, "CUDA0": 1}, "ram": {"ram": 50}}
    s = Script("gpu", "both", "ram", ram={"ram": 100, "CUDA0": 10}, sizes=sizes)
    s.load("gpu", "both", "ram")
    s.ask(1, "both")
    assert s.memory({"ram": 100, "CUDA0": 0}) == ["stop gpu (memory)"]
    assert s.state("ram") is InstanceState.READY
    assert s.release(1) == ["stop both (memory)"]
    s.stopped("gpu")
    assert s.ask(2, "gpu") == ["refuse 2 no_memory"]
    s.stopped("both")
    assert s.memory({"ram": 100, "CUDA0": 10}) == []
    assert s.ask(3, "gpu") == ["start gpu"]


def test_pressure_from_outside_makes_the_idle_yield() -> None:
    s = Script("a", "b", ram=20, sizes={"a": 8, "b": 8})
    s.load("a")
    s.wait(5)
    s.load("b")
    assert s.memory(12) == ["stop a (memory)"]
    assert s.states_told("a")[-1] == "stopping"


# --- what a load really takes -----------------------------------------------------------------------------------------


def test_what_was_measured_counts_from_then_on() -> None:
    s = Script("a", "b", "c", ram=20, sizes={"a": 5, "b": 5, "c": 5})
    s.load("a")
    assert s.measured("a", {"ram": 11}) == []
    assert s.view("a").devices == {RAM: 11}
    assert s.view("a").ram_bytes == 11
    s.load("b")
    assert s.ask(1, "c") == ["stop a (memory)"]  # 11 + 5 + 5 are more than 20


def test_an_engine_that_takes_twice_its_estimate_makes_the_idle_yield() -> None:
    s = Script("a", "b", "c", ram=20, sizes={"a": 8, "b": 4, "c": 4})
    s.load("b", "c")
    s.wait(3)
    s.ask(1, "a")
    s.ready("a")
    assert s.measured("a", 16) == ["stop b (memory)"]
    s.stopped("b")
    assert s.state("c") is InstanceState.READY


def test_the_next_load_counts_with_what_the_last_one_took() -> None:
    s = Script("a", "b", ram=20, sizes={"a": 5, "b": 5})
    s.load("a")
    s.measured("a", 16)
    s.unload("a")
    s.stopped("a")
    s.load("b")
    assert s.ask(1, "a") == ["stop b (memory)"]
    assert s.stopped("b") == ["start a"]
    assert s.starts["a"].footprint == {"ram": 16}


def test_less_than_was_thought_lets_those_who_wait_go() -> None:
    s = Script("a", "b", ram=20, sizes={"a": 15, "b": 10})
    s.ask(1, "a")
    s.ready("a")
    assert s.ask(2, "b") == []
    assert s.measured("a", 10) == ["start b"]


def test_one_in_line_that_is_found_to_need_no_gpu_is_counted_so() -> None:
    s = Script("a", "b", ram={"ram": 10, "CUDA0": 10}, sizes={"a": {"ram": 5, "CUDA0": 5}, "b": {"CUDA0": 10}})
    s.ask(1, "a")
    s.ready("a", slots=1)
    s.unload("a")
    s.ask(2, "a")  # in line until the old one has gone
    assert s.measured("a", {"ram": 5}) == []  # the books are checked after every step: by which devices they wait
    assert s.ask(3, "b") == ["start b"]
    assert s.release(1) == ["stop a (unload)"]
    assert s.stopped("a") == ["start a"]


def test_a_promise_that_a_larger_neighbour_broke_is_planned_anew() -> None:
    s = Script("a", "b", "c", ram=20, sizes={"a": 8, "b": 4, "c": 8})
    s.load("a", "b")
    s.ask(1, "a")
    assert s.ask(2, "c") == ["start c"]
    s.ready("c")
    s.release(2)
    assert s.ask(3, "c") == ["grant 3 c"]
    s.unload("b")
    assert s.measured("a", 14) == []  # 14 + 8 are too much, and both are in use
    s.stopped("b")
    assert s.release(3) == ["stop c (memory)"]


def test_a_measurement_of_one_that_has_ended_is_late() -> None:
    s = Script("a", ram=20, sizes={"a": 8})
    s.load("a")
    instance = s.instance("a", "ready")
    s.exit("a")
    s.pending[instance] = "ready"
    assert s.measured("a", 9) == []


# --- what loading again costs -----------------------------------------------------------------------------------------


def test_what_loads_quickly_leaves_before_what_loads_slowly() -> None:
    s = Script("slow", "quick", "c", ram=10, sizes={"slow": 5, "quick": 5, "c": 5})
    s.ask(1, "slow")
    s.ready("slow", load_s=60.0)
    s.release(1)
    s.wait(30)
    s.ask(2, "quick")
    s.ready("quick", load_s=2.0)
    s.release(2)
    s.wait(10)
    assert s.ask(3, "c") == ["stop quick (memory)"]


def test_load_times_of_an_earlier_corral_count() -> None:
    s = Script(configured=False)
    s.sizes = {"slow": 5, "quick": 5, "c": 5}
    s.configure("slow", "quick", "c", ram=10, load_s={"slow": 60.0, "quick": 2.0})
    s.adopt("x", "slow")
    s.wait(30)
    s.adopt("y", "quick")
    s.wait(10)
    assert s.ask(3, "c") == ["stop quick (memory)"]


# --- against thrashing ------------------------------------------------------------------------------------------------


def test_what_was_just_loaded_stays_as_long_as_its_load_took() -> None:
    s = Script("a", "b", ram=10, sizes={"a": 6, "b": 6}, min_loaded=5.0)
    s.ask(1, "a")
    s.ready("a", load_s=2.0)
    s.release(1)
    assert s.ask(2, "b") == []
    assert s.ask(3, "a") == ["grant 3 a"]  # it is not too late for another request of the same caller
    assert s.release(3) == []
    assert s.wait(1.9) == []
    assert s.wait(0.2) == ["stop a (memory)"]


def test_and_not_longer_than_the_limit() -> None:
    s = Script("a", "b", ram=10, sizes={"a": 6, "b": 6}, min_loaded=5.0)
    s.ask(1, "a")
    s.ready("a", load_s=100.0)
    s.release(1)
    assert s.ask(2, "b") == []
    assert s.wait(4.9) == []
    assert s.wait(0.2) == ["stop a (memory)"]


def test_a_minimum_does_not_add_to_the_time_that_a_hot_model_may_go_on() -> None:
    s = Script("a", "b", ram=10, sizes={"a": 6, "b": 6}, min_loaded=1000.0)
    s.ask(1, "a")
    s.ready("a", load_s=500.0)
    s.release(1)
    assert s.ask(2, "b") == []
    assert s.wait(9.9) == []
    assert s.wait(0.2) == ["stop a (memory)"]


def test_groups_thrash_no_less() -> None:
    from .script import swap

    s = Script("a", "b", groups=[swap("a", "b")], min_loaded=5.0)
    s.ask(1, "a")
    s.ready("a", load_s=2.0)
    s.release(1)
    assert s.ask(2, "b") == []
    assert s.wait(2.1) == ["stop a (swap)"]


def test_whom_a_smaller_budget_makes_impossible_is_told_at_once_however_far_behind() -> None:
    s = Script("a", "b", "c", "d", ram=10, sizes={"a": 6, "b": 8, "c": 8, "d": 9})
    for request, model in enumerate("abcd"):
        s.ask(request, model)
        if model == "a":
            s.ready("a")
    assert s.memory(8) == ["refuse 3 no_memory"]


def test_so_is_he_for_whom_a_pinned_one_turns_out_to_be_too_large() -> None:
    sizes = {"pinned": 1, "a": 6, "b": 8, "c": 8, "d": 9}
    s = Script(spec("pinned", pin=True), "a", "b", "c", "d", ram=10, sizes=sizes)
    s.ready("pinned")
    for request, model in enumerate("abcd"):
        s.ask(request, model)
        if model == "a":
            s.ready("a")
    assert s.measured("pinned", 2) == ["refuse 3 no_memory"]
