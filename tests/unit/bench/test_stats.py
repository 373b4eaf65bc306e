"""Nearest rank, medians, spread."""

from __future__ import annotations

import pytest

from corral.bench.stats import median, percentile, spread


@pytest.mark.parametrize(
    ("values", "percent", "wanted"),
    [
        ([], 50, 0),
        ([7], 99, 7),
        ([3, 1, 2], 50, 2),
        ([1, 2, 3, 4], 50, 2),
        (list(range(1, 101)), 99, 99),
        (list(range(1, 101)), 100, 100),
        ([1, 2], 1, 1),
    ],
)
def test_a_percentile_is_a_value_that_was_measured(values: list[float], percent: float, wanted: float) -> None:
    assert percentile(values, percent) == wanted


def test_the_spread_is_half_of_the_widest_distance_beside_the_median() -> None:
    assert median([1, 10, 2]) == 2
    assert spread([9, 10, 11]) == pytest.approx(0.1)
    assert spread([5]) == 0
    assert spread([]) == 0
