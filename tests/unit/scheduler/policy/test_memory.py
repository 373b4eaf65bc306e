from __future__ import annotations

from collections.abc import Mapping

from corral.scheduler.policy.memory import (
    Candidate,
    choose_victims,
    fits,
    lacking,
    least_needed,
    load_cost_s,
    never_fits,
)

GIB = 1024**3


def idle(name: str, size: int | Mapping[str, int], for_s: float, *, load_s: float = 1.0) -> Candidate[str]:
    holds = {"ram": size} if isinstance(size, int) else size
    return Candidate(name, holds, for_s, load_s)


def busy(name: str, size: int, *, priority: int = 0, waiting: int = 0, ready_at: float = 0.0) -> Candidate[str]:
    return Candidate(name, {"ram": size}, None, 1.0, priority, waiting, ready_at)


def chosen(short: int | Mapping[str, int], *candidates: Candidate[str]) -> list[str] | None:
    idle, in_use = ([c for c in candidates if (c.idle_s is None) is used] for used in (False, True))
    return choose_victims({"ram": short} if isinstance(short, int) else short, idle, least_needed(in_use))


def test_the_longest_idle_goes_first() -> None:
    assert chosen(4, idle("young", 4, 30.0), idle("old", 4, 50.0), idle("middle", 4, 40.0)) == ["old"]


def test_what_loads_quickly_goes_before_what_loads_slowly() -> None:
    slow, quick = idle("slow", 4, 600.0, load_s=60.0), idle("quick", 4, 60.0, load_s=2.0)
    assert chosen(4, slow, quick) == ["quick"]
    assert chosen(4, slow, idle("quick", 4, 19.0, load_s=2.0)) == ["slow"]  # used thirty times more recently


def test_one_large_goes_rather_than_many_small() -> None:
    small = [idle(f"s{n}", 1, 60.0, load_s=2.0) for n in range(8)]
    assert chosen(8, *small, idle("large", 8, 60.0, load_s=4.0)) == ["large"]
    assert chosen(1, *small, idle("large", 8, 60.0, load_s=4.0)) == ["s0"]


def test_what_has_only_just_become_idle_is_no_reason_to_divide_by_nothing() -> None:
    assert chosen(1, idle("a", 1, 0.0), idle("b", 1, 0.5)) == ["b"]


def test_a_load_that_was_never_measured_costs_its_bytes_from_a_disk() -> None:
    assert load_cost_s(None, {"ram": 4 * GIB, "CUDA0": 5 * GIB}) == 10.0
    assert load_cost_s(0.25, {"ram": 4 * GIB}) == 0.25


def test_those_in_use_are_chosen_only_when_the_idle_ones_do_not_suffice() -> None:
    assert chosen(4, busy("b", 100), idle("i", 4, 1.0)) == ["i"]
    assert chosen(8, busy("b", 4), idle("i", 4, 1.0)) == ["i", "b"]


def test_nobody_leaves_without_need() -> None:
    assert chosen(8, idle("old", 2, 1000.0), idle("young", 8, 2.0)) == ["young"]
    assert chosen(10, idle("i", 2, 1.0), busy("b", 10)) == ["b"]


def test_only_those_leave_that_free_what_is_short() -> None:
    ram, gpu = idle("ram", {"ram": 9}, 100.0), idle("gpu", {"ram": 1, "CUDA0": 8}, 10.0)
    assert chosen({"CUDA0": 4}, ram, gpu) == ["gpu"]
    assert chosen({"ram": 1, "CUDA0": 4}, ram, gpu) == ["gpu"]
    assert chosen({"ram": 2, "CUDA0": 4}, ram, gpu) == ["ram", "gpu"]
    assert chosen({"CUDA1": 1}, ram, gpu) is None


def test_among_those_in_use_the_lowest_priority_and_then_the_longest_ready_goes_first() -> None:
    assert chosen(1, busy("high", 1, priority=2), busy("low", 1, priority=1, ready_at=9.0)) == ["low"]
    assert chosen(1, busy("new", 1, ready_at=9.0), busy("old", 1, ready_at=1.0)) == ["old"]


def test_among_those_in_use_of_equal_priority_the_one_that_fewest_wait_for_goes_first() -> None:
    wanted, quiet = busy("wanted", 1, waiting=3, ready_at=1.0), busy("quiet", 1, ready_at=9.0)
    assert chosen(1, wanted, quiet) == ["quiet"]
    assert chosen(1, wanted, quiet._replace(priority=1)) == ["wanted"]


def test_too_little_is_told_from_nothing_needed() -> None:
    assert chosen(5, idle("a", 4, 1.0)) is None
    assert chosen(0, idle("a", 4, 1.0)) == []
    assert chosen(1) is None


def test_only_devices_with_a_budget_are_asked_about() -> None:
    assert fits({"ram": 9, "CUDA0": 3}, {"CUDA0": 5}, {"CUDA0": 2, "ram": 100})
    assert lacking({"ram": 9, "CUDA0": 3}, {"ram": 20, "CUDA0": 5}, {"ram": 8}, {"CUDA0": 4}) == {"CUDA0": 2}
    assert lacking({"CUDA0": 3}, {"CUDA0": 5}, {"CUDA0": 4}, freed={"CUDA0": 2}) == {}


def test_the_refusal_holds_the_sum() -> None:
    error = never_fits("big", {"ram": int(9.2 * GIB)}, {"ram": int(6.1 * GIB)}, unloading=["b", "c"], pinned=[])
    assert error.message == "'big' needs 9.2 GiB, 6.1 GiB free after unloading b and c."
    assert error.retry_after_s is None


def test_the_refusal_names_the_pinned_and_the_devices() -> None:
    needs, free = {"ram": GIB, "CUDA0": 20 * GIB}, {"ram": -5, "CUDA0": 16 * GIB}
    many = ["a", "b", "c", "d", "e", "f"]
    error = never_fits("big", needs, free, unloading=many, pinned=["k"])
    assert error.message == (
        "'big' needs 1 GiB of ram and 20 GiB of CUDA0, 0 B of ram and 16 GiB of CUDA0 free"
        " after unloading a, b, c and 3 more; k stays (pinned)."
    )
