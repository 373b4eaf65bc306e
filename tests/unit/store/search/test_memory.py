"""Where a model of some size would run, and which of the starters are offered."""

from __future__ import annotations

import datetime

import pytest

from corral.domain.devices import DeviceMemory
from corral.domain.references import HubReference, OllamaReference
from corral.store.search.memory import Fits, HostMemory, memory_of
from corral.store.search.starters import fitting, starters

GIB = 1024**3


@pytest.mark.parametrize(
    ("ram", "vram", "size", "fits"),
    [
        (16, 0, 8, Fits.RAM),
        (16, 0, 14, Fits.NO),
        (16, 24, 20, Fits.GPU),
        (16, 24, 22, Fits.PART),
        (16, 8, 18, Fits.PART),
        (16, 8, 30, Fits.NO),
        (16, 1, 8, Fits.RAM),
        (0, 24, 20, Fits.GPU),
        (0, 0, 0, Fits.NO),
    ],
)
def test_where_it_runs(ram: int, vram: int, size: int, fits: Fits) -> None:
    assert HostMemory(ram * GIB, vram * GIB).fits(size * GIB) is fits


def test_a_gpu_without_memory_of_its_own_adds_none() -> None:
    there = [
        DeviceMemory("ram", 64 * GIB, GIB),
        DeviceMemory("CUDA0", 24 * GIB, GIB),
        DeviceMemory("CUDA1", 8 * GIB, GIB),
        DeviceMemory("Vulkan0", 48 * GIB, GIB, part_of="ram"),
    ]
    assert memory_of(there) == HostMemory(64 * GIB, 32 * GIB)
    assert memory_of([]) == HostMemory(0)


def test_the_starters_are_references_with_sizes_and_a_date() -> None:
    known = starters()
    assert str(datetime.date.fromisoformat(known.date)) == known.date
    sizes = [each.gigabytes for each in known.models]
    assert sizes == sorted(sizes) and len({each.reference for each in known.models}) == len(sizes) >= 8
    for each in known.models:
        assert isinstance(each.parsed, HubReference | OllamaReference) and each.title and each.good_for and each.licence
        assert str(each.parsed) == each.reference


@pytest.mark.parametrize("ram", [4, 8, 16, 32, 64, 128])
def test_every_machine_is_offered_something(ram: int) -> None:
    found = fitting(starters().models, HostMemory(ram * GIB))
    sizes = [each.gigabytes for each, _ in found]
    assert sizes and sizes == sorted(sizes, reverse=True)
    assert all(each.size_bytes < ram * GIB for each, _ in found)


def test_what_fits_on_the_gpu_goes_first() -> None:
    found = fitting(starters().models, HostMemory(64 * GIB, 8 * GIB))
    kinds = [fits for _, fits in found]
    assert kinds[0] is Fits.GPU and kinds == sorted(kinds, key=[Fits.GPU, Fits.PART, Fits.RAM].index)
