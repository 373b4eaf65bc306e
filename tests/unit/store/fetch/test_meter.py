"""Speed over the last seconds, on a clock of the test's own."""

from __future__ import annotations

from corral.store.fetch.meter import Meter


def test_it_is_of_the_last_seconds_and_what_was_there_does_not_count() -> None:
    at = 0.0
    meter = Meter(lambda: at)
    assert meter.look(1_000_000) == 0.0
    for _ in range(50):
        at += 0.2
        speed = meter.look(1_000_000 + int(at * 1000))
    assert 990 < speed < 1010
    stalled = 1_000_000 + int(at * 1000)
    for _ in range(30):
        at += 0.2
        speed = meter.look(stalled)
    assert speed < 50


def test_from_the_beginning_again_is_no_negative_speed() -> None:
    at = 0.0
    meter = Meter(lambda: at)
    meter.look(1000)
    at = 1.0
    assert meter.look(5000) == 4000
    at = 2.0
    assert meter.look(0) == 0.0
