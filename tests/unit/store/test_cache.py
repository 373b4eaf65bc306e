"""Keys, values and states by layer, on the numbers of models that everybody knows."""

from __future__ import annotations

import pytest

from corral.domain.errors import BadGguf
from corral.domain.fleet import OptionValue
from corral.store.gguf.cache import ContextPlan, cache_bytes, state_bytes
from corral.store.gguf.header import LongArray, Value
from corral.store.gguf.shape import ModelShape, shape_of
from corral.store.gguf.windows import window_of, windowed
from tests.unit.store.shapes import LLAMA_8B, MAMBA, MAMBA_STATE, MIB, asked, header, shape


def plan(cells: int, *, slots: int = 1, streams: int = 1, **values: str | bool | int) -> ContextPlan:
    return ContextPlan(cells, streams, slots, 512, **values)  # type: ignore[arg-type]


def kv(model: ModelShape, cells: int, *, slots: int = 1, streams: int = 1, **values: str | bool | int) -> int:
    return sum(cache_bytes(model, plan(cells, slots=slots, streams=streams, **values)))


def test_the_kv_cache_of_a_known_model() -> None:
    assert kv(LLAMA_8B, 8192) == 1024 * MIB
    assert kv(LLAMA_8B, 8192, type_k="q8_0", type_v="q8_0") == 1024 * MIB * 34 // 64
    assert kv(LLAMA_8B, 8192, type_v="q4_0") == 512 * MIB + 512 * MIB * 18 // 64


def test_heads_that_differ_by_layer() -> None:
    model = shape(
        "deci",
        block_count=4,
        attention__head_count=(8, 8, 8, 8),
        attention__head_count_kv=(0, 2, 0, 4),
        attention__key_length=64,
        attention__value_length=32,
    )
    assert cache_bytes(model, plan(256)) == (0, 256 * 2 * 96 * 2, 0, 256 * 4 * 96 * 2)


def test_without_key_value_heads_every_head_is_one() -> None:
    model = shape(block_count=1, embedding_length=64, attention__head_count=4)
    assert kv(model, 256) == 256 * 64 * 2 * 2


GEMMA3: dict[str, Value] = {
    "block_count": 12,
    "attention__head_count": 8,
    "attention__head_count_kv": 4,
    "attention__key_length": 256,
    "attention__value_length": 256,
    "attention__sliding_window": 1024,
}


def test_windowed_layers_keep_their_window() -> None:
    model = shape("gemma3", **GEMMA3)
    assert windowed(model) == ((True,) * 5 + (False,)) * 2
    row = 4 * 512 * 2
    assert kv(model, 32768) == row * (2 * 32768 + 10 * 1536)
    assert kv(model, 32768, swa_full=True) == row * 12 * 32768
    # slots that share a cache widen the window, slots with caches of their own multiply it
    assert kv(model, 32768, slots=4) == row * (2 * 32768 + 10 * (4 * 1024 + 512))
    assert kv(model, 8192, slots=4, streams=4) == 4 * row * (2 * 8192 + 10 * 1536)
    assert kv(model, 512) == row * 12 * 512  # never more than the context


def test_the_file_says_which_layers_have_a_window() -> None:
    model = shape("gemma3", **{**GEMMA3, "attention__sliding_window_pattern": (True, False) * 6})
    assert windowed(model) == (True, False) * 6
    assert windowed(shape("gemma3", **{**GEMMA3, "attention__sliding_window_pattern": 3}))[:3] == (True, True, False)
    newer = shape("something-new", **{**GEMMA3, "attention__sliding_window_pattern": (True,) * 12})
    assert window_of(newer) == 1024


@pytest.mark.parametrize("arch", ["phi3", "qwen2", "something-new"])
def test_a_window_that_llama_cpp_does_not_use(arch: str) -> None:
    model = shape(arch, **GEMMA3)
    assert windowed(model) == (False,) * 12
    assert kv(model, 4096) == 4 * 512 * 2 * 12 * 4096


def test_rules_of_single_architectures() -> None:
    assert windowed(shape("gpt-oss", **GEMMA3))[:4] == (True, False, True, False)
    assert windowed(shape("cohere2moe", **GEMMA3))[:4] == (False, True, True, True)
    assert window_of(shape("llama4", block_count=4)) == 8192
    assert window_of(shape("llama4", block_count=4, attention__sliding_window=0)) == 0
    assert (window_of(shape("exaone4", **GEMMA3)), window_of(shape("exaone4", block_count=64))) == (0, 4096)


def test_layers_that_look_into_the_keys_of_others() -> None:
    model = shape("gemma4", **{**GEMMA3, "attention__shared_kv_layers": 4})
    kept = cache_bytes(model, plan(256))
    assert all(kept[:8])
    assert not any(kept[8:])
    assert sum(map(bool, cache_bytes(shape("gemma3n", **{**GEMMA3, "block_count": 30}), plan(256)))) == 20


def test_compressed_attention_keeps_one_row() -> None:
    mla: dict[str, Value] = {
        "block_count": 27,
        "attention__head_count": 16,
        "attention__head_count_kv": 1,
        "attention__key_length": 576,
        "attention__value_length": 512,
    }
    new = shape("deepseek2", **mla, attention__key_length_mla=192, attention__value_length_mla=128)
    assert kv(new, 4096) == 27 * 4096 * 576 * 2
    old = shape("deepseek2", **{**mla, "attention__head_count_kv": 16, "attention__key_length": 192})
    assert kv(old, 4096) == 27 * 4096 * 16 * (192 + 512) * 2


def test_a_recurrent_model_has_a_state_for_each_slot_whatever_the_context() -> None:
    assert kv(MAMBA, 256) == kv(MAMBA, 65536) == MAMBA_STATE
    assert kv(MAMBA, 256, slots=3) == 3 * MAMBA_STATE
    assert kv(MAMBA, 256, rollback=3) == 4 * MAMBA_STATE


def test_a_hybrid_has_both() -> None:
    numbers: dict[str, Value] = {
        "block_count": 4,
        "embedding_length": 64,
        "attention__head_count": 4,
        "attention__key_length": 16,
        "attention__value_length": 16,
        "ssm__conv_kernel": 4,
        "ssm__inner_size": 128,
        "ssm__state_size": 16,
    }
    state, keys = (3 * 128 + 16 * 128) * 4, 256 * 2 * 32 * 2
    jamba = shape("jamba", **numbers, attention__head_count_kv=(0, 0, 2, 0))
    assert cache_bytes(jamba, plan(256)) == (state, state, keys, state)
    qwen = shape("qwen3next", **numbers, attention__head_count_kv=2)
    assert cache_bytes(qwen, plan(256)) == (state, state, state, keys)
    falcon = shape("falcon-h1", **numbers, attention__head_count_kv=2)
    assert cache_bytes(falcon, plan(256)) == (state + keys,) * 4


def test_an_encoder_keeps_nothing() -> None:
    assert kv(shape("bert", block_count=2, embedding_length=64, attention__head_count=4), 4096) == 0
    assert (
        kv(shape("new", block_count=2, embedding_length=64, attention__head_count=4, attention__causal=False), 4096)
        == 0
    )


def test_layers_for_further_tokens_are_used_by_drafts_alone() -> None:
    model = shape(block_count=3, nextn_predict_layers=1, embedding_length=64, attention__head_count=4)
    assert [bool(each) for each in cache_bytes(model, plan(256))] == [True, True, False]
    assert all(cache_bytes(model, plan(256, drafts_itself=True)))


def test_a_checkpoint_copies_what_cannot_be_taken_back() -> None:
    assert state_bytes(LLAMA_8B, plan(8192)) == 0
    assert state_bytes(shape("gemma3", **GEMMA3), plan(8192, slots=2)) == 10 * 1024 * 4 * 512 * 2
    assert state_bytes(MAMBA, plan(8192, slots=4, rollback=1)) == MAMBA_STATE


@pytest.mark.parametrize(
    ("options", "cells", "streams"),
    [
        ({}, 131072, 1),
        ({"ctx_size": 0}, 131072, 1),
        ({"ctx_size": 8192}, 8192, 1),
        ({"ctx_size": 8192, "parallel": 4}, 8192, 1),
        ({"ctx_size": 8192, "parallel": 4, "kv_unified": False}, 2048, 4),
        ({"ctx_size": 1000, "parallel": 3, "kv_unified": False}, 512, 3),
        ({"ctx_size": 1000, "parallel": 3}, 1024, 1),
        ({"kv_unified_per_slot": 2048, "parallel": 4}, 8192, 1),
        ({"kv_unified_per_slot": 2048, "parallel": 4, "ctx_size": 0}, 131072, 1),
        ({"ctx_size": "8192", "parallel": True}, 131072, 1),
    ],
)
def test_the_context_is_the_total_over_slots(options: dict[str, OptionValue], cells: int, streams: int) -> None:
    found = asked(**options).context(LLAMA_8B)
    assert (found.cells, found.streams) == (cells, streams)


@pytest.mark.parametrize(
    "numbers",
    [
        {"block_count": 1 << 62},
        {"block_count": 5000},
        {"block_count": (1, 2)},
        {"block_count": 2, "attention__head_count": 1 << 60},
        {"block_count": 2, "attention__head_count_kv": (1, 1 << 60)},
    ],
)
def test_what_no_model_has_is_refused(numbers: dict[str, Value]) -> None:
    with pytest.raises(BadGguf, match="claims"):
        shape(**numbers)


@pytest.mark.parametrize(
    "numbers",
    [
        {},
        {"block_count": -5},
        {"block_count": 0, "attention__head_count": 4},
        {"block_count": "many"},
        {"block_count": 4, "attention__head_count": 0, "embedding_length": 64},
        {"block_count": 4, "attention__head_count": (1.5, "x"), "embedding_length": 64},
        {"block_count": 4, "attention__head_count": LongArray(9), "embedding_length": 64},
        {"block_count": 4, "attention__head_count": 4, "attention__head_count_kv": (2,), "embedding_length": 64},
        {"block_count": 4, "attention__head_count": -4, "embedding_length": -64, "attention__key_length": -1},
        {"block_count": 4, "attention__sliding_window": 9, "attention__sliding_window_pattern": (1, 0)},
    ],
)
def test_what_makes_no_sense_counts_as_not_said(numbers: dict[str, Value]) -> None:
    for arch in ("llama", "gemma3", "jamba", "qwen3next", "deepseek4", "rwkv7", "minimax-01", ""):
        assert 0 <= kv(shape_of(header(arch, **numbers), ()), 4096) < 1 << 40


def test_without_flash_attention_values_are_as_wide_as_the_widest() -> None:
    """llama.cpp keeps them turned round there, and says "padding V cache"."""
    model = shape(
        "deci", block_count=3, embedding_length=1024, attention__head_count=8, attention__head_count_kv=(8, 0, 2)
    )

    def sizes(**options: OptionValue) -> tuple[int, ...]:
        return cache_bytes(model, asked(ctx_size=256, **options).context(model))

    token = 256 * 128 * 2  # one head of a key or a value in f16
    assert sizes() == sizes(flash_attn="on") == (16 * token, 0, 4 * token)
    assert sizes(flash_attn="off") == (16 * token, 8 * token, 10 * token)
