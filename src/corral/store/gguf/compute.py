"""
Buffers for what is computed, as measured on llama.cpp b11434.

The largest batch decides: activations, the attention mask over the whole context, without flash attention the scores
of every head, and the logits of the tokens that are sampled.
"""

from __future__ import annotations

from typing import Final

from corral.store.gguf.cache import ContextPlan, is_encoder
from corral.store.gguf.indexers import indexer_rows
from corral.store.gguf.shape import ModelShape
from corral.store.gguf.states import is_recurrent
from corral.store.gguf.windows import window_of

_F16, _F32 = 2, 4
_WIDTHS: Final = 8  # activations alive at the same time, in widths of the model
_INDEXING: Final = 6  # tables of batch times context that an indexer works in
_POOLING: Final = 12  # the same where it pools
_NO_FLASH: Final = frozenset({"grok"})  # llama.cpp turns flash attention off for it


def compute_bytes(shape: ModelShape, plan: ContextPlan, *, flash: bool, every_token: bool) -> int:
    """One device that computes whole layers. `every_token`: embeddings want the output of all tokens of a batch."""
    inner = max(_forward(shape), _recurrent(shape))
    width = shape.whole("embedding_length") * _WIDTHS + inner + _expanded(shape)
    outputs = plan.ubatch if every_token else min(plan.ubatch, plan.slots)
    logits = 0 if is_encoder(shape) else outputs * shape.vocabulary * _F32
    flash = flash and shape.architecture not in _NO_FLASH
    return plan.ubatch * width * _F32 + mask_bytes(shape, plan) + logits + _scores(shape, plan, flash=flash)


def mask_bytes(shape: ModelShape, plan: ContextPlan) -> int:
    """Which token sees which: for each token of a batch and each of the context; windows have a mask of their own."""
    if is_recurrent(shape):
        return 0
    if is_encoder(shape):
        return plan.ubatch * plan.ubatch * _F32
    window = window_of(shape)
    cells = plan.cells + (plan.window_cells(window) if window else 0)
    return plan.ubatch * cells * _F16


def output_bytes(shape: ModelShape, plan: ContextPlan) -> int:
    """Where the engine reads results: logits for each slot."""
    return plan.slots * (shape.vocabulary + shape.whole("embedding_length")) * _F32


def _scores(shape: ModelShape, plan: ContextPlan, *, flash: bool) -> int:
    """Tables of batch times context: of every head without flash attention, of an indexer where there is one."""
    tables = 0 if flash or is_encoder(shape) or is_recurrent(shape) else shape.whole("attention.head_count")
    if any(indexer_rows(shape, plan.type_k, plan.type_v)):
        tables += _POOLING if shape.whole("attention.indexer.kpool") else _INDEXING
    return tables * plan.ubatch * plan.cells * _F32


def _forward(shape: ModelShape) -> int:
    """The widest row of a feed-forward layer; of experts those that one token uses."""
    if shape.layers == 1 or is_encoder(shape):  # the last layer computes only tokens whose logits are wanted
        return 0
    dense = shape.whole("feed_forward_length")
    used = shape.whole("expert_used_count")
    if not used:
        return 2 * dense
    expert = shape.whole("expert_feed_forward_length", dense) * used
    return 2 * max(expert, dense if shape.whole("leading_dense_block_count") else 0)


def _recurrent(shape: ModelShape) -> int:
    """What a recurrent layer computes beside its state."""
    return 5 * shape.whole("ssm.inner_size") + 4 * shape.whole("ssm.group_count") * shape.whole("ssm.state_size")


def _expanded(shape: ModelShape) -> int:
    """Queries in the length of compressed keys."""
    compressed = shape.whole("attention.key_length_mla")
    return shape.whole("attention.head_count") * shape.whole("attention.key_length") if compressed else 0
