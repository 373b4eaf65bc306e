from __future__ import annotations

from corral.domain.units import FOREVER
from corral.scheduler.policy.ttl import expires_at


def test_the_ttl_counts_from_when_it_became_idle() -> None:
    assert expires_at(100.0, 60.0, pinned=False) == 160.0
    assert expires_at(100.0, 0.0, pinned=False) == 100.0


def test_pinned_and_for_ever_never_end() -> None:
    assert expires_at(100.0, 60.0, pinned=True) is None
    assert expires_at(100.0, FOREVER, pinned=False) is None
