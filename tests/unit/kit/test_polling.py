"""Pauses between two looks."""

from __future__ import annotations

from itertools import islice

from corral.kit.polling import pauses


def test_pauses_grow_up_to_the_longest() -> None:
    assert [round(pause, 3) for pause in islice(pauses(1.0, 5.0, 2.0), 5)] == [1.0, 2.0, 4.0, 5.0, 5.0]
