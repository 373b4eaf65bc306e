"""
What sparse attention keeps beside keys and values: the keys of its indexer, or compressed ones. Facts of b11434.

DeepSeek's sparse attention and its kin choose tokens with a small indexer, whose keys are cached for every token in
the layers that have one. DeepSeek V4 keeps a window and compressed keys of everything before.
"""

from __future__ import annotations

import functools

from corral.store.gguf.ggml import row_bytes
from corral.store.gguf.shape import ModelShape
from corral.store.gguf.states import recurrent_layers
from corral.store.gguf.windows import REMEMBERED

_TYPES = "attention.indexer.types"
_ALL_LAYERS = ("deepseek32",)
_LISTED = ("glm-dsa", "hy_v4", "dots3note", "glm5-next")  # the file says in which layers
_POOLED_ROWS = {"glm5-next": 3, "qwen4exp": 2}  # key, gate and pooled key; key and pooled key


@functools.lru_cache(REMEMBERED)
def indexer_rows(shape: ModelShape, type_k: str, type_v: str) -> tuple[int, ...]:
    """Bytes for one token in each layer."""
    length = shape.whole("attention.indexer.key_length")
    layers = _indexed(shape) if length else [False] * shape.layers
    if shape.whole("attention.indexer.kpool"):
        length *= _POOLED_ROWS.get(shape.architecture, 1)
    row = row_bytes(length, type_k)
    if shape.architecture == "minimax-m3":  # it caches a value as well, and does not use it
        row += row_bytes(shape.whole("attention.value_length"), type_v)
    return tuple(row if each else 0 for each in layers)


def _indexed(shape: ModelShape) -> list[bool]:
    name = shape.architecture
    if name in _ALL_LAYERS:
        return [True] * shape.layers
    if name == "minimax-m3":
        return [layer >= shape.whole("leading_dense_block_count") for layer in range(shape.layers)]
    dense = [not recurrent for recurrent in recurrent_layers(shape)]
    if name == "qwen4exp":
        return dense
    if name in _LISTED and not (name == "hy_v4" and not shape.whole("attention.indexer.top_k")):
        full = shape.by_layer(_TYPES, 1)
        return [bool(each) and there for each, there in zip(full, dense, strict=True)]
    return [False] * shape.layers


@functools.lru_cache(REMEMBERED)
def compressed_rows(shape: ModelShape) -> tuple[tuple[int, int], ...]:
    """DeepSeek V4: for each layer how many tokens become one (0: none do) and how long the rows of that one are."""
    if shape.architecture != "deepseek4":
        return ((0, 0),) * shape.layers
    key, indexer = shape.whole("attention.key_length"), shape.whole("attention.indexer.key_length")
    ratios = shape.by_layer("attention.compress_ratios")
    return tuple((ratio, key + (indexer if ratio == _INDEXED_RATIO else 0)) for ratio in ratios)


_INDEXED_RATIO = 4
