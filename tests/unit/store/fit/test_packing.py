"""Runs of layers on unequal GPUs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from corral.store.fit.packing import runs

SIZES = st.lists(st.integers(0, 1000), min_size=1, max_size=60)
ROOMS = st.lists(st.integers(0, 20_000), min_size=1, max_size=6)


def test_equal_gpus_share_alike() -> None:
    assert runs([10] * 33, [1000, 1000]) in ((17, 16), (16, 17))


def test_unequal_gpus_are_filled_to_the_same_share() -> None:
    assert runs([10] * 30, [2000, 1000]) == (20, 10)


def test_layers_count_by_their_bytes() -> None:
    assert runs([30] * 10 + [10] * 30, [300, 300]) == (10, 30)


def test_a_gpu_without_room_gets_nothing() -> None:
    assert runs([10] * 4, [0, 40]) == (0, 4)


def test_what_is_too_much_is_none() -> None:
    assert runs([10] * 5, [20, 20]) is None
    assert runs([10], []) is None


@given(SIZES, ROOMS)
def test_no_gpu_gets_more_than_it_has_room_for(sizes: list[int], rooms: list[int]) -> None:
    found = runs(sizes, rooms)
    if found is None:
        return
    assert sum(found) == len(sizes)
    rest = list(sizes)
    for count, room in zip(found, rooms, strict=True):
        mine, rest = rest[:count], rest[count:]
        assert sum(mine) <= room
