"""Stopping: TTL, unloading by hand, broken connections, shutdown."""

from __future__ import annotations

from corral.domain.errors import Unloaded
from corral.domain.instance import InstanceState
from corral.domain.units import FOREVER

from .script import Script, spec, swap

# --- TTL --------------------------------------------------------------------------------------------------------------


def test_an_idle_model_is_unloaded_after_its_ttl() -> None:
    s = Script(spec("a", ttl=60))
    s.load("a")
    assert s.view("a").expires_at == 60
    assert s.wait(59) == []
    assert s.wait(1) == ["stop a (ttl)"]
    assert s.evictions_told() == [("a", "ttl", "")]
    s.stopped("a")
    assert s.state("a") is InstanceState.STOPPED


def test_each_request_starts_the_ttl_anew() -> None:
    s = Script(spec("a", ttl=60))
    s.load("a")
    for request in range(5):
        assert s.wait(50) == []
        s.ask(request, "a")
        s.release(request)
    assert s.wait(59) == []
    assert s.wait(1) == ["stop a (ttl)"]


def test_a_long_answer_is_not_cut_by_the_ttl() -> None:
    s = Script(spec("a", ttl=60))
    s.load("a")
    s.ask(1, "a")
    assert s.wait(1000) == []
    assert s.view("a").expires_at is None
    s.release(1)
    assert s.wait(59) == []
    assert s.wait(1) == ["stop a (ttl)"]


def test_a_load_that_nobody_waited_for_lives_its_full_ttl_from_ready() -> None:
    s = Script(spec("a", ttl=60))
    s.wait(500)
    s.ask(1, "a")
    s.leave(1)
    s.wait(30)
    assert s.ready("a") == []
    assert s.wait(59) == []
    assert s.wait(1) == ["stop a (ttl)"]


def test_a_ttl_of_zero_unloads_as_soon_as_it_is_idle() -> None:
    s = Script(spec("a", ttl=0))
    s.ask(1, "a")
    s.ask(2, "a")
    s.ready("a")
    assert s.release(1) == ["grant 2 a"]
    assert s.release(2) == ["stop a (ttl)"]


def test_a_ttl_of_zero_unloads_a_load_that_nobody_waits_for() -> None:
    s = Script(spec("a", ttl=0))
    s.ask(1, "a")
    s.leave(1)
    assert s.ready("a") == ["stop a (ttl)"]


def test_a_ttl_of_for_ever_asks_for_no_wake() -> None:
    s = Script(spec("a", ttl=FOREVER))
    s.load("a")
    s.wait(1e9)
    assert s.wake is None
    assert s.view("a").expires_at is None
    assert s.wait(1e9) == []


def test_the_hot_path_asks_for_no_wake_of_its_own() -> None:
    s = Script(spec("a", ttl=60))
    s.load("a")
    s.wake = None
    for request in range(10):
        s.ask(request, "a")
        s.release(request)
    assert s.wake is None


def test_a_request_during_the_stop_waits_for_it_and_then_starts_fresh() -> None:
    s = Script(spec("a", ttl=5))
    s.load("a")
    assert s.wait(5) == ["stop a (ttl)"]
    assert s.ask(1, "a") == []
    assert s.stopped("a") == ["start a"]
    assert s.ready("a") == ["grant 1 a"]
    assert s.granted[1].instance == "i-2"


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_unloading_one_model_refuses_its_waiters_and_nobody_elses() -> None:
    s = Script("a", "b")
    s.load("a", "b")
    for request, model in ((1, "a"), (2, "a"), (3, "b"), (4, "b")):
        s.ask(request, model)
    assert s.unload("a") == ["refuse 2 model_unloaded"]
    assert isinstance(s.errors[2], Unloaded)
    assert s.state("a") is InstanceState.DRAINING
    assert s.release(1) == ["stop a (unload)"]
    assert s.release(3) == ["grant 4 b"]
    assert s.evictions_told() == [("a", "unload", "")]


def test_unloading_all_stops_everything_in_parallel() -> None:
    s = Script("a", "b", "c")
    s.load("a", "b")
    s.ask(1, "c")
    assert s.unload() == ["stop a (unload)", "stop b (unload)", "refuse 1 model_unloaded", "stop c (unload)"]


def test_force_does_not_wait_for_leases() -> None:
    s = Script("a")
    s.load("a")
    s.ask(1, "a")
    assert s.unload("a", force=True) == ["stop a (unload, force)"]
    assert s.release(1, broken=True) == []
    assert s.stopped("a") == []
    assert s.state("a") is InstanceState.STOPPED


def test_force_cuts_a_drain_short() -> None:
    s = Script("a")
    s.load("a")
    s.ask(1, "a")
    assert s.unload("a") == []
    assert s.unload("a", force=True) == ["stop a (unload, force)"]


def test_unloading_a_model_that_starts_aborts_the_start() -> None:
    s = Script("a")
    s.ask(1, "a")
    assert s.unload("a") == ["refuse 1 model_unloaded", "stop a (unload)"]
    assert s.loads_told() == [("a", "aborted", 0)]
    assert s.ask(2, "a") == []
    assert s.stopped("a") == ["start a"]


def test_an_engine_that_became_ready_while_its_stop_was_decided_is_still_stopped() -> None:
    s = Script("a")
    s.ask(1, "a")
    s.unload("a")
    s.pending["i-1"] = "starting"
    assert s.ready("a") == []
    s.pending["i-1"] = "stopping"
    assert s.stopped("a") == []


def test_a_request_during_an_unload_by_hand_waits_for_a_fresh_start() -> None:
    s = Script("a")
    s.load("a")
    s.ask(1, "a")
    s.unload("a")
    assert s.ask(2, "a") == []
    assert s.release(1) == ["stop a (unload)"]
    assert s.stopped("a") == ["start a"]


def test_a_pinned_model_that_was_unloaded_by_hand_stays_down_until_someone_asks() -> None:
    s = Script(spec("k", pin=True))
    s.ready("k")
    assert s.unload("k") == ["stop k (unload)"]
    assert s.stopped("k") == []
    assert s.wait(1000) == []
    assert s.ask(1, "k") == ["start k"]


def test_a_pinned_model_that_someone_asked_for_again_is_kept_up_again() -> None:
    s = Script(spec("k", pin=True))
    s.ready("k")
    s.unload("k")
    s.stopped("k")
    s.ask(1, "k")
    assert s.fail("k") == ["refuse 1 engine_start_failed"]
    assert s.wait(1) == ["start k"]


def test_a_pinned_model_that_was_unloaded_by_hand_comes_back_with_a_new_config() -> None:
    s = Script(spec("k", pin=True))
    s.ready("k")
    s.unload("k")
    s.stopped("k")
    assert s.configure(spec("k", pin=True)) == ["start k"]


def test_unloading_what_is_not_there_does_nothing() -> None:
    s = Script("a")
    assert s.unload("nope") == []
    assert s.unload("a") == []


def test_unloading_twice_is_harmless() -> None:
    s = Script("a")
    s.load("a")
    assert s.unload("a") == ["stop a (unload)"]
    assert s.unload("a") == []
    assert s.unload(force=True) == []
    assert s.stopped("a") == []


def test_unloading_the_one_that_waits_for_a_swap_takes_the_drain_back() -> None:
    s = Script("a", "b", groups=[swap("a", "b")])
    s.load("a")
    s.ask(1, "a")
    s.ask(2, "b")
    s.wait(10)
    assert s.unload("b") == ["refuse 2 model_unloaded"]
    assert s.state("a") is InstanceState.READY


# --- a broken connection ----------------------------------------------------------------------------------------------


def test_after_a_broken_connection_nobody_is_sent_there_before_the_check() -> None:
    s = Script(spec("a", slots=3))
    s.load("a")
    s.ask(1, "a")
    s.ask(2, "a")
    assert s.release(1, broken=True) == ["check a"]
    assert s.release(2, broken=True) == []  # one check is enough
    assert s.ask(3, "a") == []
    assert s.ask(4, "a", weight=0) == []
    assert s.checked("a") == ["grant 4 a", "grant 3 a"]


def test_a_suspect_that_is_dead_is_started_anew_for_those_who_wait() -> None:
    s = Script("a")
    s.load("a")
    s.ask(1, "a")
    s.release(1, broken=True)
    s.ask(2, "a")
    assert s.exit("a") == ["start a"]
    assert s.ready("a") == ["grant 2 a"]


def test_a_check_that_comes_back_during_a_drain_changes_nothing() -> None:
    s = Script(spec("a", slots=2), "b", groups=[swap("a", "b")])
    s.load("a")
    s.ask(1, "a")
    s.ask(2, "a")
    s.release(1, broken=True)
    s.ask(3, "b")
    s.wait(10)
    assert s.state("a") is InstanceState.DRAINING
    assert s.checked("a") == []
    assert s.leave(3) == []  # taken back, and not suspect any more
    assert s.ask(4, "a") == ["grant 4 a"]


def test_a_suspect_that_is_taken_back_is_still_suspect() -> None:
    s = Script(spec("a", slots=2), "b", groups=[swap("a", "b")])
    s.load("a")
    s.ask(1, "a")
    s.ask(2, "a")
    s.release(1, broken=True)
    s.ask(3, "b")
    s.wait(10)
    assert s.leave(3) == []
    assert s.state("a") is InstanceState.READY
    assert s.ask(4, "a") == []
    assert s.checked("a") == ["grant 4 a"]


# --- shutdown ---------------------------------------------------------------------------------------------------------


def test_shutdown_refuses_waiters_stops_the_idle_and_lets_leases_end() -> None:
    s = Script("a", "b", "c", "d")
    s.load("a", "b")
    s.ask(1, "a")
    s.ask(2, "a")
    s.ask(3, "c")
    assert sorted(s.shut_down()) == [
        "refuse 2 shutting_down",
        "refuse 3 shutting_down",
        "stop b (shutdown)",
        "stop c (shutdown)",
    ]
    assert s.ask(4, "a") == ["refuse 4 shutting_down"]
    assert s.ask(5, "d") == ["refuse 5 shutting_down"]
    assert s.release(1) == ["stop a (shutdown)"]
    assert [*s.stopped("b"), *s.stopped("c")] == []
    assert s.stopped("a") == ["finished"]


def test_shutdown_cuts_leases_at_its_deadline() -> None:
    s = Script("a")
    s.load("a")
    s.ask(1, "a")
    assert s.shut_down(within=30) == []
    assert s.wait(29) == []
    assert s.wait(1) == ["stop a (shutdown, force)"]
    assert s.stopped("a") == ["finished"]
    assert s.wake is None


def test_a_second_shutdown_can_only_shorten_the_first() -> None:
    s = Script("a")
    s.load("a")
    s.ask(1, "a")
    s.shut_down(within=30)
    s.shut_down(within=5)
    s.shut_down(within=300)
    assert s.wait(4) == []
    assert s.wait(1) == ["stop a (shutdown, force)"]


def test_shutdown_with_nothing_running_is_finished_at_once() -> None:
    s = Script("a")
    assert s.shut_down() == ["finished"]
    assert s.shut_down() == []


def test_nothing_starts_during_a_shutdown() -> None:
    s = Script(spec("k", pin=True), "a")
    s.ready("k")
    s.shut_down()
    assert s.configure(spec("k", pin=True), spec("new", pin=True)) == []
    assert s.memory(None) == []
    assert s.adopt("old-1", "a") == ["stop a (shutdown)"]
    assert s.stopped("k") == []
    assert s.stopped("a") == ["finished"]
    assert s.wait(1000) == []


def test_an_engine_that_dies_during_a_shutdown_counts_as_gone() -> None:
    s = Script("a")
    s.load("a")
    s.ask(1, "a")
    s.shut_down()
    assert s.exit("a") == ["finished"]
    assert s.release(1, broken=True) == []
