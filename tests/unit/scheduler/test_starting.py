"""Starting: the first request starts, the others join, and nobody is started for nothing."""

from __future__ import annotations

from corral.domain.instance import InstanceState

from .script import Script, spec, together


def test_the_first_request_starts_the_model_and_is_served_when_it_is_ready() -> None:
    s = Script("a")
    assert s.ask(1, "a") == ["start a"]
    s.wait(3)
    assert s.ready("a") == ["grant 1 a"]
    assert s.granted[1].waited_s == 3
    assert s.granted[1].endpoint.socket == "i-1"
    assert s.states_told("a") == ["starting", "ready"]
    assert s.loads_told() == [("a", "ready", 1)]


def test_many_first_requests_make_one_start() -> None:
    s = Script(spec("a", slots=20))
    lines = [line for request in range(20) for line in s.ask(request, "a")]
    assert lines == ["start a"]
    assert s.ready("a") == [f"grant {request} a" for request in range(20)]
    assert s.loads_told() == [("a", "ready", 20)]


def test_a_ready_model_with_a_free_slot_grants_at_once_and_takes_back_silently() -> None:
    s = Script(spec("a", slots=2))
    s.load("a")
    assert s.ask(1, "a") == ["grant 1 a"]
    assert s.granted[1].waited_s == 0
    assert s.ask(2, "a") == ["grant 2 a"]
    assert s.release(1) == []
    assert s.release(2) == []
    assert s.view("a").leases == 0


def test_models_without_a_group_load_side_by_side() -> None:
    s = Script("a", "b", "c")
    assert s.ask(1, "a") == ["start a"]
    assert s.ask(2, "b") == ["start b"]
    assert s.ask(3, "c") == ["start c"]


def test_members_of_a_group_that_does_not_swap_load_side_by_side() -> None:
    s = Script("a", "b", groups=[together("a", "b")])
    assert s.ask(1, "a") == ["start a"]
    assert s.ask(2, "b") == ["start b"]


def test_an_unknown_model_is_refused_at_once() -> None:
    s = Script("a")
    assert s.ask(1, "nope") == ["refuse 1 model_not_found"]


def test_instances_are_numbered_under_the_prefix() -> None:
    s = Script("a", "b")
    s.load("a", "b")
    assert [view.instance for view in s.machine.views()] == ["i-1", "i-2"]


def test_pinned_models_start_first_then_preloaded_ones_each_in_order() -> None:
    s = Script(
        spec("p1", preload=True), spec("a"), spec("k1", pin=True), spec("p2", preload=True), spec("k2", pin=True)
    )
    assert s.first == ["start k1", "start k2", "start p1", "start p2"]


def test_a_preload_takes_only_memory_that_is_free() -> None:
    s = Script(
        spec("k", pin=True),
        spec("p1", preload=True),
        spec("p2", preload=True),
        ram=10,
        sizes={"k": 5, "p1": 6, "p2": 5},
    )
    assert s.first == ["start k", "start p2"]
    assert s.state("p1") is InstanceState.STOPPED


def test_a_preload_happens_once() -> None:
    s = Script(spec("p", preload=True, ttl=5))
    s.ready("p")
    assert s.wait(5) == ["stop p (ttl)"]
    assert s.stopped("p") == []
    assert s.configure(spec("p", preload=True, ttl=6)) == []


def test_a_preload_that_nobody_waits_for_is_aborted_when_its_memory_is_needed() -> None:
    s = Script(spec("p", preload=True), "a", ram=10, sizes={"p": 8, "a": 8})
    assert s.first == ["start p"]
    assert s.ask(1, "a") == ["stop p (memory)"]
    assert s.stopped("p") == ["start a"]
    assert s.loads_told() == [("p", "aborted", 0)]


def test_a_pinned_model_is_not_unloaded_by_ttl() -> None:
    s = Script(spec("k", pin=True, ttl=5))
    s.ready("k")
    assert s.wait(1000) == []
    assert s.state("k") is InstanceState.READY


def test_a_found_engine_serves_without_a_start() -> None:
    s = Script("a")
    assert s.adopt("old-1", "a") == []
    assert s.ask(1, "a") == ["grant 1 a"]
    assert s.granted[1].instance == "old-1"
    assert s.states_told("a") == ["starting", "ready"]
    assert s.loads_told() == []


def test_an_engine_found_before_the_first_fleet_stands_in_for_the_pinned_start() -> None:
    s = Script(configured=False)
    assert s.adopt("old-1", "k") == []
    assert s.configure(spec("k", pin=True), spec("other", pin=True)) == ["start other"]
    assert s.ask(1, "k") == ["grant 1 k"]


def test_an_engine_that_was_found_and_died_before_the_first_fleet_is_forgotten() -> None:
    s = Script(configured=False)
    s.adopt("old-1", "a")
    assert s.exit("a") == []
    s.configure("a")
    assert s.ask(1, "a") == ["start a"]


def test_a_shutdown_before_the_first_fleet_stops_what_was_found() -> None:
    s = Script(configured=False)
    s.adopt("old-1", "a")
    assert s.shut_down() == ["stop a (shutdown)"]
    assert s.stopped("a") == ["finished"]


def test_a_found_engine_with_another_digest_is_stopped() -> None:
    s = Script("a")
    assert s.adopt("old-1", "a", digest="older") == ["stop a (reload)"]
    assert s.ask(1, "a") == ["start a"]
    assert s.stopped("a") == []


def test_a_found_engine_of_a_model_that_is_gone_is_stopped() -> None:
    s = Script("a")
    assert s.adopt("old-1", "gone") == ["stop gone (reload)"]
    assert s.stopped("gone") == []
    assert s.machine.view("gone") is None


def test_a_second_found_engine_of_one_model_is_stopped() -> None:
    s = Script("a")
    s.adopt("old-1", "a")
    assert s.adopt("old-2", "a") == ["stop a (reload)"]


def test_a_found_engine_that_does_not_fit_is_stopped() -> None:
    s = Script("a", "b", ram=10, sizes={"a": 6, "b": 6})
    s.load("a")
    assert s.adopt("old-1", "b") == ["stop b (reload)"]


def test_a_found_engine_that_cannot_run_beside_another_is_stopped() -> None:
    for first, second in (("big", "small"), ("small", "big")):
        s = Script("big", "small", groups=[together("big", exclusive=True), together("small")])
        s.load(first)
        assert s.adopt("old-1", second) == [f"stop {second} (reload)"]
