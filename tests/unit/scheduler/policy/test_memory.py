from __future__ import annotations

from corral.scheduler.policy.memory import Candidate, choose_victims, never_fits


def idle(name: str, size: int, since: float) -> Candidate[str]:
    return Candidate(name, size, since, 0, 0.0)


def busy(name: str, size: int, *, priority: int = 0, ready_at: float = 0.0) -> Candidate[str]:
    return Candidate(name, size, None, priority, ready_at)


def test_the_longest_idle_goes_first() -> None:
    assert choose_victims(4, [idle("young", 4, 30.0), idle("old", 4, 10.0), idle("middle", 4, 20.0)]) == ["old"]


def test_those_in_use_are_chosen_only_when_the_idle_ones_do_not_suffice() -> None:
    assert choose_victims(4, [busy("b", 100), idle("i", 4, 99.0)]) == ["i"]
    assert choose_victims(8, [busy("b", 4), idle("i", 4, 99.0)]) == ["i", "b"]


def test_nobody_leaves_without_need() -> None:
    assert choose_victims(8, [idle("old", 2, 1.0), idle("young", 8, 2.0)]) == ["young"]
    assert choose_victims(10, [idle("i", 2, 1.0), busy("b", 10)]) == ["b"]


def test_among_those_in_use_the_lowest_priority_and_then_the_longest_ready_goes_first() -> None:
    assert choose_victims(1, [busy("high", 1, priority=2), busy("low", 1, priority=1, ready_at=9.0)]) == ["low"]
    assert choose_victims(1, [busy("new", 1, ready_at=9.0), busy("old", 1, ready_at=1.0)]) == ["old"]


def test_too_little_is_told_from_nothing_needed() -> None:
    assert choose_victims(5, [idle("a", 4, 1.0)]) is None
    assert choose_victims(0, [idle("a", 4, 1.0)]) == []
    assert choose_victims(1, []) is None


def test_the_refusal_holds_the_sum() -> None:
    error = never_fits("big", 9 * 1024**3, -5)
    assert error.message == "'big' needs 9 GiB, 0 B could be free."
    assert error.retry_after_s is None
