"""Whatever a header claims and whatever is asked: a number of this world or BadGguf, and at once."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.domain.errors import BadGguf
from corral.domain.fleet import OptionValue
from corral.store.gguf.asked import Asked
from corral.store.gguf.estimate import estimate
from corral.store.gguf.header import Header, LongArray, TensorInfo, Value
from corral.store.gguf.shape import shape_of
from tests.unit.store.shapes import gpu, ram

ARCHITECTURES = (
    "llama", "gemma3", "gemma3n", "gemma4", "gpt-oss", "deepseek2", "deepseek32", "deepseek4", "glm5-next", "qwen4exp",
    "jamba", "falcon-h1", "nemotron_h", "qwen3next", "minimax-01", "minimax-m3", "mamba", "rwkv7", "lfm2",
    "kimi-linear", "llama4", "exaone4", "phi3", "bert", "something-new", "",
)  # fmt: skip
KEYS = (
    "block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count",
    "attention.head_count_kv", "attention.key_length", "attention.value_length", "attention.key_length_mla",
    "attention.value_length_mla", "attention.key_length_swa", "attention.sliding_window",
    "attention.sliding_window_pattern", "attention.shared_kv_layers", "attention.recurrent_layers", "attention.causal",
    "attention.indexer.key_length", "attention.indexer.types", "attention.indexer.kpool", "attention.indexer.top_k",
    "attention.compress_ratios", "full_attention_interval", "nextn_predict_layers", "ssm.conv_kernel",
    "ssm.inner_size", "ssm.state_size", "ssm.group_count", "wkv.head_size", "kda.head_dim", "shortconv.l_cache",
    "token_shift_count", "expert_count", "expert_used_count", "expert_feed_forward_length",
    "leading_dense_block_count",
)  # fmt: skip
OPTIONS = (
    "ctx_size", "parallel", "kv_unified", "kv_unified_per_slot", "ubatch_size", "batch_size", "cache_type_k",
    "cache_type_v", "swa_full", "flash_attn", "kv_offload", "n_gpu_layers", "split_mode", "tensor_split", "main_gpu",
    "device", "cpu_moe", "n_cpu_moe", "n_cpu_ffn", "override_tensor", "fit", "fit_target", "spec_type", "draft_max",
    "cache_ram", "ctx_checkpoints", "embeddings",
)  # fmt: skip

WORDS = ("auto", "all", "none", "row", "tensor", "off", "q8_0", "draft-mtp", "CUDA0", "x=CPU", "(=", "nan", "1e999")
NAMES = ("token_embd.weight", "output.weight", "blk.0.attn_q.weight", "blk.99999.ffn_up_exps.weight")

sizes = st.one_of(st.integers(0, 64), st.integers(-(1 << 63), (1 << 64) - 1), st.sampled_from((1 << 31, (1 << 32) - 1)))
values: st.SearchStrategy[Value] = st.one_of(
    sizes,
    st.booleans(),
    st.floats(),
    st.text(max_size=5),
    st.lists(sizes, max_size=6).map(tuple),
    st.lists(st.one_of(st.booleans(), st.text(max_size=3), st.floats()), max_size=6).map(tuple),
    st.integers(0, 1 << 63).map(LongArray),
)
asked_values: st.SearchStrategy[OptionValue] = st.one_of(
    sizes,
    st.booleans(),
    st.floats(),
    st.sampled_from(
        ("auto", "all", "none", "row", "tensor", "off", "q8_0", "draft-mtp", "CUDA0", "x=CPU", "(=", "nan", "1e999")
    ),
    st.lists(st.text(max_size=8), max_size=4).map(tuple),
)
tensors = st.lists(
    st.builds(
        lambda name, size: TensorInfo(name, (size,), "I8", 0, size),
        st.one_of(st.sampled_from(NAMES), st.text(max_size=12)),
        st.integers(0, 1 << 63),
    ),
    max_size=5,
)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(ARCHITECTURES),
    st.dictionaries(st.sampled_from(KEYS), values, max_size=12),
    tensors,
    st.dictionaries(st.sampled_from(OPTIONS), asked_values, max_size=8),
    st.lists(st.integers(0, 1 << 45), max_size=3),
)
def test_a_number_or_bad_gguf(
    arch: str,
    numbers: dict[str, Value],
    weights: list[TensorInfo],
    options: dict[str, OptionValue],
    gpus: list[int],
) -> None:
    metadata: dict[str, Value] = {"general.architecture": arch}
    metadata |= {f"{arch}.{key}": value for key, value in numbers.items()}
    devices = [ram(1 << 36), *(gpu(f"CUDA{index}", free) for index, free in enumerate(gpus))]
    began = time.thread_time()
    try:
        shape = shape_of(Header(3, False, metadata, (), 0, 0, 32), weights)
        found = estimate(shape, Asked(options, 1), devices).footprint()
    except BadGguf:
        found = None
    assert time.thread_time() - began < 0.5
    if found is not None:
        total = found.by_device()
        assert all(0 <= size <= 1 << 60 for size in total.values()), total
        assert set(total) <= {"ram", *(device.name for device in devices)}


def test_a_shape_has_the_numbers_that_somebody_asks_for() -> None:
    metadata: dict[str, Value] = {"general.architecture": "a", "a.block_count": 2, f"a.{'k' * 60_000}": 1}
    assert shape_of(Header(3, False, metadata, (), 0, 0, 32), []).numbers == {"block_count": 2}
    metadata |= {f"a.k{number}": number for number in range(1_000)}
    with pytest.raises(BadGguf, match="has 1001 numbers of its own"):
        shape_of(Header(3, False, metadata, (), 0, 0, 32), [])
