"""
The state of recurrent layers: Mamba, RWKV, short convolutions, delta and linear attention. Facts of llama.cpp b11434.

It does not grow with the context: each slot has one for every such layer, in f32.
"""

from __future__ import annotations

import functools
from typing import Final

from corral.store.gguf.shape import ModelShape
from corral.store.gguf.windows import REMEMBERED, next_layers

_RECURRENT: Final = frozenset({"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"})
_HYBRID_BY_HEADS: Final = frozenset({  # layers without key-value heads are the recurrent ones
    "bailingmoe3", "glm5-next", "granitehybrid", "jamba", "kimi-k3", "kimi-linear", "lfm2", "lfm2moe", "nemotron_h",
    "nemotron_h_moe", "plamo2",
})  # fmt: skip
_HYBRID_BY_INTERVAL: Final = {  # every so many layers one with attention
    "qwen3next": 4, "qwen35": 4, "qwen35moe": 4, "qwen4exp": 4, "minimax-01": 8,
}  # fmt: skip
_STATE_BYTES: Final = 4


def is_recurrent(shape: ModelShape) -> bool:
    """It has no keys at all."""
    return shape.architecture in _RECURRENT


@functools.lru_cache(REMEMBERED)
def recurrent_layers(shape: ModelShape) -> tuple[bool, ...]:
    """For each layer whether it has a recurrent state (falcon-h1 has keys as well in all of them)."""
    name = shape.architecture
    if name in _RECURRENT or name == "falcon-h1":
        return (True,) * shape.layers
    if name in _HYBRID_BY_HEADS:
        heads = shape.by_layer("attention.head_count_kv")
        forward = shape.by_layer("feed_forward_length")
        alone = name.startswith("nemotron_h")  # its feed-forward layers have neither heads nor state
        return tuple(not count and not (alone and forward[layer]) for layer, count in enumerate(heads))
    if name in _HYBRID_BY_INTERVAL:
        if isinstance(shape.numbers.get("attention.recurrent_layers"), tuple):
            return tuple(bool(each) for each in shape.by_layer("attention.recurrent_layers"))
        every = shape.whole("full_attention_interval", _HYBRID_BY_INTERVAL[name]) or 1
        trunk = shape.layers - next_layers(shape)
        return tuple(layer < trunk and (layer + 1) % every != 0 for layer in range(shape.layers))
    return (False,) * shape.layers


def recurrent_bytes(shape: ModelShape, slots: int, rollback: int) -> tuple[int, ...]:
    """Bytes for each layer. `rollback` states are kept beside the newest, for drafts that are taken back."""
    recurrent = recurrent_layers(shape)
    if not any(recurrent):
        return (0,) * shape.layers
    size = _state_elements(shape) * _STATE_BYTES * max(1, slots) * (1 + rollback)
    trunk = shape.layers - next_layers(shape)
    return tuple(size if each and layer < trunk else 0 for layer, each in enumerate(recurrent))


def _state_elements(shape: ModelShape) -> int:
    """Numbers that one recurrent layer keeps for one slot: what its convolution remembers, and the state itself."""
    width = shape.whole("embedding_length")
    if head := shape.whole("wkv.head_size"):  # RWKV
        return shape.whole("token_shift_count", 2) * width + width * head
    if short := shape.whole("shortconv.l_cache"):  # LFM2
        return width * (short - 1)
    conv = shape.whole("ssm.conv_kernel")
    heads = shape.by_layer("attention.head_count")
    count = heads[0] if heads else 0
    if head := shape.whole("kda.head_dim"):  # Kimi's delta attention
        return 3 * (conv - 1 if conv else 3) * count * head + head * head * count
    inner, state = shape.whole("ssm.inner_size"), shape.whole("ssm.state_size")
    remembered = max(0, conv - 1) * (inner + 2 * shape.whole("ssm.group_count") * state)
    if shape.architecture == "minimax-01":  # linear attention
        head = shape.whole("attention.key_length", width // count if count else 0)
        return remembered + head * head * count
    return remembered + state * inner
