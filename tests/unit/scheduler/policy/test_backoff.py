from __future__ import annotations

from corral.domain.fleet import Limits
from corral.scheduler.policy.backoff import SETTLED_S, backoff_s, died_early

LIMITS = Limits(backoff_first_s=0.5, backoff_max_s=10)


def test_it_doubles_up_to_the_most() -> None:
    assert [backoff_s(n, LIMITS, permanent=False) for n in range(1, 8)] == [0.5, 1, 2, 4, 8, 10, 10]


def test_thousands_of_failures_do_not_overflow() -> None:
    assert backoff_s(100_000, LIMITS, permanent=False) == 10


def test_what_can_not_work_waits_longest_at_once() -> None:
    assert backoff_s(1, LIMITS, permanent=True) == 10


def test_an_engine_has_settled_when_it_served_or_lived_long_enough() -> None:
    assert died_early(SETTLED_S - 0.1, served=False)
    assert not died_early(SETTLED_S, served=False)
    assert not died_early(0.0, served=True)
