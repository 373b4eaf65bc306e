"""What `ps` and the snapshot show."""

from __future__ import annotations

from corral.domain.instance import InstanceState

from .script import Script, spec, swap


def test_a_model_that_was_never_started() -> None:
    s = Script(spec("a", pin=False), sizes={"a": 7})
    view = s.view("a")
    assert (view.state, view.instance, view.ram_bytes, view.since) == (InstanceState.STOPPED, "", 0, 0.0)


def test_a_life_from_start_to_stop() -> None:
    s = Script(spec("a", slots=3, ttl=60), sizes={"a": 7})
    s.wait(5)
    s.ask(1, "a")
    view = s.view("a")
    assert (view.state, view.instance, view.waiting, view.since, view.ram_bytes) == ("starting", "i-1", 1, 5.0, 7)
    s.wait(2)
    s.ready("a", slots=2, load_s=1.5)
    view = s.view("a")
    assert (view.state, view.leases, view.slots, view.waiting, view.load_s) == ("ready", 1, 2, 0, 1.5)
    assert (view.since, view.idle_since, view.expires_at) == (7.0, None, None)
    s.wait(3)
    s.release(1)
    view = s.view("a")
    assert (view.leases, view.idle_since, view.expires_at) == (0, 10.0, 70.0)
    s.wait(60)
    assert s.view("a").state == "stopping"
    s.stopped("a")
    view = s.view("a")
    assert (view.state, view.instance, view.load_s) == ("stopped", "i-1", 1.5)


def test_a_lease_without_a_slot_is_no_slot_in_use_but_keeps_it_from_being_idle() -> None:
    s = Script("a")
    s.load("a")
    s.ask(1, "a", weight=0)
    view = s.view("a")
    assert (view.leases, view.idle_since) == (0, None)


def test_a_failure_says_why_and_until_when() -> None:
    s = Script("a")
    s.ask(1, "a")
    s.fail("a")
    view = s.view("a")
    assert (view.state, view.failures, view.retry_at, view.error) == ("failed", 1, 1.0, "It broke.")


def test_a_draining_instance_is_shown_until_it_is_gone() -> None:
    s = Script("a", "b", groups=[swap("a", "b")])
    s.load("a")
    s.ask(1, "a")
    s.ask(2, "b")
    s.wait(10)
    s.ask(3, "a")
    view = s.view("a")
    assert (view.state, view.leases, view.waiting) == ("draining", 1, 1)
    assert s.view("b").waiting == 1


def test_views_come_in_the_order_of_the_fleet_and_unknown_models_have_none() -> None:
    s = Script("b", "a", spec("c", pin=True))
    assert [view.model for view in s.machine.views()] == ["b", "a", "c"]
    assert s.view("c").pinned
    assert s.machine.view("nope") is None


def test_wanted_without_a_request() -> None:
    s = Script(spec("p", pin=True), spec("a", preload=True), spec("b", preload=True), "c", groups=[swap("a", "b")])
    # The turn of `a` has come, and `b` was passed over: it would have to wait for a's memory.
    assert [s.view(name).wanted for name in "pabc"] == [True, False, False, False]
    s.ready("p")
    s.unload("p")
    assert not s.view("p").wanted


def test_present_are_those_with_an_engine_or_waiters() -> None:
    s = Script("a", "b", "c", "d", groups=[swap("a", "b")])
    s.load("a", "d")
    s.ask(1, "a")
    s.ask(2, "b")  # waits for a
    assert sorted((view.model, view.state) for view in s.machine.present()) == [
        ("a", InstanceState.READY), ("b", InstanceState.STOPPED), ("d", InstanceState.READY),
    ]  # fmt: skip
    assert s.machine.states() == [(view.model, view.state) for view in s.machine.views()]


def test_used_counts_an_engine_that_leaves_beside_its_successor() -> None:
    s = Script("a", sizes={"a": 7})
    s.load("a")
    s.ask(1, "a")
    s.sizes["a"] = 5
    s.configure("a", digests={"a": "new"})
    assert s.ask(2, "a") == ["start a"]
    assert (s.view("a").ram_bytes, s.machine.used()) == (5, {"ram": 12})
    assert s.machine.held() == [("a", "i-1", {"ram": 7}), ("a", "i-2", {"ram": 5})]
