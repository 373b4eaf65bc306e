"""Waiting before a server is asked again, on a clock of the test's own."""

from __future__ import annotations

import email.utils

import pytest

from corral.domain.errors import FetchStopped
from corral.store.fetch.patience import LONGEST_S, Patience, never


class FakeTime:
    """Seconds pass only in sleeps."""

    def __init__(self) -> None:
        self.at = 1_000_000.0
        self.sleeps: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.at += seconds

    def now(self) -> float:
        return self.at

    def patience(self, chance: float = 1.0) -> Patience:
        return Patience(self.sleep, self.now, self.now, lambda: chance)


def test_pauses_double_up_to_a_bound_and_are_spread() -> None:
    longest, shortest = FakeTime().patience(1.0), FakeTime().patience(0.0)
    assert [longest.pause_s(n) for n in range(1, 5)] == [0.5, 1, 2, 4]
    assert [shortest.pause_s(n) for n in range(1, 5)] == [0.25, 0.5, 1, 2]
    assert longest.pause_s(10_000) == LONGEST_S


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7", 7.0), (" 0 ", 0.0), ("soon", None), ("", None), ("-3", None), ("1" * 30, float("inf"))],
)
def test_what_a_server_asks_for_in_seconds(text: str, seconds: float | None) -> None:
    assert FakeTime().patience().asked_s(text) == seconds


def test_what_a_server_asks_for_as_a_date() -> None:
    time = FakeTime()
    assert time.patience().asked_s(email.utils.formatdate(time.at + 90, usegmt=True)) == 90
    assert time.patience().asked_s(email.utils.formatdate(time.at - 90, usegmt=True)) == 0
    for beyond in ("Wed, 21 Oct 99999999999999999999 07:28:00 GMT", "Wed, 21 Oct 2026 07:28:00 +999999999999"):
        assert time.patience().asked_s(beyond) is None


def test_a_nap_lasts_as_long_as_it_should_and_ends_soon_when_stopped() -> None:
    time = FakeTime()
    began = time.at
    time.patience().nap(3.3, never)
    assert time.at - began == pytest.approx(3.3)
    with pytest.raises(FetchStopped):
        time.patience().nap(100, lambda: time.at - began > 5)
    assert time.at - began < 6
