"""
Models of many architectures with random weights, large enough to weigh: tens of MB, built once like `tests.models`.

    path = architecture("gemma3")

They say nothing sensible. What counts is that llama.cpp loads them as it loads the real ones: which layers have keys,
which a window, which a state, and how large everything is. Shapes are as numpy has them (rows first).
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import corral.store.gguf.demo.vocabulary as vocabulary
from corral.store.files import part_paths
from tests.models import folder

D, FF, HEADS, KV_HEADS, HEAD, LAYERS = 512, 1536, 8, 2, 64, 8
EXPERTS, EXPERT_FF = 8, 512
TOKENS: Final = 4096
CONTEXT: Final = 32768

Value = int | float | bool | list[int] | list[bool]
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Architecture:
    """How one architecture is written: its metadata, the tensors of each layer, the type of its matrices."""

    name: str
    about: str
    numbers: dict[str, Value]
    layer: Callable[[int], Shapes]
    matrices: str = "F16"
    outside: Shapes = field(default_factory=dict)
    arch: str = ""  # where it is not the name
    experts: str = ""  # the type of routed experts, where it is another
    parts: int = 1


def _attention(kv_heads: int = KV_HEADS, head: int = HEAD, *, norms: bool = False, bias: bool = False) -> Shapes:
    kv, q = kv_heads * head, HEADS * head
    found: Shapes = {
        "attn_norm.weight": (D,),
        "attn_q.weight": (q, D),
        "attn_k.weight": (kv, D),
        "attn_v.weight": (kv, D),
        "attn_output.weight": (D, q),
    }
    if norms:
        found |= {"attn_q_norm.weight": (head,), "attn_k_norm.weight": (head,)}
    if bias:
        found |= {"attn_q.bias": (q,), "attn_k.bias": (kv,), "attn_v.bias": (kv,), "attn_output.bias": (D,)}
    return found


_DENSE: Final[Shapes] = {
    "ffn_norm.weight": (D,), "ffn_gate.weight": (FF, D), "ffn_up.weight": (FF, D), "ffn_down.weight": (D, FF),
}  # fmt: skip
_EXPERTS: Final[Shapes] = {
    "ffn_gate_inp.weight": (EXPERTS, D),
    "ffn_gate_exps.weight": (EXPERTS, EXPERT_FF, D),
    "ffn_up_exps.weight": (EXPERTS, EXPERT_FF, D),
    "ffn_down_exps.weight": (EXPERTS, D, EXPERT_FF),
}
_POSTS: Final[Shapes] = {"post_attention_norm.weight": (D,), "post_ffw_norm.weight": (D,)}


def _usual(**numbers: Value) -> dict[str, Value]:
    given = {key.replace("__", "."): value for key, value in numbers.items()}
    return {
        "context_length": CONTEXT,
        "embedding_length": D,
        "block_count": LAYERS,
        "feed_forward_length": FF,
        "attention.head_count": HEADS,
        "attention.head_count_kv": KV_HEADS,
        "attention.key_length": HEAD,
        "attention.value_length": HEAD,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "rope.dimension_count": HEAD,
        "rope.freq_base": 10000.0,
    } | given


def _moe(**numbers: Value) -> dict[str, Value]:
    more = {"expert_count": EXPERTS, "expert_used_count": 2, "expert_feed_forward_length": EXPERT_FF}
    return _usual(**numbers) | more


def _gpt_oss(_: int) -> Shapes:
    biases: Shapes = {
        "ffn_gate_inp.bias": (EXPERTS,),
        "ffn_gate_exps.bias": (EXPERTS, EXPERT_FF),
        "ffn_up_exps.bias": (EXPERTS, EXPERT_FF),
        "ffn_down_exps.bias": (EXPERTS, D),
        "attn_sinks.weight": (HEADS,),
        "post_attention_norm.weight": (D,),
    }
    return _attention(bias=True) | _EXPERTS | biases


_RANK, _ROPE, _NOPE = 256, 64, 64


def _deepseek2(layer: int) -> Shapes:
    attention: Shapes = {
        "attn_norm.weight": (D,),
        "attn_q_a_norm.weight": (_RANK,),
        "attn_kv_a_norm.weight": (_RANK,),
        "attn_q_a.weight": (_RANK, D),
        "attn_q_b.weight": (HEADS * (_NOPE + _ROPE), _RANK),
        "attn_kv_a_mqa.weight": (_RANK + _ROPE, D),
        "attn_k_b.weight": (HEADS, _RANK, _NOPE),
        "attn_v_b.weight": (HEADS, HEAD, _RANK),
        "attn_output.weight": (D, HEADS * HEAD),
    }
    shared: Shapes = {
        "ffn_norm.weight": (D,),
        "ffn_gate_shexp.weight": (EXPERT_FF, D),
        "ffn_up_shexp.weight": (EXPERT_FF, D),
        "ffn_down_shexp.weight": (D, EXPERT_FF),
    }
    return attention | (_EXPERTS | shared if layer else _DENSE)


_STATE, _GROUPS, _INNER, _DT = 128, 2, 2 * D, 16


def _mamba2(_: int = 0) -> Shapes:
    conv = _INNER + 2 * _GROUPS * _STATE
    return {
        "attn_norm.weight": (D,),
        "ssm_in.weight": (2 * _INNER + 2 * _GROUPS * _STATE + _DT, D),
        "ssm_conv1d.weight": (conv, 4),
        "ssm_conv1d.bias": (conv,),
        "ssm_dt.bias": (_DT,),
        "ssm_a": (_DT, 1),
        "ssm_d": (_DT, 1),
        "ssm_norm.weight": (_GROUPS, _INNER // _GROUPS),
        "ssm_out.weight": (D, _INNER),
    }


_SSM: Final[dict[str, Value]] = {
    "ssm.conv_kernel": 4, "ssm.inner_size": _INNER, "ssm.state_size": _STATE, "ssm.time_step_rank": _DT,
    "ssm.group_count": _GROUPS,
}  # fmt: skip
_HYBRID_HEADS: Final = [KV_HEADS if layer % 4 == 3 else 0 for layer in range(LAYERS)]

_V_HEADS, _K_HEADS = 8, 4  # of the delta network, each _STATE long


def _qwen35(layer: int) -> Shapes:
    inner, keys = _V_HEADS * _STATE, _K_HEADS * _STATE
    feed = {name: shape for name, shape in _DENSE.items() if name != "ffn_norm.weight"}
    if layer % 4 == 3:
        attention = _attention(norms=True) | {"attn_q.weight": (2 * HEADS * HEAD, D)}  # queries and their gates
        return attention | {"post_attention_norm.weight": (D,)} | feed
    return {
        "attn_norm.weight": (D,),
        "post_attention_norm.weight": (D,),
        "attn_qkv.weight": (2 * keys + inner, D),
        "attn_gate.weight": (inner, D),
        "ssm_conv1d.weight": (2 * keys + inner, 4),
        "ssm_dt.bias": (_V_HEADS,),
        "ssm_a": (_V_HEADS,),
        "ssm_alpha.weight": (_V_HEADS, D),
        "ssm_beta.weight": (_V_HEADS, D),
        "ssm_norm.weight": (_STATE,),
        "ssm_out.weight": (D, inner),
    } | feed


def _phi3(_: int) -> Shapes:
    attention: Shapes = {
        "attn_norm.weight": (D,), "attn_qkv.weight": ((HEADS + 2 * KV_HEADS) * HEAD, D), "attn_output.weight": (D, D),
    }  # fmt: skip
    return attention | {"ffn_norm.weight": (D,), "ffn_up.weight": (2 * FF, D), "ffn_down.weight": (D, FF)}


def _bert(_: int) -> Shapes:
    found: Shapes = {}
    for name, shape in {
        "attn_q": (D, D), "attn_k": (D, D), "attn_v": (D, D), "attn_output": (D, D), "ffn_up": (FF, D),
        "ffn_down": (D, FF),
    }.items():  # fmt: skip
        found |= {f"{name}.weight": shape, f"{name}.bias": (shape[0],)}
    for name in ("attn_output_norm", "layer_output_norm"):
        found |= {f"{name}.weight": (D,), f"{name}.bias": (D,)}
    return found


_DECI_HEADS: Final = [4, 2, 1, 0, 2, 0, 8, 2]  # the first must have some: it says how long they are


def _deci(layer: int) -> Shapes:
    return (_attention(_DECI_HEADS[layer]) if _DECI_HEADS[layer] else {}) | _DENSE


_OUTPUT: Final[Shapes] = {"token_embd.weight": (TOKENS, D), "output_norm.weight": (D,), "output.weight": (TOKENS, D)}
_TIED: Final[Shapes] = {"token_embd.weight": (TOKENS, D), "output_norm.weight": (D,)}

ALL: Final = {
    each.name: each
    for each in (
        Architecture("llama", "grouped queries", _usual(), lambda _: _attention() | _DENSE, "Q8_0"),
        Architecture("qwen3", "grouped queries, tied output", _usual(), lambda _: _attention(norms=True) | _DENSE,
                     outside=_TIED),
        Architecture("qwen3moe", "experts", _moe(), lambda _: _attention(norms=True) | _EXPERTS | {
            "ffn_norm.weight": (D,)}),
        Architecture("gemma3", "windows in 5 of 6 layers", _usual(attention__sliding_window=1024, block_count=12),
                     lambda _: _attention(norms=True) | _POSTS | _DENSE, outside=_TIED),
        Architecture("gpt-oss", "windows in every other layer, experts", _moe(attention__sliding_window=128), _gpt_oss),
        Architecture("deepseek2", "compressed keys, experts", _moe(
            attention__head_count_kv=1, attention__key_length=_RANK + _ROPE, attention__value_length=_RANK,
            attention__key_length_mla=_NOPE + _ROPE, attention__value_length_mla=HEAD, attention__q_lora_rank=_RANK,
            attention__kv_lora_rank=_RANK, rope__dimension_count=_ROPE, leading_dense_block_count=1,
            expert_shared_count=1, expert_gating_func=2), _deepseek2),
        Architecture("deci", "other heads in every layer", _usual(
            attention__head_count=[HEADS if heads else 0 for heads in _DECI_HEADS],
            attention__head_count_kv=_DECI_HEADS, feed_forward_length=[FF] * LAYERS), _deci),
        Architecture("mamba2", "state in every layer", _usual(
            attention__head_count=0, attention__head_count_kv=0, feed_forward_length=0) | _SSM, _mamba2),
        Architecture("granitehybrid", "state, and keys in every 4th layer", _usual(
            attention__head_count_kv=_HYBRID_HEADS) | _SSM,
            lambda layer: (_attention() if _HYBRID_HEADS[layer] else _mamba2()) | _DENSE),
        Architecture("qwen35", "delta network, and keys in every 4th layer", _usual() | {
            "ssm.conv_kernel": 4, "ssm.inner_size": _V_HEADS * _STATE, "ssm.state_size": _STATE,
            "ssm.time_step_rank": _V_HEADS, "ssm.group_count": _K_HEADS,
            "rope.dimension_sections": [11, 11, 10, 0], "full_attention_interval": 4}, _qwen35),
        Architecture("phi3", "a window that is not used", _usual(attention__sliding_window=512), _phi3),
        Architecture("bert", "no cache", {
            "context_length": 2048, "embedding_length": D, "block_count": LAYERS, "feed_forward_length": FF,
            "attention.head_count": HEADS, "attention.layer_norm_epsilon": 1e-12, "attention.causal": False,
            "pooling_type": 1}, _bert, outside={
                "token_embd.weight": (TOKENS, D), "position_embd.weight": (2048, D), "token_types.weight": (2, D),
                "token_embd_norm.weight": (D,), "token_embd_norm.bias": (D,)}),
        Architecture("repacked", "weights rearranged for the CPU", _usual(), lambda _: _attention() | _DENSE, "Q4_0",
                     arch="llama"),
    )
}  # fmt: skip


def _qwen35_drafts(layer: int) -> Shapes:
    """After the usual layers one that drafts: keys of its own, and what joins a token to the state before it."""
    if layer < LAYERS:
        return _qwen35(layer)
    return _qwen35(3) | {
        "nextn.eh_proj.weight": (D, 2 * D),
        "nextn.enorm.weight": (D,),
        "nextn.hnorm.weight": (D,),
        "nextn.shared_head_norm.weight": (D,),
    }


DRAFTS: Final = dataclasses.replace(
    ALL["qwen35"], name="qwen35-drafts", arch="qwen35", about="a layer for further tokens", layer=_qwen35_drafts,
    numbers={**ALL["qwen35"].numbers, "block_count": LAYERS + 1, "nextn_predict_layers": 1},
)  # fmt: skip


MXFP4: Final = dataclasses.replace(
    ALL["gpt-oss"], name="gpt-oss-mxfp4", arch="gpt-oss", about="experts in MXFP4, as OpenAI's are", matrices="Q8_0",
    experts="MXFP4",
)  # fmt: skip
SPLIT: Final = dataclasses.replace(ALL["qwen3moe"], name="qwen3moe-split", arch="qwen3moe", about="in parts", parts=3)
OTHERS: Final = {each.name: each for each in (DRAFTS, MXFP4, SPLIT)}
_FILE_TYPES: Final = {"F16": 1, "Q4_0": 2, "Q8_0": 7, "MXFP4": 38}  # llama.h, llama_ftype


def architecture(name: str) -> Path:
    """The file of this architecture (part 1 of a split one), built when it is not there yet."""
    return built(OTHERS.get(name) or ALL[name])


def built(wanted: Architecture) -> Path:
    """The same of one that is no part of the tables; its name has to tell it from all others."""
    source = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    target = part_paths(folder() / f"{wanted.name}-{source}{_part_ending(wanted)}.gguf")
    if not target[-1].exists():  # which appears last
        part = target[0].with_name(f".{wanted.name}.{os.getpid()}{_part_ending(wanted)}.gguf")
        _write(part, wanted)
        for made, goal in zip(part_paths(part), target, strict=True):
            made.replace(goal)
    return target[0]


def with_heads(length: int, kv_heads: int = KV_HEADS) -> Path:
    """A small one whose heads have this length."""
    numbers = _usual(
        attention__key_length=length, attention__value_length=length, attention__head_count_kv=kv_heads,
        rope__dimension_count=length, block_count=2,
    )  # fmt: skip
    name = f"heads-{kv_heads}-of-{length}"
    return built(Architecture(name, "", numbers, lambda _: _attention(kv_heads, length) | _DENSE, arch="llama"))


def _part_ending(wanted: Architecture) -> str:
    return f"-00001-of-{wanted.parts:05d}" if wanted.parts > 1 else ""


def _write(path: Path, wanted: Architecture) -> None:
    import gguf
    import numpy as np

    logging.getLogger("gguf").setLevel(logging.ERROR)
    random = np.random.default_rng(1)
    arch = wanted.arch or wanted.name
    shapes = dict(wanted.outside or _OUTPUT)
    for layer in range(int(wanted.numbers["block_count"])):  # type: ignore[arg-type]
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in wanted.layer(layer).items()}
    each_part = -(-len(shapes) // wanted.parts) if wanted.parts > 1 else 0
    writer = gguf.GGUFWriter(None, arch, split_max_tensors=each_part)
    writer.add_file_type(_FILE_TYPES[wanted.experts or wanted.matrices])
    for key, value in wanted.numbers.items():
        _add(writer, f"{arch}.{key}", value)
    _add_vocabulary(writer, arch)
    for name, shape in shapes.items():
        values = random.standard_normal(shape, dtype=np.float32) * np.float32(0.02)
        kind = gguf.GGMLQuantizationType[_type_of(wanted, name, shape)]
        writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file(path.with_name(path.name.replace(_part_ending(wanted), "")))  # it numbers parts itself
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _type_of(wanted: Architecture, name: str, shape: tuple[int, ...]) -> str:
    if _is_small(name, shape):
        return "F32"
    return wanted.experts if wanted.experts and name.endswith("_exps.weight") else wanted.matrices


def _is_small(name: str, shape: tuple[int, ...]) -> bool:
    """Tensors that are never quantised: vectors, norms, what a state is made of."""
    if "ssm_in" in name or "ssm_out" in name:
        return False
    return len(shape) == 1 or any(part in name for part in ("norm", ".bias", "ssm_", "_inp", "token_types"))


def _add(writer: Any, key: str, value: Value) -> None:
    match value:
        case bool():
            writer.add_bool(key, value)
        case int():
            writer.add_uint32(key, value)
        case float():
            writer.add_float32(key, value)
        case list():
            writer.add_array(key, value)


def _add_vocabulary(writer: Any, arch: str) -> None:
    words = vocabulary.vocabulary("I am made of random numbers.")
    filler = [f"<filler{number}>" for number in range(TOKENS - len(words))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([*words.tokens, *filler])
    writer.add_token_types([*words.types, *(vocabulary.NORMAL_TYPE for _ in filler)])
    writer.add_token_merges(["Ġ Ġ"])
    writer.add_uint32("tokenizer.ggml.bos_token_id", words.id(vocabulary.BEGIN))
    writer.add_uint32("tokenizer.ggml.eos_token_id", words.id(vocabulary.END))
    writer.add_bool("tokenizer.ggml.add_bos_token", False)
    if arch == "bert":
        writer.add_uint32("tokenizer.ggml.token_type_count", 2)
        writer.add_uint32("tokenizer.ggml.seperator_token_id", words.id(vocabulary.BEGIN))
