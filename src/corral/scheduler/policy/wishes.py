"""Wishes: whether a Model as it is loaded is what a request wants it loaded with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from corral.domain.fleet import OptionValue

AT_LEAST: Final = frozenset({"ctx_size"})
"""More of these is as good."""

MOST_WAYS: Final = 4
"""In which one Model is loaded at the same time for requests, beside the one that its operator wants."""


def is_enough(
    has: Mapping[str, OptionValue], wanted: Mapping[str, OptionValue], own: Mapping[str, OptionValue]
) -> bool:
    """`has` and `wanted` are what differs from the Model's `own`; where neither says anything they are the same."""
    return all(
        _is_enough(name, has.get(name, own.get(name)), wanted.get(name, own.get(name))) for name in {*has, *wanted}
    )


def _is_enough(name: str, has: OptionValue | None, wanted: OptionValue | None) -> bool:
    if name in AT_LEAST and isinstance(has, int) and isinstance(wanted, int):
        return has >= wanted
    return has == wanted
