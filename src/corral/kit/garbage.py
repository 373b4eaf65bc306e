"""The garbage collector of a program that has started and now serves."""

from __future__ import annotations

import gc


def settle_memory() -> None:
    """
    What lives from here on lives long: keep the garbage collector from walking it again and again.

    The serving path makes no cycles, so the collector finds next to nothing there (docs/performance.md).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
    gc.enable()
