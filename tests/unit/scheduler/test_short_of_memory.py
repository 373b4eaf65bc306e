"""Starts that fail for memory, and Models that are started smaller because they can never fit."""

from __future__ import annotations

from corral.domain.errors import NoMemory, StartFailed
from corral.domain.events import Shrunk
from corral.domain.instance import InstanceState
from corral.domain.launch import Footprint, Variant
from corral.domain.units import FOREVER

from .script import Script, spec

NO_ROOM = StartFailed("It could not allocate its buffers.", memory=True)
SMALLER = Variant({"ctx_size": 8192}, Footprint(8), "d-8192", "ctx_size 8192 instead of 16384")
SMALLEST = Variant({"ctx_size": 4096}, Footprint(6), "d-4096", "ctx_size 4096 instead of 16384")


def test_a_start_that_fails_for_memory_is_tried_once_more_when_the_idle_have_left() -> None:
    s = Script("a", "b", "c", ram=30, sizes={"a": 5, "b": 5, "c": 5})
    s.load("a", "b")
    s.ask(1, "b")
    assert s.ask(2, "c") == ["start c"]
    assert s.fail("c", NO_ROOM) == ["stop a (memory)"]  # b is in use
    assert s.view("c").error == NO_ROOM.sentence()
    assert s.stopped("a") == ["start c"]
    assert s.ready("c") == ["grant 2 c"]
    assert s.view("c").error == ""


def test_after_the_second_time_it_has_failed() -> None:
    s = Script("a", "c", ram=30, sizes={"a": 5, "c": 5})
    s.load("a")
    s.ask(1, "c")
    s.fail("c", NO_ROOM)
    s.stopped("a")
    assert s.fail("c", NO_ROOM) == ["refuse 1 engine_start_failed"]
    assert s.state("c") is InstanceState.FAILED
    assert s.view("c").failures == 1
    assert s.ask(2, "c") == ["refuse 2 engine_start_failed"]  # its back-off
    s.wait(2)
    assert s.ask(3, "c") == ["start c"]
    assert s.fail("c", NO_ROOM) == ["start c"], "a new try has its second chance again"


def test_memory_that_a_neighbour_ate_before_the_start_counts_as_such_a_failure() -> None:
    s = Script("a", "c", ram=30, sizes={"a": 5, "c": 5})
    s.load("a")
    s.ask(1, "c")
    assert s.fail("c", NoMemory("Only 3 B are free.")) == ["stop a (memory)"]
    assert s.stopped("a") == ["start c"]


def test_of_what_nothing_is_known_everything_idle_leaves_for_it() -> None:
    s = Script("a", "b", "c", ram={"ram": 30, "CUDA0": 30}, sizes={"a": 5, "b": {"CUDA0": 5}, "c": 0})
    s.load("a", "b")
    s.ask(1, "c")
    assert s.fail("c", NO_ROOM) == ["stop a (memory)", "stop b (memory)"]
    s.stopped("a")
    assert s.stopped("b") == ["start c"]


def test_only_those_leave_that_hold_memory_on_its_devices() -> None:
    sizes = {"ram": {"ram": 5}, "gpu": {"CUDA0": 5}, "c": {"CUDA0": 5}}
    s = Script("ram", "gpu", "c", ram={"ram": 30, "CUDA0": 30}, sizes=sizes)
    s.load("ram", "gpu")
    s.ask(1, "c")
    assert s.fail("c", NO_ROOM) == ["stop gpu (memory)"]


def test_with_nothing_to_unload_it_is_tried_once_more_all_the_same() -> None:
    s = Script("c", ram=30, sizes={"c": 5})
    s.ask(1, "c")
    assert s.fail("c", NO_ROOM) == ["start c"]
    assert s.fail("c", NO_ROOM) == ["refuse 1 engine_start_failed"]


def test_other_failures_cost_nobody_anything() -> None:
    s = Script("a", "c", ram=30, sizes={"a": 5, "c": 5})
    s.load("a")
    s.ask(1, "c")
    assert s.fail("c", StartFailed("It broke.")) == ["refuse 1 engine_start_failed"]
    assert s.state("a") is InstanceState.READY


def test_when_nobody_waits_any_more_nobody_leaves_for_it_later_either() -> None:
    s = Script("a", "b", "c", ram=30, sizes={"a": 5, "b": 5, "c": 5})
    s.load("a")
    s.ask(1, "c")
    s.fail("c", NO_ROOM)
    s.leave(1)
    s.stopped("a")
    s.load("b")
    assert s.ask(2, "c") == ["start c"]
    assert s.state("b") is InstanceState.READY


def test_a_preload_that_fails_for_memory_makes_nobody_leave() -> None:
    s = Script("a", ram=30, sizes={"a": 5, "p": 5})
    s.load("a")
    assert s.configure("a", spec("p", preload=True), ram=30) == ["start p"]
    assert s.fail("p", NO_ROOM) == []
    assert s.state("a") is InstanceState.READY


def test_a_pinned_model_gets_its_second_try_without_a_request() -> None:
    s = Script("a", spec("k", pin=True), ram=30, sizes={"a": 5, "k": 5})
    s.load("a")
    assert s.fail("k", NO_ROOM) == ["stop a (memory)"]
    assert s.stopped("a") == ["start k"]


# --- smaller ----------------------------------------------------------------------------------------------------------


def shrinking(ram: int, *, size: int = 12) -> Script:
    s = Script(configured=False)
    s.sizes = {"a": size, "b": 4}
    s.configure("a", "b", ram=ram, variants={"a": (SMALLER, SMALLEST)})
    return s


def test_what_can_never_fit_is_started_smaller_and_says_so() -> None:
    s = shrinking(10)
    assert s.ask(1, "a") == ["start a"]
    start = s.starts["a"]
    assert (start.model.options, start.digest, start.footprint) == ({"ctx_size": 8192}, "d-8192", {"ram": 8})
    assert start.note == s.view("a").note == "ctx_size 8192 instead of 16384"
    assert [n for n in s.told if isinstance(n, Shrunk)] == [Shrunk("a", "i-1", start.note)]
    assert s.ready("a") == ["grant 1 a"]


def test_the_largest_that_fits_is_taken() -> None:
    assert shrinking(12).ask(1, "a") == ["start a"]
    s = shrinking(7)
    s.ask(1, "a")
    assert s.starts["a"].digest == "d-4096"


def test_what_fits_after_an_eviction_is_not_made_smaller() -> None:
    s = shrinking(14)
    s.load("b")
    assert s.ask(1, "a") == ["stop b (memory)"]
    assert s.stopped("b") == ["start a"]
    assert (s.starts["a"].digest, s.view("a").note) == ("d", "")


def test_what_does_not_fit_even_so_is_refused_with_the_smallest_sum() -> None:
    s = shrinking(5)
    assert s.ask(1, "a") == ["refuse 1 no_memory"]
    assert s.errors[1].message == "'a' needs 6 B even with ctx_size 4096 instead of 16384, 5 B free."


def test_pinned_models_make_others_smaller() -> None:
    s = Script(configured=False)
    s.sizes = {"a": 12, "k": 5}
    s.configure("a", spec("k", pin=True), ram=14, variants={"a": (SMALLER, SMALLEST)})
    s.ready("k")
    assert s.ask(1, "a") == ["start a"]
    assert s.starts["a"].digest == "d-8192"


def test_when_there_is_more_memory_the_next_start_is_the_whole() -> None:
    s = shrinking(10)
    s.load("a")
    assert s.memory(20) == [], "what runs is left alone"
    s.unload("a")
    s.stopped("a")
    assert s.ask(1, "a") == ["start a"]
    assert (s.starts["a"].digest, s.view("a").note) == ("d", "")


def test_a_smaller_instance_is_the_one_of_its_model() -> None:
    """One load per load digest counts the ways to start a Model as one: they are never side by side."""
    s = shrinking(10)
    s.load("a")
    s.ask(1, "a")
    s.unload("a")
    s.memory(100)
    assert s.ask(2, "a") == []
    assert s.release(1) == ["stop a (unload)"]
    assert s.stopped("a") == ["start a"]


def test_a_reload_leaves_a_smaller_instance_alone_and_takes_back_its_drain() -> None:
    s = shrinking(10)
    s.load("a")
    s.ask(1, "a")
    assert s.configure("a", "b", ram=10, variants={"a": (SMALLER, SMALLEST)}) == []
    assert s.state("a") is InstanceState.READY
    assert s.configure("a", "b", ram=10, digests={"a": "other"}) == []
    assert s.state("a") is InstanceState.DRAINING
    assert s.configure("a", "b", ram=10, variants={"a": (SMALLER, SMALLEST)}) == []
    assert s.state("a") is InstanceState.READY
    assert s.release(1) == []


def test_a_smaller_instance_of_an_earlier_corral_is_taken_over() -> None:
    s = shrinking(10)
    assert s.adopt("x", "a", digest="d-8192") == []
    assert s.state("a") is InstanceState.READY
    assert (s.view("a").note, s.view("a").ram_bytes) == (SMALLER.note, 8)


def test_what_a_smaller_instance_really_takes_counts_for_its_own_size() -> None:
    s = shrinking(10)
    s.load("a")
    s.measured("a", 11)  # more than there is
    s.stopped("a")
    s.ask(1, "a")
    assert s.starts["a"].digest == "d-4096"


def test_smaller_instances_live_by_the_same_rules() -> None:
    s = Script(configured=False)
    s.sizes = {"a": 12, "b": 4}
    s.configure(spec("a", ttl=30.0), spec("b", ttl=FOREVER), ram=10, variants={"a": (SMALLER,)})
    s.load("a")
    assert s.wait(31) == ["stop a (ttl)"]
