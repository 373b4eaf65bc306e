"""The weights of a model by where they may be put: input, each layer, each layer's routed experts, output."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from corral.store.gguf.header import TensorInfo

_LAYER: Final = re.compile(r"blk\.(\d{1,5})\.")
_EXPERTS: Final = re.compile(r"\.ffn_(up|down|gate|gate_up)_(ch|)exps")  # as llama.cpp's --cpu-moe has it
_INPUT: Final = ("token_embd.", "position_embd.", "token_types.", "per_layer_token_embd.")  # never on a GPU
_TOKENS: Final = "token_embd.weight"
_HEAD: Final = "output.weight"


@dataclass(frozen=True, slots=True)
class Weights:
    """Bytes of tensors. `layers` has no experts and nothing of `pinned`: tensors that a pattern put on a device."""

    input_bytes: int = 0
    output_bytes: int = 0
    layers: tuple[int, ...] = ()
    experts: tuple[int, ...] = ()
    tied_bytes: int = 0  # the output is the token embedding: a GPU that has the output gets a copy of it
    pinned: Mapping[str, int] = field(default_factory=dict)

    @property
    def total_bytes(self) -> int:
        """All tensors, each once."""
        return self.input_bytes + self.output_bytes + sum(self.layers) + sum(self.experts) + sum(self.pinned.values())

    @classmethod
    def of(
        cls, tensors: Iterable[TensorInfo], layers: int, patterns: Sequence[tuple[re.Pattern[str], str]] = ()
    ) -> Weights:
        """Sort tensors. `patterns` say which go to a named device, the first that matches wins."""
        outside = {True: 0, False: 0}  # is input?
        plain, experts = [0] * layers, [0] * layers
        pinned: dict[str, int] = {}
        tokens, tied = 0, True
        for tensor in tensors:
            name, size = tensor.name, tensor.n_bytes
            if name == _TOKENS:
                tokens = size
            tied = tied and name != _HEAD
            device = next((device for pattern, device in patterns if pattern.search(name)), None)
            match = _LAYER.match(name)
            layer = int(match[1]) if match else layers
            if device is not None:
                pinned[device] = pinned.get(device, 0) + size
            elif layer >= layers:
                outside[name.startswith(_INPUT)] += size
            elif is_expert(name):
                experts[layer] += size
            else:
                plain[layer] += size
        return cls(outside[True], outside[False], tuple(plain), tuple(experts), tokens if tied else 0, pinned)


def is_expert(name: str) -> bool:
    """Whether a tensor belongs to routed experts, of which a token uses some; a shared one is for all."""
    return _EXPERTS.search(name) is not None
