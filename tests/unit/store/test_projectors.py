"""What a projector says of itself, and which model it is made for."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from corral.store.gguf.header import Header, TensorInfo, Value
from corral.store.gguf.projectors import MADE_FOR, Projects, projects
from corral.store.gguf.reader import read_header
from tests.second_files import WIDTH, projector


def said(metadata: Mapping[str, Value], tensors: Mapping[str, tuple[int, ...]] | None = None) -> Projects | None:
    found = tuple(TensorInfo(name, shape, "F16", 0, 0) for name, shape in (tensors or {}).items())
    header = Header(3, False, {"general.architecture": "clip", **metadata}, found, 0, 0, 32)
    return projects(header, found)


OLD: dict[str, tuple[dict[str, Value], dict[str, tuple[int, ...]], int]] = {
    "LLaVA 1.5": (
        {"clip.projector_type": "mlp", "clip.vision.projection_dim": 768},
        {"mm.0.weight": (1024, 4096), "mm.2.weight": (4096, 4096), "mm.2.bias": (4096,), "v.blk.0.ln1.weight": (1024,)},
        4096,
    ),
    "LLaVA 1.6, without its kind": (
        {"clip.vision.projection_dim": 768},
        {"mm.0.weight": (1024, 5120), "mm.2.weight": (5120, 5120)},
        5120,
    ),
    "Yi-VL": (
        {"clip.projector_type": "mlp", "clip.vision.projection_dim": 768},
        {"mm.0.weight": (1280, 7168), "mm.1.weight": (7168,), "mm.3.weight": (7168, 7168), "mm.4.weight": (7168,)},
        7168,
    ),
    "MobileVLM": (
        {"clip.projector_type": "ldpv2", "clip.vision.projection_dim": 768},
        {"mm.model.mlp.0.weight": (1024, 2048), "mm.model.peg.0.bias": (2048,)},
        2048,
    ),
    "MiniCPM-V 2.6": (
        {"clip.projector_type": "resampler", "clip.vision.projection_dim": 0},
        {"resampler.kv.weight": (1152, 3584), "resampler.proj.weight": (3584, 3584)},
        3584,
    ),
    "GLM-Edge-V": (
        {"clip.projector_type": "adapter", "clip.vision.projection_dim": 768},
        {"adapter.linear.dense_4h_to_h.weight": (8192, 2048)},
        2048,
    ),
}


@pytest.mark.parametrize("name", OLD)
def test_the_length_of_an_old_projector_s_vectors_is_that_of_its_last_tensor(name: str) -> None:
    metadata, tensors, width = OLD[name]
    found = said(metadata, tensors)
    assert found is not None
    assert found.width == width


def test_a_newer_one_says_how_long_they_are() -> None:
    for kind in ("gemma3", "qwen2.5vl_merger", "internvl", "something-new"):
        found = said({"clip.projector_type": kind, "clip.vision.projection_dim": 2560}, {"mm.2.weight": (9, 9)})
        assert found == Projects((kind,), 2560)
    assert said({"clip.projector_type": "gemma3", "clip.vision.projection_dim": 0}) == Projects(("gemma3",), None)
    assert said({"clip.projector_type": "mlp", "clip.vision.projection_dim": 9}) == Projects(("mlp",), 9)
    assert said({"clip.vision.projection_dim": True, "clip.audio.projection_dim": 7}) == Projects((), 7)


def test_a_file_with_eyes_and_ears() -> None:
    header = read_header(projector(sound=True))
    assert projects(header, header.tensors) == Projects(("janus_pro", "ultravox"), WIDTH)
    plain = Header(3, False, {"general.architecture": "llama"}, (), 0, 0, 32)
    assert projects(plain, ()) is None


FITS = [
    ("qwen2.5vl_merger", "qwen2vl", True),
    ("qwen2.5vl_merger", "qwen2", False),
    ("qwen2vl_merger", "qwen3", False),
    ("qwen3vl_merger", "qwen35moe", True),
    ("gemma3", "gemma3", True),
    ("gemma3", "gemma2", False),
    ("pixtral", "mistral3", True),
    ("mlp", "llama", True),
    ("internvl", "qwen2", True),
    ("qwen2.5vl_merger", "qwen9-of-tomorrow", True),
    ("merger-of-tomorrow", "qwen2", True),
    ("qwen2.5vl_merger", "", True),
]


@pytest.mark.parametrize(("kind", "architecture", "fits"), FITS)
def test_a_kind_is_made_for_architectures(kind: str, architecture: str, fits: bool) -> None:
    assert Projects((kind,), 64).fits(architecture, 64) is fits
    assert Projects((kind,), None).fits(architecture, 64) is fits
    assert Projects((kind,), 64).fits(architecture, None) is fits
    assert not Projects((kind,), 64).fits(architecture, 65)


def test_both_kinds_of_a_file_have_to_fit() -> None:
    assert Projects(("gemma3nv", "gemma3na"), 64).fits("gemma3n", 64)
    assert not Projects(("qwen3vl_merger", "qwen2a"), 64).fits("qwen3vl", 64)


def test_our_kinds_are_those_of_the_gguf_package() -> None:
    import gguf

    names = vars(gguf.VisionProjectorType).values()
    kinds = {each for each in names if isinstance(each, str) and not each.startswith("gguf")}
    newer = {
        "deepseekocr2", "exaone4_5", "gemma4ua", "gemma4uv", "minicpmv4_6", "mimo_audio", "mimovl", "minimax_m3",
        "muse-glimmer",
    }  # fmt: skip
    assert set(MADE_FOR) - kinds - newer == set()
    architectures = set(gguf.MODEL_ARCH_NAMES.values())
    assert {each for known in MADE_FOR.values() for each in known} - architectures == {"minimax-m3", "muse-glimmer"}
