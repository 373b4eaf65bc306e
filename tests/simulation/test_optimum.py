"""The clairvoyant against every choice there is."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .optimum import fewest_loads

SIZES = {"a": 1, "b": 2, "c": 3, "d": 5}


def by_trying(uses: list[str], budget: int) -> int:
    """The fewest loads over all ways to choose who stays after each use."""
    reached = {frozenset[str](): 0}
    for model in uses:
        after: dict[frozenset[str], int] = {}
        for kept, loads in reached.items():
            cost = loads + (model not in kept)
            others = kept - {model}
            for count in range(len(others) + 1):
                for chosen in itertools.combinations(sorted(others), count):
                    held = frozenset((*chosen, model))
                    if sum(SIZES[each] for each in held) <= budget:
                        after[held] = min(cost, after.get(held, cost))
        reached = after
    return min(reached.values())


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(sorted(SIZES)), min_size=1, max_size=12), st.integers(5, 11))
def test_it_is_the_optimum(uses: list[str], budget: int) -> None:
    assert fewest_loads(uses, SIZES, budget, gap=0.0) == by_trying(uses, budget)


def test_a_model_that_never_fits() -> None:
    with pytest.raises(ValueError, match="larger"):
        fewest_loads(["d"], SIZES, 4)
