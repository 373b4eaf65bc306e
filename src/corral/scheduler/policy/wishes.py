"""Wishes: whether a Model as it is loaded is what a request wants it loaded with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from corral.domain.fleet import Fit, OptionValue

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


def in_any_case(fit: Fit, own: Mapping[str, OptionValue]) -> dict[str, OptionValue]:
    """What a Model is never made smaller than, in the place of its `own` options."""
    least: dict[str, OptionValue] = {}
    if fit.min_ctx_size is not None:
        whole = own.get("ctx_size")
        least["ctx_size"] = min(whole, fit.min_ctx_size) if isinstance(whole, int) else fit.min_ctx_size
    if fit.min_gpu_layers is not None:
        least["n_gpu_layers"] = fit.min_gpu_layers
    return least


def _is_enough(name: str, has: OptionValue | None, wanted: OptionValue | None) -> bool:
    if name in AT_LEAST and isinstance(has, int) and isinstance(wanted, int):
        return has >= wanted
    return has == wanted
