"""Failing: clear errors for all who wait, back-off, recovery, and engines that end by themselves."""

from __future__ import annotations

import itertools

import pytest

from corral.domain.errors import BadGguf, StartFailed
from corral.domain.fleet import Limits
from corral.domain.instance import InstanceState
from corral.domain.launch import ExitKind, ExitStatus

from .script import Script, spec, swap


def test_a_failed_load_is_a_clear_error_for_all_who_wait() -> None:
    s = Script(spec("a", slots=9))
    for request in (1, 2, 3):
        s.ask(request, "a")
    error = StartFailed("Not enough VRAM.", hint="Lower n_gpu_layers.", log_tail=("ggml: out of memory",))
    assert s.fail("a", error) == [f"refuse {request} engine_start_failed" for request in (1, 2, 3)]
    assert {type(e) for e in s.errors.values()} == {StartFailed}
    assert s.errors[3].sentence() == "Not enough VRAM. Lower n_gpu_layers."
    assert s.errors[1] is not s.errors[2]  # an exception raised twice would mix their tracebacks
    assert s.states_told("a") == ["starting", "failed"]
    assert s.loads_told() == [("a", "failed", 3)]
    view = s.view("a")
    assert (view.state, view.failures, view.retry_at) == (InstanceState.FAILED, 1, 1.0)
    assert "VRAM" in view.error


def test_during_the_back_off_requests_are_refused_at_once_with_the_time_left() -> None:
    s = Script("a", limits=Limits(backoff_first_s=8))
    s.ask(1, "a")
    s.fail("a")
    s.wait(3)
    assert s.ask(2, "a") == ["refuse 2 engine_start_failed"]
    assert s.errors[2].retry_after_s == pytest.approx(5)


def test_after_the_back_off_the_next_request_starts_it_again() -> None:
    s = Script("a")
    s.ask(1, "a")
    s.fail("a")
    assert s.wait(1) == []
    assert s.ask(2, "a") == ["start a"]
    assert s.ready("a") == ["grant 2 a"]
    assert s.states_told("a") == ["starting", "failed", "starting", "ready"]
    assert s.view("a").failures == 0


def test_the_back_off_doubles_up_to_its_most_and_a_success_resets_it() -> None:
    s = Script("a", limits=Limits(backoff_first_s=1, backoff_max_s=5))
    delays = []
    for request in range(5):
        s.ask(request, "a")
        s.fail("a")
        delays.append(s.errors[request].retry_after_s)
        s.wait(5)
    assert delays == [1, 2, 4, 5, 5]
    s.load("a")
    s.wait(100)
    s.exit("a")
    s.ask(10, "a")
    s.fail("a")
    assert s.errors[10].retry_after_s == 1


def test_a_permanent_failure_waits_longest_but_recovers() -> None:
    s = Script("a", limits=Limits(backoff_max_s=40))
    s.ask(1, "a")
    s.fail("a", StartFailed("No such flag.", permanent=True))
    assert s.errors[1].retry_after_s == 40
    s.wait(39)
    assert s.ask(2, "a") == ["refuse 2 engine_start_failed"]
    s.wait(1)
    assert s.ask(3, "a") == ["start a"]


def test_an_operator_tries_at_once() -> None:
    s = Script("a", limits=Limits(backoff_first_s=60))
    s.ask(1, "a")
    s.fail("a")
    assert s.ask(2, "a", operator=True) == ["start a"]
    assert s.ask(3, "a") == []
    assert s.fail("a") == ["refuse 2 engine_start_failed", "refuse 3 engine_start_failed"]


def test_a_changed_config_ends_the_back_off_of_what_it_changes() -> None:
    s = Script("a", "b", limits=Limits(backoff_first_s=60))
    for request, model in ((1, "a"), (2, "b")):
        s.ask(request, model)
        s.fail(model)
    s.configure("a", "b", digests={"a": "mended"})
    assert s.ask(3, "a") == ["start a"]
    assert s.ask(4, "b") == ["refuse 4 engine_start_failed"]


def test_unloading_by_hand_forgets_the_failure() -> None:
    s = Script("a", limits=Limits(backoff_first_s=60))
    s.ask(1, "a")
    s.fail("a")
    s.unload("a")
    assert s.state("a") is InstanceState.STOPPED
    assert s.ask(2, "a") == ["start a"]


def test_errors_of_every_kind_reach_the_waiters_as_they_are() -> None:
    s = Script("a")
    s.ask(1, "a")
    assert s.fail("a", BadGguf("Not a GGUF file.")) == ["refuse 1 bad_gguf"]


def test_a_pinned_model_is_started_again_without_a_request() -> None:
    s = Script(spec("k", pin=True), limits=Limits(backoff_first_s=1, backoff_max_s=4))
    s.fail("k")
    assert s.wait(0.9) == []
    assert s.wait(0.1) == ["start k"]
    s.fail("k")
    assert s.wait(1.9) == []
    assert s.wait(0.1) == ["start k"]
    s.ready("k")
    assert s.state("k") is InstanceState.READY


def test_two_pinned_models_that_exclude_each_other_do_not_spin() -> None:
    s = Script(spec("k1", pin=True), spec("k2", pin=True), groups=[swap("k1", "k2")])
    assert s.first == ["start k1"]
    s.ready("k1")
    assert s.view("k2").failures == 1
    assert "pinned" in s.view("k2").error
    s.wait(300)
    assert s.view("k2").failures < 20


def test_a_pinned_model_that_can_not_fit_says_so_and_does_not_spin() -> None:
    s = Script(spec("k", pin=True), ram=5, sizes={"k": 9})
    assert s.first == []
    assert "needs 9 B, 5 B free" in s.view("k").error
    s.wait(300)
    assert s.view("k").failures < 20
    assert s.memory(10) == []
    assert s.wait(60) == ["start k"]


# --- engines that end by themselves -----------------------------------------------------------------------------------


def test_an_engine_that_crashes_while_ready_is_started_by_the_next_request() -> None:
    s = Script("a")
    s.load("a")
    s.wait(60)
    assert s.exit("a") == []
    assert s.state("a") is InstanceState.FAILED
    assert "killed by signal 9" in s.view("a").error
    assert s.view("a").retry_at is None
    assert s.ask(1, "a") == ["start a"]


def test_leases_of_a_dead_engine_are_counted_until_they_come_back_and_do_not_touch_the_next() -> None:
    s = Script("a")
    s.load("a")
    s.ask(1, "a")
    s.ask(2, "a")
    assert s.exit("a") == ["start a"]  # 2 still waits
    s.ready("a")
    assert s.view("a").leases == 1
    assert s.release(1, broken=True) == []
    assert s.view("a").leases == 1
    assert s.view("a").instance == "i-2"


def test_two_early_deaths_in_a_row_are_forgiven_and_the_third_counts_as_a_failed_start() -> None:
    s = Script("a")
    for number in (1, 2, 3, 4):
        s.ask(number, "a")
    for _ in range(2):  # one poisonous request and its retry
        s.ready("a")
        assert s.exit("a") == ["start a"]
    s.ready("a")
    s.wait(2)
    assert s.exit("a") == ["refuse 4 engine_died"]
    assert s.view("a").failures == 3
    assert s.ask(5, "a") == ["refuse 5 engine_died"]
    s.wait(4)
    assert s.ask(6, "a") == ["start a"]


def test_a_crash_loop_backs_off_further_each_time() -> None:
    s = Script(spec("k", pin=True), limits=Limits(backoff_first_s=1, backoff_max_s=60))
    starts = []
    for _ in range(5):
        starts.append(s.now)
        s.ready("k")
        s.exit("k")
        while s.view("k").state is InstanceState.FAILED:
            s.wait(0.5)
    assert [b - a for a, b in itertools.pairwise(starts)] == [0, 0, 4, 8]


def test_an_engine_that_has_served_is_restarted_at_once_for_a_pinned_model() -> None:
    s = Script(spec("k", pin=True))
    s.ready("k")
    s.ask(1, "k")
    s.release(1)
    assert s.exit("k") == ["start k"]


def test_an_engine_that_dies_while_it_drains_makes_room_at_once() -> None:
    s = Script("a", "b", groups=[swap("a", "b")])
    s.load("a")
    s.ask(1, "a")
    s.ask(2, "b")
    s.wait(10)
    assert s.exit("a") == ["start b"]
    assert s.view("a").failures == 0


def test_an_engine_that_dies_before_its_stop_reaches_it_is_gone_and_has_not_failed() -> None:
    s = Script("a", "b", groups=[swap("a", "b")])
    s.load("a")
    s.ask(1, "b")
    s.pending["i-1"] = "ready"
    assert s.exit("a") == ["start b"]
    assert s.state("a") is InstanceState.STOPPED
    s.pending["i-1"] = "stopping"
    assert s.stopped("a") == []  # the answer to the Stop, should it come as well


def test_a_start_that_fails_while_it_is_aborted_is_no_failure() -> None:
    s = Script("a")
    s.ask(1, "a")
    s.unload("a")
    s.pending["i-1"] = "starting"
    assert s.fail("a") == []
    assert s.view("a").failures == 0
    assert s.ask(2, "a") == ["start a"]


def test_an_exit_seen_before_ready_is_a_failed_start() -> None:
    s = Script("a")
    s.ask(1, "a")
    s.pending["i-1"] = "ready"
    assert s.exit("a", ExitStatus(ExitKind.EXITED, code=1)) == ["refuse 1 engine_start_failed"]
