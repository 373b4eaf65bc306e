"""
How many layers go to which GPU, where they are of different size or partly in use.

llama.cpp gives each GPU a run of layers, in its order of GPUs, and unasked makes the runs as long as what is free on
each. That ignores what every GPU needs besides its layers, and layers that are not alike. Here the runs are chosen by
bytes: every GPU is filled to the same share of what it has room for, and the counts are what `tensor_split` takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_STEPS: Final = 24  # of the search for the share: far finer than a layer


def runs(sizes: Sequence[int], rooms: Sequence[int]) -> tuple[int, ...] | None:
    """
    How many of `sizes`, one after the other, each GPU takes, so that all of them are filled alike.

    `rooms` are bytes for layers on each. None where not all find a place.
    """
    best = _filled(sizes, rooms)
    if best is None:
        return None
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        share = (low + high) / 2
        found = _filled(sizes, [int(room * share) for room in rooms])
        if found is None:
            low = share
        else:
            best, high = found, share
    return best


def _filled(sizes: Sequence[int], rooms: Sequence[int]) -> tuple[int, ...] | None:
    counts = [0] * len(rooms)
    gpu, left = 0, rooms[0] if rooms else 0
    for size in sizes:
        while size > left:
            gpu += 1
            if gpu >= len(rooms):
                return None
            left = rooms[gpu]
        left -= size
        counts[gpu] += 1
    return tuple(counts) if rooms else None
