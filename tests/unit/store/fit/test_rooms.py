"""Memories and verdicts: what is free, what Models may have, what would be free without the others."""

from __future__ import annotations

from collections import Counter

import pytest

from corral.domain.devices import RAM, DeviceMemory
from corral.store.fit.rooms import Room, Rooms, Verdict, rooms_of
from corral.store.gguf.estimate import Estimate
from tests.unit.store.fit.kit import GIB


@pytest.mark.parametrize(
    ("needs", "limit", "verdict"),
    [
        (2, None, Verdict.NOW),
        (3, None, Verdict.LATER),
        (8, None, Verdict.LATER),
        (9, None, Verdict.NEVER),
        (5, 4, Verdict.NEVER),
        (3, 4, Verdict.LATER),
        (9, 20, Verdict.NEVER),
    ],
)
def test_one_memory(needs: int, limit: int | None, verdict: Verdict) -> None:
    """Of 8 bytes 2 are free."""
    assert Room(DeviceMemory("CUDA0", 8, 2), limit).verdict(needs) is verdict


def test_the_worst_memory_counts_and_one_that_is_not_there_is_the_worst() -> None:
    rooms = rooms_of([DeviceMemory(RAM, 8, 8), DeviceMemory("CUDA0", 8, 2)], {})
    for weights, verdict in (
        ({RAM: 8, "CUDA0": 2}, Verdict.NOW),
        ({RAM: 8, "CUDA0": 3}, Verdict.LATER),
        ({RAM: 9, "CUDA0": 3}, Verdict.NEVER),
        ({RAM: 1, "CUDA1": 1}, Verdict.NEVER),
        ({RAM: 1, "CUDA1": 0}, Verdict.NOW),
    ):
        assert rooms.verdict(Estimate(weights=Counter(weights))) is verdict


def test_emptied_is_what_models_may_have_or_more_where_more_is_free() -> None:
    gpu = DeviceMemory("CUDA0", 24 * GIB, GIB, "A GPU", "GPU-1", "nvml", RAM)
    for limit, free in ((None, 24), (10 * GIB, 10), (GIB // 2, 1)):
        (found,) = Rooms((Room(gpu, limit),)).emptied()
        assert found == DeviceMemory("CUDA0", 24 * GIB, free * GIB, "A GPU", "GPU-1", "nvml", RAM)
