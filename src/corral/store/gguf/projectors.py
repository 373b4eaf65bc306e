"""
What a projector says of itself: its kinds, and how long the vectors are that it makes. Facts of llama.cpp b11434.

A projector is made for one language model. llama.cpp looks at the length of vectors alone when it loads one, and two
models of one length take each other's, to answer nonsense; so the kind is held against the architecture here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from corral.store.gguf.header import Header, TensorInfo

_QWEN2VL: Final = frozenset({"qwen2vl", "llama"})  # llama: Sarashina 2
_GEMMA4: Final = frozenset({"gemma4"})
_DEEPSEEK: Final = frozenset({"deepseek2", "deepseek2-ocr"})
_LFM2: Final = frozenset({"lfm2", "lfm2moe"})
MADE_FOR: Final = {
    "cogvlm": frozenset({"cogvlm"}),
    "deepseekocr": _DEEPSEEK,
    "deepseekocr2": _DEEPSEEK,
    "dots_ocr": frozenset({"qwen2"}),
    "exaone4_5": frozenset({"exaone4"}),
    "gemma3": frozenset({"gemma3"}),
    "gemma3na": frozenset({"gemma3n"}),
    "gemma3nv": frozenset({"gemma3n"}),
    "gemma4a": _GEMMA4,
    "gemma4ua": _GEMMA4,
    "gemma4uv": _GEMMA4,
    "gemma4v": _GEMMA4,
    "glm4v": frozenset({"glm4", "glm4moe"}),
    "hunyuanocr": frozenset({"hunyuan_vl", "hunyuan-dense"}),
    "hunyuanvl": frozenset({"hunyuan_vl", "hunyuan-dense"}),
    "janus_pro": frozenset({"llama"}),
    "kimik25": frozenset({"deepseek2", "glm-dsa"}),
    "kimivl": frozenset({"deepseek2"}),
    "lfm2": _LFM2,
    "lfm2a": _LFM2,
    "lightonocr": frozenset({"qwen3"}),
    "llama4": frozenset({"llama4"}),
    "mimo_audio": frozenset({"mimo2"}),
    "mimovl": frozenset({"mimo2"}),
    "minicpmv4_6": frozenset({"qwen35"}),
    "minimax_m3": frozenset({"minimax-m3"}),
    "muse-glimmer": frozenset({"muse-glimmer"}),
    "musicflamingo": frozenset({"qwen2"}),
    "nemotron_v2_vl": frozenset({"nemotron_h", "nemotron_h_moe"}),
    "paddleocr": frozenset({"paddleocr", "ernie4_5"}),
    "phi4": frozenset({"phi3"}),
    "pixtral": frozenset({"llama", "mistral3", "mistral4"}),
    "qwen2.5o": _QWEN2VL,
    "qwen2.5vl_merger": _QWEN2VL,
    "qwen2a": frozenset({"qwen2"}),
    "qwen2vl_merger": _QWEN2VL,
    "qwen3vl_merger": frozenset({"qwen3vl", "qwen3vlmoe", "qwen35", "qwen35moe"}),
    "step3vl": frozenset({"qwen3", "step35"}),
    "youtuvl": frozenset({"deepseek2"}),
}
"""The architectures that a kind is made for; those that are not here (`mlp`, `resampler`, `internvl`) are for many."""
_OTHERS: Final = frozenset({
    "bert", "command-r", "falcon", "gemma", "gemma2", "gpt-oss", "granite", "granitehybrid", "granitemoe", "internlm2",
    "minicpm", "nomic-bert", "olmo2", "phi2", "phimoe", "qwen", "qwen2moe", "qwen3moe", "qwen3next", "smollm3",
    "stablelm", "starcoder2",
})  # fmt: skip
_KNOWN: Final = _OTHERS.union(*MADE_FOR.values())
_KINDS: Final = ("clip.projector_type", "clip.vision.projector_type", "clip.audio.projector_type")
_WIDTHS: Final = ("clip.vision.projection_dim", "clip.audio.projection_dim", "clip.projection_dim")
_NUMBERED: Final = re.compile(r"mm\.(\d{1,2})\.weight")
_OF_MODEL: Final = {  # the last tensor, and which of its dimensions is that of the language model
    "ldp": ("mm.model.mb_block.1.block.2.1.bias", 0),
    "ldpv2": ("mm.model.peg.0.bias", 0),
    "resampler": ("resampler.proj.weight", 0),
    "adapter": ("adapter.linear.dense_4h_to_h.weight", 1),
}


@dataclass(frozen=True, slots=True)
class Projects:
    """`kinds` are for pictures and for sound; `width` is that of the language model, None where nobody can tell."""

    kinds: tuple[str, ...]
    width: int | None

    def fits(self, architecture: str, width: int | None) -> bool:
        """
        Whether it may be made for such a model. Where the model's length or its own is not known, it may; and what is
        newer than Corral, a kind or an architecture, goes by the length.
        """
        if self.width is not None and width is not None and self.width != width:
            return False
        if architecture not in _KNOWN:
            return True
        return all(architecture in MADE_FOR.get(kind, _KNOWN) for kind in self.kinds)


def projects(header: Header, tensors: Iterable[TensorInfo]) -> Projects | None:
    """None of a file that is no projector."""
    if header.architecture != "clip":
        return None
    kinds = tuple(dict.fromkeys(text[:100] for key in _KINDS if (text := header.text(key))))
    said = (header.metadata.get(key) for key in _WIDTHS)
    widths = [value for value in said if isinstance(value, int) and not isinstance(value, bool) and value > 0]
    kind = kinds[0] if kinds else "mlp"
    # The converters of the oldest kinds wrote the width of CLIP's own text model, which has no part in it.
    last = _last(kind, tensors) if kind in ("mlp", *_OF_MODEL) else None
    return Projects(kinds, last or next(iter(widths), None))


def _last(kind: str, tensors: Iterable[TensorInfo]) -> int | None:
    """By the tensor that the engine looks at, too."""
    shapes = {tensor.name: tensor.shape for tensor in tensors if tensor.shape}
    if kind in _OF_MODEL:
        name, dimension = _OF_MODEL[kind]
        shape = shapes.get(name, ())
        return shape[dimension] if dimension < len(shape) else None
    numbered = {int(match[1]): shape for name, shape in shapes.items() if (match := _NUMBERED.fullmatch(name))}
    return numbered[max(numbered)][-1] if numbered else None
