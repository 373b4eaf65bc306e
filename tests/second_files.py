"""
Tiny second files for tests: LoRA adapters, control vectors, a multimodal projector, heads that draft.

Built once beside the models of `tests.models`, whose widths they share: all are for ADA-like models of 64 values.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.models import folder

WIDTH = 64
INNER, FEED = 32, 64  # of a projector's encoders
MELS = 80
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


def projector(*, sound: bool = False) -> Path:
    """
    For a text model of 64 values: pictures of 56 by 56 become 16 tokens (Janus' kind), and with `sound` every 30
    seconds of sound become 30 (ultravox's).
    """

    def write(writer: Any) -> None:
        writer.add_type("mmproj")
        _sight(writer)
        if sound:
            _hearing(writer)

    return _file("ears.gguf" if sound else "projector.gguf", "clip", write)


def _sight(writer: Any) -> None:
    size, patch = 56, 14
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.vision.projector_type", "janus_pro")
    writer.add_bool("clip.use_gelu", True)
    writer.add_uint32("clip.vision.image_size", size)
    writer.add_uint32("clip.vision.patch_size", patch)
    writer.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
    writer.add_array("clip.vision.image_std", [0.5, 0.5, 0.5])
    tensors: dict[str, tuple[int, ...]] = {
        "v.patch_embd.weight": (INNER, 3, patch, patch), "v.patch_embd.bias": (INNER,),
        "v.position_embd.weight": ((size // patch) ** 2, INNER),
        "mm.0.weight": (WIDTH, INNER), "mm.0.bias": (WIDTH,), "mm.1.weight": (WIDTH, WIDTH), "mm.1.bias": (WIDTH,),
    }  # fmt: skip
    _encoder(writer, "vision", tensors | _layer("v"))


def _hearing(writer: Any) -> None:
    frames, stack = 3000, 50
    writer.add_bool("clip.has_audio_encoder", True)
    writer.add_string("clip.audio.projector_type", "ultravox")
    writer.add_uint32("clip.audio.num_mel_bins", MELS)
    writer.add_uint32("clip.audio.projector.stack_factor", stack)
    tensors: dict[str, tuple[int, ...]] = {
        "a.conv1d.1.weight": (INNER, MELS, 3), "a.conv1d.1.bias": (INNER, 1),
        "a.conv1d.2.weight": (INNER, INNER, 3), "a.conv1d.2.bias": (INNER, 1),
        "a.position_embd.weight": (frames // 2, INNER),
        "mm.a.norm_pre.weight": (INNER * stack,), "mm.a.mlp.1.weight": (WIDTH, INNER * stack),
        "mm.a.norm_mid.weight": (WIDTH // 2,), "mm.a.mlp.2.weight": (WIDTH, WIDTH // 2),
    }  # fmt: skip
    layer = _layer("a")
    del layer["a.blk.0.attn_k.bias"]  # llama.cpp insists: these encoders have none
    _encoder(writer, "audio", tensors | layer)


def _encoder(writer: Any, kind: str, tensors: dict[str, tuple[int, ...]]) -> None:
    for key, value in {
        "embedding_length": INNER, "feed_forward_length": FEED, "projection_dim": WIDTH, "block_count": 1,
        "attention.head_count": 2,
    }.items():  # fmt: skip
        writer.add_uint32(f"clip.{kind}.{key}", value)
    writer.add_float32(f"clip.{kind}.attention.layer_norm_epsilon", 1e-6)
    for name, shape in tensors.items():
        writer.add_tensor(name, _random(*shape))


def _layer(prefix: str) -> dict[str, tuple[int, ...]]:
    tensors: dict[str, tuple[int, ...]] = {f"{prefix}.post_ln.weight": (INNER,), f"{prefix}.post_ln.bias": (INNER,)}
    at = f"{prefix}.blk.0"
    for part in ("q", "k", "v", "out"):
        tensors |= {f"{at}.attn_{part}.weight": (INNER, INNER), f"{at}.attn_{part}.bias": (INNER,)}
    for part in ("ln1", "ln2"):
        tensors |= {f"{at}.{part}.weight": (INNER,), f"{at}.{part}.bias": (INNER,)}
    tensors |= {f"{at}.ffn_up.weight": (FEED, INNER), f"{at}.ffn_up.bias": (FEED,)}
    return tensors | {f"{at}.ffn_down.weight": (INNER, FEED), f"{at}.ffn_down.bias": (INNER,)}


def _random(*shape: int) -> Tensor:
    random = np.random.default_rng(sum(shape))
    return (random.standard_normal(shape) * 0.05).astype(np.float32)


def _file(name: str, arch: str, write: Callable[[Any], None]) -> Path:
    import gguf

    # Named after this source, too: a changed builder never meets old files.
    target = folder() / f"{hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]}-{name}"
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
