"""What comes too slowly, by the seconds that were waited for it."""

from __future__ import annotations

from corral.store.fetch.pace import LEAST_PER_S, OVER_S, Pace


def test_what_drips_is_noticed_after_a_minute_of_it() -> None:
    pace = Pace()
    assert [pace.drips(1, 1.0) for _ in range(60)] == [False] * 59 + [True]


def test_a_slow_link_is_left_alone() -> None:
    pace = Pace()
    assert not any(pace.drips(LEAST_PER_S, 1.0) for _ in range(1000))


def test_a_pause_of_half_a_minute_is_made_up_for() -> None:
    pace = Pace()
    assert not any(pace.drips(*each) for each in [(64 * 1024, 1.0), (1, 30.0), (1, 28.0), (1, OVER_S / 60)])
    assert pace.drips(1, OVER_S), "but what came before the last minute does not count"


def test_a_long_wait_that_brings_much_is_none() -> None:
    assert not Pace().drips(1024 * 1024, 10 * OVER_S)
