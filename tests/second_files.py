"""
Tiny second files for tests: LoRA adapters, control vectors, a multimodal projector, heads that draft.

Built once beside the models of `tests.models`, whose widths they share: all are for ADA-like models of 64 values.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.models import folder

WIDTH = 64
Tensor = NDArray[np.float32]


def lora(arch: str = "llama", name: str = "lora") -> Path:
    """An adapter of rank 2 for the feed-forward of the first layer."""

    def write(writer: Any) -> None:
        writer.add_type("adapter")
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", 2.0)
        writer.add_tensor("blk.0.ffn_down.weight.lora_a", _random(2, WIDTH))
        writer.add_tensor("blk.0.ffn_down.weight.lora_b", _random(WIDTH, 2))

    return _file(f"{name}-{arch}.gguf", arch, write)


def control_vector(layers: int = 3, width: int = WIDTH) -> Path:
    """A direction for every layer after the first."""

    def write(writer: Any) -> None:
        writer.add_string("controlvector.model_hint", "llama")
        writer.add_uint32("controlvector.layer_count", layers - 1)
        for layer in range(1, layers):
            writer.add_tensor(f"direction.{layer}", _random(width))

    return _file(f"control-{layers}-{width}.gguf", "controlvector", write)


def projector() -> Path:
    """A vision projector (gemma3's kind) for a text model of 64 values: pictures of 56 by 56 become 4 tokens."""
    size, patch, width = 56, 14, 32

    def write(writer: Any) -> None:
        writer.add_type("mmproj")
        writer.add_bool("clip.has_vision_encoder", True)
        writer.add_string("clip.projector_type", "gemma3")
        writer.add_bool("clip.use_gelu", True)
        for key, value in {
            "image_size": size, "patch_size": patch, "embedding_length": width, "feed_forward_length": 64,
            "projection_dim": WIDTH, "block_count": 1, "attention.head_count": 2,
        }.items():  # fmt: skip
            writer.add_uint32(f"clip.vision.{key}", value)
        writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-6)
        writer.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
        writer.add_array("clip.vision.image_std", [0.5, 0.5, 0.5])
        count = (size // patch) ** 2
        tensors: dict[str, tuple[int, ...]] = {
            "v.patch_embd.weight": (width, 3, patch, patch), "v.patch_embd.bias": (width,),
            "v.position_embd.weight": (count, width), "v.post_ln.weight": (width,), "v.post_ln.bias": (width,),
            "mm.input_projection.weight": (width, WIDTH), "mm.soft_emb_norm.weight": (width,),
        }  # fmt: skip
        for part in ("q", "k", "v", "out"):
            tensors |= {f"v.blk.0.attn_{part}.weight": (width, width), f"v.blk.0.attn_{part}.bias": (width,)}
        for part in ("ln1", "ln2"):
            tensors |= {f"v.blk.0.{part}.weight": (width,), f"v.blk.0.{part}.bias": (width,)}
        tensors |= {"v.blk.0.ffn_up.weight": (64, width), "v.blk.0.ffn_up.bias": (64,)}
        tensors |= {"v.blk.0.ffn_down.weight": (width, 64), "v.blk.0.ffn_down.bias": (width,)}
        for name, shape in tensors.items():
            writer.add_tensor(name, _random(*shape))

    return _file("projector.gguf", "clip", write)


def _random(*shape: int) -> Tensor:
    random = np.random.default_rng(sum(shape))
    return (random.standard_normal(shape) * 0.05).astype(np.float32)


def _file(name: str, arch: str, write: Callable[[Any], None]) -> Path:
    import gguf

    target = folder() / name
    if not target.exists():
        part = target.with_suffix(f".{os.getpid()}.part")
        writer = gguf.GGUFWriter(part, arch)
        write(writer)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        part.replace(target)
    return target
