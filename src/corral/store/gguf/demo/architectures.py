"""
Which tensors and which metadata llama.cpp wants to see for each architecture. Pure tables: names and shapes.

Shapes are as numpy has them (rows first); GGUF writes them the other way round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Dimensions:
    """The sizes of a demo model."""

    tokens: int
    d: int  # embedding length
    ff: int  # feed-forward length
    heads: int = 4
    kv_heads: int = 1
    layers: int = 1
    experts: int = 0
    context: int = 32768

    @property
    def head(self) -> int:
        """Length of one head."""
        return self.d // self.heads

    @property
    def kv(self) -> int:
        """Length of all key (or value) heads of one layer together."""
        return self.head * self.kv_heads


Shape = tuple[int, ...]
Shapes = dict[str, Shape]

ONES: Final = ("norm.weight",)  # tensors that end so are ones, not zeros: a norm of zeros would silence the model
FIRST: Final = ("ffn_gate_inp_shexp.weight",)  # only the first element is one: the shared gate divides by its value


def _attention(dim: Dimensions) -> Shapes:
    return {
        "attn_norm.weight": (dim.d,),
        "attn_q.weight": (dim.d, dim.d),
        "attn_k.weight": (dim.kv, dim.d),
        "attn_v.weight": (dim.kv, dim.d),
        "attn_output.weight": (dim.d, dim.d),
    }


def _feed_forward(dim: Dimensions) -> Shapes:
    return {
        "ffn_norm.weight": (dim.d,),
        "ffn_gate.weight": (dim.ff, dim.d),
        "ffn_up.weight": (dim.ff, dim.d),
        "ffn_down.weight": (dim.d, dim.ff),
    }


def _experts(dim: Dimensions) -> Shapes:
    return {
        "ffn_norm.weight": (dim.d,),
        "ffn_gate_inp.weight": (dim.experts, dim.d),
        "ffn_gate_exps.weight": (dim.experts, dim.ff, dim.d),
        "ffn_up_exps.weight": (dim.experts, dim.ff, dim.d),
        "ffn_down_exps.weight": (dim.experts, dim.d, dim.ff),
    }


def _llama(dim: Dimensions) -> Shapes:
    return _attention(dim) | (_experts(dim) if dim.experts else _feed_forward(dim))


def _qwen2(dim: Dimensions) -> Shapes:
    biases = {"attn_q.bias": (dim.d,), "attn_k.bias": (dim.kv,), "attn_v.bias": (dim.kv,)}
    return _attention(dim) | biases | _feed_forward(dim)


def _qwen2moe(dim: Dimensions) -> Shapes:
    shared = {
        "ffn_gate_inp_shexp.weight": (dim.d,),
        "ffn_gate_shexp.weight": (dim.ff, dim.d),
        "ffn_up_shexp.weight": (dim.ff, dim.d),
        "ffn_down_shexp.weight": (dim.d, dim.ff),
    }
    biases = {"attn_q.bias": (dim.d,), "attn_k.bias": (dim.kv,), "attn_v.bias": (dim.kv,)}
    return _attention(dim) | biases | _experts(dim) | shared


def _qwen3(dim: Dimensions) -> Shapes:
    norms = {"attn_q_norm.weight": (dim.head,), "attn_k_norm.weight": (dim.head,)}
    return _attention(dim) | norms | _feed_forward(dim)


def _gemma3(dim: Dimensions) -> Shapes:
    posts = {"post_attention_norm.weight": (dim.d,), "post_ffw_norm.weight": (dim.d,)}
    return _qwen3(dim) | posts


def _bert(dim: Dimensions) -> Shapes:
    layer: Shapes = {}
    for name, shape in {
        "attn_q": (dim.d, dim.d),
        "attn_k": (dim.d, dim.d),
        "attn_v": (dim.d, dim.d),
        "attn_output": (dim.d, dim.d),
        "ffn_up": (dim.ff, dim.d),
        "ffn_down": (dim.d, dim.ff),
    }.items():
        layer |= {f"{name}.weight": shape, f"{name}.bias": (shape[0],)}
    for name in ("attn_output_norm", "layer_output_norm"):
        layer |= {f"{name}.weight": (dim.d,), f"{name}.bias": (dim.d,)}
    return layer


LAYERS: Final[Mapping[str, Callable[[Dimensions], Shapes]]] = {
    "llama": _llama,
    "qwen2": _qwen2,
    "qwen2moe": _qwen2moe,
    "qwen3": _qwen3,
    "gemma3": _gemma3,
    "bert": _bert,
}


def shapes(arch: str, dim: Dimensions, *, rank: bool = False) -> Shapes:
    """Every tensor of a model by name, embedding and output included. `rank` adds the head of a reranker."""
    found: Shapes = {"token_embd.weight": (dim.tokens, dim.d)}
    if arch == "bert":
        found |= {
            "position_embd.weight": (dim.context, dim.d),
            "token_types.weight": (2, dim.d),
            "token_embd_norm.weight": (dim.d,),
            "token_embd_norm.bias": (dim.d,),
        }
    for layer in range(dim.layers):
        found |= {f"blk.{layer}.{name}": shape for name, shape in LAYERS[arch](dim).items()}
    if arch != "bert":
        found |= {"output_norm.weight": (dim.d,), "output.weight": (dim.tokens, dim.d)}
    if rank:
        found |= {"cls.weight": (dim.d, dim.d), "cls.bias": (dim.d,)}
        found |= {"cls.output.weight": (1, dim.d), "cls.output.bias": (1,)}
    return found


def hyperparameters(arch: str, dim: Dimensions) -> dict[str, int | float | bool]:
    """The `{arch}.*` metadata. Python's type says the GGUF type: int is u32, float is f32."""
    found: dict[str, int | float | bool] = {
        "context_length": dim.context,
        "embedding_length": dim.d,
        "block_count": dim.layers,
        "feed_forward_length": dim.ff,
        "attention.head_count": dim.heads,
    }
    if arch == "bert":
        return found | {"attention.layer_norm_epsilon": 1e-12, "attention.causal": False}
    found |= {
        "attention.head_count_kv": dim.kv_heads,
        "attention.key_length": dim.head,
        "attention.value_length": dim.head,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "rope.freq_base": 10000.0,
    }
    if arch in ("llama", "qwen2"):
        found["rope.dimension_count"] = dim.head
    if arch == "gemma3":
        found["attention.sliding_window"] = 1024
    if dim.experts:
        found |= {"expert_count": dim.experts, "expert_used_count": min(2, dim.experts)}
    if arch == "qwen2moe":
        found |= {"expert_feed_forward_length": dim.ff, "expert_shared_feed_forward_length": dim.ff}
    return found
