from __future__ import annotations

import pytest

from corral.domain.fleet import ModelSpec
from corral.domain.units import FOREVER
from corral.scheduler.policy.ttl import expires_at, stays_s


def test_the_ttl_counts_from_when_it_became_idle() -> None:
    assert expires_at(100.0, 60.0) == 160.0
    assert expires_at(100.0, 0.0) == 100.0
    assert expires_at(100.0, None) is None


@pytest.mark.parametrize(
    ("ttl", "asked", "bounds", "stays"),
    [
        (60.0, None, (0.0, FOREVER), 60.0),
        (FOREVER, None, (0.0, FOREVER), None),
        (60.0, 5.0, (0.0, FOREVER), 5.0),
        (FOREVER, 0.0, (0.0, FOREVER), 0.0),
        (60.0, FOREVER, (0.0, FOREVER), None),
        (60.0, 5.0, (10.0, 20.0), 10.0),
        (60.0, FOREVER, (10.0, 20.0), 20.0),
        (60.0, None, (10.0, 20.0), 60.0),
        (60.0, 5.0, (FOREVER, FOREVER), None),
    ],
)
def test_how_long(ttl: float, asked: float | None, bounds: tuple[float, float], stays: float | None) -> None:
    spec = ModelSpec("a", ttl_s=ttl, keep_min_s=bounds[0], keep_max_s=bounds[1])
    assert stays_s(spec, asked, pinned=False) == stays
    assert stays_s(spec, asked, pinned=True) is None
