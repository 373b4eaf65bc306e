"""A Fleet that is served before all of it is surveyed: who is asked for comes first, and nothing is decided blind."""

from __future__ import annotations

from corral.domain.events import ModelsSurveyed
from corral.domain.instance import InstanceState
from corral.domain.launch import Footprint, Remembered, Variant

from .script import Script, spec, swap

GIB = 1024**3


def unsurveyed(*names: str, **sizes: int) -> Script:
    """A Fleet of which nothing is known yet."""
    s = Script(configured=False, sizes=sizes)
    s.configure(*(spec(name, slots=2) for name in names), ram=10, unsurveyed=names)
    return s


def test_a_model_that_is_asked_for_is_surveyed_once_and_then_started() -> None:
    s = unsurveyed("a", "b")
    assert s.ask(1, "a") == ["survey a"]
    assert s.ask(2, "a") == []
    assert s.surveyed("a") == ["start a"]
    assert s.ready("a") == ["grant 1 a", "grant 2 a"]


def test_what_nobody_asks_for_is_only_learned() -> None:
    s = unsurveyed("a", "b")
    assert s.surveyed("a", "b") == []
    assert s.ask(1, "b") == ["start b"]


def test_who_waits_keeps_his_place_whenever_his_model_is_known() -> None:
    s = Script(configured=False)
    s.configure("a", spec("b", slots=2), groups=[swap("a", "b")], unsurveyed=["a"])
    assert s.ask(1, "a") == ["survey a"]
    assert s.ask(2, "b") == ["start b"], "nobody waits for a survey that is not his own"
    s.ask(3, "b")
    assert s.surveyed("a") == []
    assert s.ready("b") == ["grant 2 b", "grant 3 b"]
    s.release(2)
    assert s.release(3) == ["stop b (swap)"]
    assert s.stopped("b") == ["start a"]


def test_who_leaves_or_is_too_late_before_the_survey_is_over_starts_nothing() -> None:
    s = unsurveyed("a", "b")
    s.ask(1, "a")
    s.leave(1)
    s.ask(2, "b", timeout=5)
    assert s.wait(6) == ["refuse 2 queue_timeout"]
    assert s.surveyed("a", "b") == []


def test_what_can_never_fit_is_refused_with_the_sum_when_it_is_known() -> None:
    s = unsurveyed("a", a=11 * GIB)
    s.memory(10 * GIB)
    s.ask(1, "a")
    assert s.surveyed("a") == ["refuse 1 no_memory"]
    assert "needs 11 GiB, 10 GiB free" in s.errors[1].message


def test_smaller_ways_come_with_the_survey() -> None:
    s = unsurveyed("a", a=11)
    s.ask(1, "a")
    assert s.surveyed("a", variants={"a": (Variant({"ctx_size": 1}, Footprint(5), "less", "smaller"),)}) == ["start a"]
    assert s.starts["a"].digest == "less"


def test_pins_and_preloads_are_surveyed_without_a_request() -> None:
    s = Script(configured=False)
    pinned, preloaded = spec("a", pin=True), spec("b", preload=True)
    assert s.configure(pinned, preloaded, "c", unsurveyed="abc") == ["survey a", "survey b"]
    assert s.surveyed("a", "b") == ["start a", "start b"]


def test_an_operator_who_asks_before_the_survey_is_not_told_of_a_measurement() -> None:
    """By hand it is tried as estimated, as it is when the measurement is known already."""
    s = unsurveyed("a", a=11)
    assert s.ask(1, "a", operator=True) == ["survey a"]
    assert s.surveyed("a", remembered={"d": Remembered({"ram": 4}, 1.0, 1.0)}) == ["start a"]


def test_an_engine_of_an_earlier_corral_waits_for_the_survey_of_its_model() -> None:
    s = Script(configured=False)
    s.adopt("x-1", "a")
    s.adopt("x-2", "b", digest="old")
    assert sorted(s.configure("a", "b", unsurveyed=["a", "b"])) == ["survey a", "survey b"]
    assert s.ask(1, "a") == []
    assert s.surveyed("a") == ["grant 1 a"]
    assert s.surveyed("b") == ["stop b (reload)"]


def test_one_that_ends_while_its_model_is_surveyed_is_not_adopted() -> None:
    s = Script(configured=False)
    s.adopt("x-1", "a")
    s.configure("a", unsurveyed=["a"])
    s.exit("a")
    s.ask(1, "a")
    assert s.surveyed("a") == ["start a"]


def test_a_shutdown_stops_what_was_found_and_not_surveyed() -> None:
    s = Script(configured=False)
    s.adopt("x-1", "a")
    s.configure("a", unsurveyed=["a"])
    assert s.shut_down() == ["stop a (shutdown)"]


def test_a_reload_keeps_the_instance_until_its_model_is_surveyed_again() -> None:
    s = Script("a")
    s.load("a")
    assert s.configure("a", unsurveyed=["a"]) == ["survey a"]
    assert s.ask(1, "a") == ["grant 1 a"]
    s.release(1)
    assert s.surveyed("a") == []
    assert s.configure("a", unsurveyed=["a"]) == ["survey a"]
    assert s.surveyed("a", digest="new") == ["stop a (reload)"]


def test_the_newest_fleet_wins_over_what_was_found_for_an_older_one() -> None:
    s = unsurveyed("a")
    old = s.fleet.models["a"]
    s.ask(1, "a")
    assert s.configure(spec("a", slots=2), unsurveyed=["a"]) == ["survey a"]
    assert s.surveyed(old, digest="old") == []
    assert s.surveyed("a", digest="new") == ["start a"]
    assert s.starts["a"].digest == "new"


def test_what_is_known_already_is_not_learned_twice() -> None:
    """A background survey may come after the one that was asked for, when the Model's room is claimed already."""
    s = Script("k", "a", ram=10, sizes={"k": 9, "a": 5})
    s.load("k")
    assert s.ask(1, "a") == ["stop k (memory)"]
    s.sizes["a"] = 7
    assert s.surveyed("a", digest="other") == []
    assert s.stopped("k") == ["start a"]
    assert (s.starts["a"].digest, s.starts["a"].footprint) == ("d", {"ram": 5})


def test_a_removed_model_is_surveyed_for_those_who_wait_for_it() -> None:
    s = unsurveyed("a", "b")
    old = s.fleet.models["a"]
    s.ask(1, "a")
    s.configure("b", ram=10, unsurveyed=["b"])
    assert s.surveyed(old) == ["start a"]
    assert s.ready("a") == ["grant 1 a"]
    assert s.release(1) == ["stop a (reload)"]


def test_a_survey_of_a_model_that_has_gone_is_ignored() -> None:
    s = unsurveyed("a")
    old = s.fleet.models["a"]
    s.configure("b")
    assert s.step(ModelsSurveyed({"a": old}, {"a": "d"}, {"a": Footprint(1)})) == []
    assert s.machine.view("a") is None


def test_it_is_stopped_and_costs_nothing_until_it_is_asked_for() -> None:
    s = unsurveyed("a")
    assert s.state("a") is InstanceState.STOPPED
    assert s.machine.used() == {}
