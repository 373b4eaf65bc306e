"""
What footprints need to know of a model, small enough to be kept for thousands of them.

The file may come from anywhere and claim anything: numbers that no model can have raise BadGguf here, so that what is
computed from the rest stays a number of this world.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from corral.domain.errors import BadGguf
from corral.store.gguf.header import Header, TensorInfo, Value
from corral.store.gguf.weights import Weights

MAX_LAYERS: Final = 4096  # llama.cpp itself takes 512
MAX_NUMBER: Final = 1 << 32  # of anything that is counted or measured: GGUF writes them as u32
MAX_KEYS: Final = 1_000  # of an architecture's own; the largest have sixty
MAX_KEY: Final = 100  # letters; longer ones nobody asks for
Number = int | bool | tuple[int, ...]


@dataclass(frozen=True, eq=False)
class ModelShape:
    """
    The numbers of a model's architecture (without the architecture's name in front), and its weights.

    It is what it is and equals nothing else, so what follows from it can be remembered for it.
    """

    architecture: str
    layers: int
    numbers: Mapping[str, Number]
    vocabulary: int
    weights: Weights

    def whole(self, key: str, default: int = 0) -> int:
        """An integer of the architecture; the largest where it has one for each layer."""
        value = self.numbers.get(key, default)
        return max(value, default=default) if isinstance(value, tuple) else int(value)

    def has(self, key: str) -> bool:
        """True when the file says something usable under this key."""
        return key in self.numbers

    def by_layer(self, key: str, default: int = 0) -> tuple[int, ...]:
        """A number for each layer, from one for all or an array; 0 for layers that an array leaves out."""
        value = self.numbers.get(key, default)
        if isinstance(value, tuple):
            return (value + (0,) * self.layers)[: self.layers]
        return (int(value),) * self.layers


def shape_of(header: Header, tensors: Iterable[TensorInfo]) -> ModelShape:
    """From the header of the first part and the tensors of all. Raises BadGguf for what no model can be."""
    prefix = header.architecture + "."
    numbers = {
        key[len(prefix) :]: number
        for key, value in header.metadata.items()
        if key.startswith(prefix) and len(key) <= MAX_KEY and (number := _number(key, value)) is not None
    }
    if len(numbers) > MAX_KEYS:
        raise BadGguf(f"The model has {len(numbers)} numbers of its own; {MAX_KEYS} are the most that are kept.")
    layers = numbers.get("block_count", 0)
    if isinstance(layers, tuple) or layers > MAX_LAYERS:
        raise BadGguf(f"The model claims {layers} layers; {MAX_LAYERS} is the most that is believed.")
    vocabulary = header.array_length("tokenizer.ggml.tokens") or 0
    return ModelShape(header.architecture, int(layers), numbers, vocabulary, Weights.of(tensors, int(layers)))


def _number(key: str, value: Value) -> Number | None:
    """An integer, or an array of them; None for everything else, and for less than nothing."""
    if isinstance(value, tuple):
        if not all(isinstance(each, int) for each in value):
            return None
        whole = tuple(max(0, int(each)) for each in value)
        _check(key, max(whole, default=0))
        return whole
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        _check(key, value)
        return value if value >= 0 else None
    return None


def _check(key: str, value: int) -> None:
    if value >= MAX_NUMBER:
        raise BadGguf(f"The model claims {key} = {value}, which no model has.", hint="Download it again.")
