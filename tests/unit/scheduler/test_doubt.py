"""A measurement that alone makes a Model impossible: it rules for a while, says so, and is tried again."""

from __future__ import annotations

from math import inf

from corral.domain.errors import StartFailed
from corral.domain.launch import Footprint, Remembered, Variant
from corral.scheduler.machine.doubt import BELIEVED_S

from .script import Script

GIB = 1024**3
AT = 1_795_000_000.0  # 2026-11-18 11:06 UTC


def too_large(ram: int = 10, *, was: int = 15) -> Script:
    """`a` was estimated at 6 GiB and held more than there is; it left for that."""
    s = Script("a", "b", ram=ram * GIB, sizes={"a": 6 * GIB, "b": 4 * GIB})
    s.load("a")
    assert s.measured("a", was * GIB, at=AT) == ["stop a (memory)"]
    s.stopped("a")
    return s


def test_the_refusal_says_that_it_was_measured_when_and_how_to_forget_it() -> None:
    s = too_large()
    s.wait(60)
    assert s.ask(1, "a") == ["refuse 1 no_memory"]
    assert s.errors[1].message == (
        "'a' needs 15 GiB, 10 GiB free. "
        "That is what an earlier load held, measured on 2026-11-18 11:06 UTC; the estimate is 6 GiB."
    )
    assert s.errors[1].hint == (
        "`corral load a` forgets that and tries it as estimated; a request does so in 29m. "
        "Else raise the memory budget, unpin a Model, or ask for less (context, slots, prompt cache)."
    )


def test_after_a_while_one_start_is_counted_as_estimated() -> None:
    s = too_large()
    s.wait(BELIEVED_S)
    assert s.ask(1, "a") == ["start a"]
    assert s.starts["a"].footprint == {"ram": 6 * GIB}
    assert s.ready("a") == ["grant 1 a"]
    s.release(1)
    assert s.measured("a", 7 * GIB) == []
    s.unload("a")
    s.stopped("a")
    s.ask(2, "a")
    assert s.starts["a"].footprint == {"ram": 7 * GIB}


def test_a_try_that_shows_the_same_is_believed_again() -> None:
    s = too_large()
    s.wait(BELIEVED_S)
    s.ask(1, "a")
    s.ready("a")
    s.measured("a", 15 * GIB)
    assert s.release(1) == ["stop a (memory)"]
    s.stopped("a")
    assert s.ask(2, "a") == ["refuse 2 no_memory"]
    s.wait(BELIEVED_S)
    assert s.ask(3, "a") == ["start a"]


def test_a_try_that_fails_is_no_reason_for_the_next() -> None:
    s = too_large()
    s.load("b")
    s.wait(BELIEVED_S)
    s.ask(1, "a")
    assert s.fail("a", StartFailed("No room.", memory=True)) == ["refuse 1 no_memory"], "b stays: it is large, it seems"
    assert s.ask(2, "a") == ["refuse 2 no_memory"]
    s.wait(BELIEVED_S)
    assert s.ask(3, "a") == ["start a"]


def test_a_try_makes_room_as_any_load_does() -> None:
    s = too_large()
    s.memory(9 * GIB)
    s.load("b")
    s.wait(BELIEVED_S)
    assert s.ask(1, "a") == ["stop b (memory)"]
    assert s.stopped("b") == ["start a"]


def test_by_hand_it_is_tried_at_once() -> None:
    s = too_large()
    assert s.ask(1, "a", weight=0, operator=True) == ["start a"]
    assert s.starts["a"].footprint == {"ram": 6 * GIB}


def test_what_is_too_large_as_estimated_too_is_not_tried() -> None:
    s = too_large(10)
    s.memory(5 * GIB)
    s.wait(BELIEVED_S)
    assert s.ask(1, "a", operator=True) == ["refuse 1 no_memory"]
    assert "measured on" in s.errors[1].message
    assert s.errors[1].hint.startswith("Raise the memory budget")


def test_what_fits_as_measured_is_counted_as_measured() -> None:
    s = too_large()
    s.memory(20 * GIB)
    s.wait(BELIEVED_S)
    assert s.ask(1, "a", operator=True) == ["start a"]
    assert s.starts["a"].footprint == {"ram": 15 * GIB}


def test_a_try_that_was_promised_and_not_begun_is_forgotten_when_the_measure_fits() -> None:
    s = too_large()
    s.load("b")
    s.memory(9 * GIB)
    s.wait(BELIEVED_S)
    assert s.ask(1, "a") == ["stop b (memory)"]
    s.memory(20 * GIB)
    s.stopped("b")
    assert s.starts["a"].footprint == {"ram": 15 * GIB}


def earlier(age_s: float, *, at: float = AT) -> Script:
    s = Script(configured=False)
    s.sizes = {"a": 15 * GIB}
    s.configure("a", ram=10 * GIB, remembered={"d": Remembered({"ram": 6 * GIB}, at, age_s)})
    return s


def test_what_an_earlier_corral_measured_counts_from_when_it_was_measured() -> None:
    s = earlier(BELIEVED_S - 60)
    assert s.ask(1, "a") == ["refuse 1 no_memory"]
    assert "measured on 2026-11-18 11:06 UTC" in s.errors[1].message
    assert "in 1m" in s.errors[1].hint
    s.wait(60)
    assert s.ask(2, "a") == ["start a"]


def test_what_was_measured_nobody_knows_when_is_tried_at_once() -> None:
    s = earlier(inf, at=0.0)
    assert s.ask(1, "a") == ["start a"]


def test_a_reload_does_not_make_a_measurement_younger_or_older() -> None:
    s = too_large()
    s.wait(BELIEVED_S - 60)
    s.sizes["a"] = 15 * GIB
    s.configure("a", "b", ram=10 * GIB, remembered={"d": Remembered({"ram": 6 * GIB}, AT, 0.0)})
    assert s.ask(1, "a") == ["refuse 1 no_memory"]
    s.wait(60)
    assert s.ask(2, "a") == ["start a"]


def test_a_reload_after_which_it_is_estimated_again_leaves_no_doubt() -> None:
    s = too_large()
    s.sizes["a"] = 12 * GIB
    s.configure("a", "b", ram=10 * GIB)
    assert s.ask(1, "a") == ["refuse 1 no_memory"]
    assert s.errors[1].message == "'a' needs 12 GiB, 10 GiB free."


def test_a_smaller_way_that_fits_comes_before_a_try() -> None:
    smaller = Variant({"ctx_size": 8192}, Footprint(8 * GIB), "d-8192", "ctx_size 8192 instead of 16384")
    s = Script(configured=False)
    s.sizes = {"a": 15 * GIB}
    known = {"d": Remembered({"ram": 6 * GIB}), "d-8192": Remembered({"ram": 3 * GIB})}
    s.configure("a", ram=10 * GIB, variants={"a": (smaller,)}, remembered=known)
    s.ask(1, "a")
    assert s.starts["a"].digest == "d-8192"
    s.fail("a", StartFailed("It broke."))
    s.wait(10)
    s.memory(5 * GIB)
    assert s.ask(2, "a") == ["start a"], "of what does not fit at all the smaller is tried where the larger cannot be"
    assert (s.starts["a"].digest, s.starts["a"].footprint) == ("d-8192", {"ram": 3 * GIB})
