"""A simulated day: 50 Models on 24 GiB, Zipf's law, five callers of whom one floods."""

from __future__ import annotations

import pytest

from .day import simulate
from .workload import BUDGET_BYTES


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_day(seed: int) -> None:
    day = simulate(seed)
    assert day.requests > 10_000
    assert (day.lost, day.refused) == (0, 0)  # promise 2
    assert day.bound_share <= 1.0  # promise 5
    assert day.most_bytes <= BUDGET_BYTES
    assert day.fewest_in_order <= day.loads
    assert day.ratio <= 1.3
    assert day.ratio_in_order <= 1.4
    assert day.wait_p95_s < day.flood_p95_s / 2  # who floods waits for itself
