"""How a model is quantised: its tensors by type, and the bits that a weight really takes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from corral.store.gguf.ggml import GGML_TYPES
from corral.store.gguf.header import TensorInfo
from corral.store.gguf.weights import is_expert

_NAMED: Final = frozenset(kind.name for kind in GGML_TYPES.values())


@dataclass(frozen=True, slots=True)
class TypeShare:
    """
    The tensors of one type. `bits_per_weight` counts scales and minima of the blocks with it; it is None, and
    `n_bytes` 0, for a type that is newer than Corral.
    """

    type: str
    tensors: int
    parameters: int
    n_bytes: int
    bits_per_weight: float | None


def type_shares(tensors: Iterable[TensorInfo]) -> tuple[TypeShare, ...]:
    """By type, the one with the most weights first."""
    found: dict[str, tuple[int, int, int]] = {}
    for tensor in tensors:
        count, elements, size = found.get(tensor.type, (0, 0, 0))
        found[tensor.type] = (count + 1, elements + math.prod(tensor.shape), size + tensor.n_bytes)
    shares = [
        TypeShare(name, count, elements, size, _bits(size, elements) if name in _NAMED else None)
        for name, (count, elements, size) in found.items()
    ]
    return tuple(sorted(shares, key=lambda share: (-share.parameters, share.type)))


def overall_bits(shares: Sequence[TypeShare]) -> float | None:
    """Of all weights together; None where a type is not known."""
    if not shares or any(share.bits_per_weight is None for share in shares):
        return None
    return _bits(sum(share.n_bytes for share in shares), sum(share.parameters for share in shares))


def _bits(n_bytes: int, parameters: int) -> float:
    return n_bytes * 8 / parameters  # no tensor is empty: the reader sees to that


def parameters_of(tensors: Iterable[TensorInfo]) -> int:
    """All weights, each once."""
    return sum(math.prod(tensor.shape) for tensor in tensors)


def active_parameters(tensors: Iterable[TensorInfo], experts: int, used: int) -> int:
    """Those that take part in one token: of routed experts as many as are used."""
    total = routed = 0
    for tensor in tensors:
        elements = math.prod(tensor.shape)
        total += elements
        routed += elements if is_expert(tensor.name) else 0
    if not 0 < used < experts:
        return total
    return total - routed + routed * used // experts
