"""
The memory that grows with context and slots: keys and values, recurrent state, by layer. Facts of llama.cpp b11434.

Per layer and token a key and a value for each key-value head, in their cache types. Windowed layers keep only their
window; compressed attention (MLA) keeps one row and no value; recurrent layers keep a state for each slot in f32
whatever the context; encoders keep nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from corral.store.gguf.ggml import row_bytes
from corral.store.gguf.indexers import compressed_rows, indexer_rows
from corral.store.gguf.shape import ModelShape
from corral.store.gguf.states import recurrent_bytes, recurrent_layers
from corral.store.gguf.windows import REMEMBERED, next_layers, own_keys, window_of, windowed

CELLS: Final = 256  # contexts and windows round up to a multiple of this
_ENCODERS: Final = frozenset({
    "bert", "clef", "dream", "eurobert", "gemma-embedding", "jina-bert-v2", "jina-bert-v3", "llada", "llada-moe",
    "modern-bert", "neo-bert", "nomic-bert", "nomic-bert-moe", "rnd1", "t5encoder", "wavtokenizer-dec",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class ContextPlan:
    """How much context a load is to hold. `cells` are for each of `streams`, which several slots may share."""

    cells: int
    streams: int
    slots: int
    ubatch: int
    type_k: str = "f16"
    type_v: str = "f16"
    swa_full: bool = False
    flash: bool = True  # attention by the fused kernel, which decides over the layout of values too
    drafts_itself: bool = False  # the model's own layers for further tokens have a cache too
    trunk: bool = True  # False: nothing but those layers is used, as of a file that is named as a head
    rollback: int = 0  # recurrent states kept beside the newest, for drafts that are taken back

    @property
    def total_cells(self) -> int:
        """Tokens of all slots together."""
        return self.cells * self.streams

    def window_cells(self, window: int) -> int:
        """Tokens that a windowed layer holds for each stream."""
        if self.swa_full:
            return self.cells
        return padded(min(self.cells, window * (self.slots // self.streams) + self.ubatch))


def padded(cells: int) -> int:
    """Up to the next multiple of CELLS."""
    return -(-cells // CELLS) * CELLS


def is_encoder(shape: ModelShape) -> bool:
    """It reads its input once and keeps nothing of it."""
    return shape.architecture in _ENCODERS or shape.numbers.get("attention.causal") is False


def cache_bytes(shape: ModelShape, plan: ContextPlan) -> tuple[int, ...]:
    """Bytes for each layer."""
    parts = cache_parts(shape, plan)
    return tuple(map(sum, zip(*parts.values(), strict=True))) if parts else (0,) * shape.layers


def cache_parts(shape: ModelShape, plan: ContextPlan) -> dict[str, tuple[int, ...]]:
    """
    The same by kind: keys and values of the whole context (`full`) or of a window (`window`), rows of compressed
    attention (`compressed`), keys of an indexer (`index`), recurrent state (`state`). Kinds that are not there are
    left out.
    """
    if is_encoder(shape):
        return {}
    narrow = windowed(shape)
    keys, latent = _keys(shape, plan), _is_compressed(shape)
    rows = _compressed_keys(shape, plan)
    found = {
        "full": _where(keys, [not latent and not each for each in narrow]),
        "window": _where(keys, narrow),
        "compressed": tuple(
            row + (key if latent and not each else 0) for row, key, each in zip(rows, keys, narrow, strict=True)
        ),
        "index": tuple(row * plan.total_cells for row in indexer_rows(shape, plan.type_k, plan.type_v)),
        "state": recurrent_bytes(shape, plan.slots, plan.rollback) if plan.trunk else (0,) * shape.layers,
    }
    return {kind: sizes for kind, sizes in found.items() if any(sizes)}


def _where(sizes: Sequence[int], wanted: Sequence[bool]) -> tuple[int, ...]:
    return tuple(size if each else 0 for size, each in zip(sizes, wanted, strict=True))


def state_bytes(shape: ModelShape, plan: ContextPlan) -> int:
    """What one context checkpoint of one slot copies: everything that cannot be taken back token by token."""
    if not plan.trunk:
        return 0
    recurrent = sum(recurrent_bytes(shape, plan.slots, plan.rollback)) // max(1, plan.slots * (1 + plan.rollback))
    window = window_of(shape)
    if not window or plan.swa_full:
        return recurrent
    rows = [row for row, narrow in zip(_rows_of(shape, plan), windowed(shape), strict=True) if narrow]
    return recurrent + min(window, plan.cells) * sum(rows)


def _keys(shape: ModelShape, plan: ContextPlan) -> tuple[int, ...]:
    window = window_of(shape)
    narrow_cells = plan.window_cells(window) if window else plan.cells
    return tuple(
        row * plan.streams * (narrow_cells if narrow else plan.cells)
        for row, narrow in zip(_rows_of(shape, plan), windowed(shape), strict=True)
    )


def _compressed_keys(shape: ModelShape, plan: ContextPlan) -> tuple[int, ...]:
    """DeepSeek V4: what stands for everything before its window."""
    return tuple(
        row_bytes(length, plan.type_k) * plan.slots * padded(-(-plan.cells // ratio)) if ratio else 0
        for ratio, length in compressed_rows(shape)
    )


def _rows_of(shape: ModelShape, plan: ContextPlan) -> tuple[int, ...]:
    return _rows(shape, plan.type_k, plan.type_v, plan.drafts_itself, plan.trunk, plan.flash)


@functools.lru_cache(REMEMBERED)
def _rows(
    shape: ModelShape, type_k: str, type_v: str, drafts_itself: bool, trunk: bool, flash: bool
) -> tuple[int, ...]:
    """Bytes for one token in each layer; 0 for layers that keep no keys."""
    heads = shape.by_layer("attention.head_count")
    key_heads = shape.by_layer("attention.head_count_kv") if shape.has("attention.head_count_kv") else heads
    first = heads[0] if heads else 0
    usual = shape.whole("embedding_length") // first if first else 0
    key, value = shape.whole("attention.key_length", usual), shape.whole("attention.value_length", usual)
    narrow_key = shape.whole("attention.key_length_swa", key)
    narrow_value = shape.whole("attention.value_length_swa", value)
    compressed = _is_compressed(shape)
    used = _keyed_layers(shape, drafts_itself, trunk)
    windows = windowed(shape)
    widths = [heads * (narrow_value if narrow else value) for heads, narrow in zip(key_heads, windows, strict=True)]
    if not flash:  # values are kept turned round, all as wide as the widest, also where a layer has none
        widths = [max(widths, default=0)] * shape.layers
    rows = []
    for layer, narrow in enumerate(windows):
        count = key_heads[layer] if used[layer] else 0
        row = row_bytes(count * (narrow_key if narrow else key), type_k)
        if not compressed and used[layer]:
            row += row_bytes(widths[layer], type_v)
        rows.append(row)
    return tuple(rows)


def _is_compressed(shape: ModelShape) -> bool:
    """MLA and its kin: the row of the key holds the value too."""
    lengths = shape.whole("attention.key_length_mla"), shape.whole("attention.value_length_mla")
    return shape.architecture == "deepseek4" or all(lengths)


def _keyed_layers(shape: ModelShape, drafts_itself: bool, trunk: bool) -> list[bool]:
    recurrent = recurrent_layers(shape)
    both = shape.architecture == "falcon-h1"
    end = own_keys(shape)
    first_next = shape.layers - next_layers(shape)
    wanted = [trunk if layer < first_next else drafts_itself for layer in range(shape.layers)]
    used = [wanted[layer] and layer < end and (both or not recurrent[layer]) for layer in range(shape.layers)]
    if shape.architecture.startswith("nemotron_h"):  # feed-forward layers are layers of their own there
        forward = shape.by_layer("feed_forward_length")
        used = [each and not forward[layer] for layer, each in enumerate(used)]
    return used
