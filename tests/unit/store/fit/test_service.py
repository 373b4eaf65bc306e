"""Memories that are not here, and options as they come from outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from corral.contracts.fitting import FitWanted
from corral.domain.devices import RAM, DeviceMemory
from corral.domain.errors import BadRequest
from corral.domain.fleet import ModelSpec, Source
from corral.domain.storage import StoreSpec
from corral.engines.llamacpp import LlamaCppEngine
from corral.engines.llamacpp.options import OPTIONS
from corral.store.fit.imagined import imagined
from corral.store.fit.measured import RamBandwidth
from corral.store.fit.service import Fitting, checked
from corral.store.known import KnownFiles
from corral.store.sources.access import access
from corral.store.supply import store_supply
from tests.unit.store.fit.kit import GIB


def fitting(folder: Path) -> Fitting:
    """Of this host as the tests imagine it, by a llama-server that is not there."""
    spec = StoreSpec(str(folder / "store"))
    return Fitting(
        KnownFiles(),
        {"llamacpp": LlamaCppEngine(which=lambda name: None)},
        host=lambda: (HERE, {}),
        charges=lambda needs, devices: needs,
        ram=RamBandwidth(folder / "bandwidth"),
        access=lambda: access(spec, {}),
        supply=store_supply(spec, {}),
    )


HERE = (DeviceMemory(RAM, 64 * GIB, 60 * GIB), DeviceMemory("CUDA0", 80 * GIB, 9 * GIB, "NVIDIA H100 80GB HBM3"))


def sizes(*memory: str) -> dict[str, tuple[int, int]]:
    return {each.name: (each.total_bytes // GIB, each.free_bytes // GIB) for each in imagined(HERE, memory)}


@pytest.mark.parametrize(
    ("engine", "sentence"),
    [
        ("command", "m has no model file that Corral could fit. Say in its config what it takes: options.memory."),
        ("remote", "m has no model file that Corral could fit."),
        ("llamacpp", "m has no model file that Corral could fit."),
    ],
)
async def test_what_has_no_file_cannot_be_fitted(tmp_path: Path, engine: str, sentence: str) -> None:
    source = Source("/m.gguf") if engine != "llamacpp" else Source()
    with pytest.raises(BadRequest) as caught:
        await fitting(tmp_path).found(FitWanted("m", ModelSpec("m", source, engine=engine)))
    assert caught.value.sentence() == sentence


def test_gpus_in_their_order() -> None:
    assert sizes("24GiB", "8GiB") == {RAM: (64, 60), "CUDA0": (24, 24), "CUDA1": (8, 8)}


def test_more_gpus_are_of_the_kind_that_is_here() -> None:
    here = (HERE[0], DeviceMemory("Vulkan0", 8 * GIB, 8 * GIB))
    assert [each.name for each in imagined(here, ["8GiB", "4GiB"])] == [RAM, "Vulkan0", "Vulkan1"]


def test_memories_by_name() -> None:
    assert sizes("ram=16GiB") == {RAM: (16, 16), "CUDA0": (80, 9)}
    assert sizes("Vulkan3=8GiB", "ram=16GiB") == {RAM: (16, 16), "Vulkan3": (8, 8)}


def test_a_gpu_that_is_here_keeps_what_is_known_of_it() -> None:
    assert [each.description for each in imagined(HERE, ["24GiB"])][1:] == ["NVIDIA H100 80GB HBM3"]
    assert [each.description for each in imagined(HERE, ["ROCm0=24GiB"])][1:] == [""]


@pytest.mark.parametrize("text", ["", "much", "CUDA0=", "=x", "-5GiB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(BadRequest):
        imagined(HERE, [text])


@pytest.mark.parametrize(
    ("memory", "sentence"),
    [
        (("24GiB", "CUDA0=8GiB"), "'CUDA0=8GiB' is a second size for CUDA0."),
        (("CUDA1=8GiB", "24GiB"), "'24GiB' is a second size for CUDA1."),
        (("ram=8GiB", "ram=9GiB"), "'ram=9GiB' is a second size for ram."),
        (("1GiB",) * 65, "65 memories are more than the 64 that can be reckoned with."),
    ],
)
def test_no_memory_is_silently_left_out(memory: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(BadRequest) as caught:
        imagined(HERE, memory)
    assert caught.value.message == sentence


def test_options_are_checked_by_the_engines_table() -> None:
    assert checked(OPTIONS, {"ctx_size": 4096, "n_gpu_layers": "all", "device": ["CUDA0"]}) == {
        "ctx_size": 4096, "n_gpu_layers": "all", "device": ("CUDA0",),
    }  # fmt: skip
    for options, words in (
        ({"ctx_sise": 4096}, "ctx_size"),
        ({"ctx_size": -1}, "ctx_size must be"),
        ({"cache_type_k": "q9"}, "cache_type_k must be one of"),
        ({"parallel": "many"}, "parallel must be"),
    ):
        with pytest.raises(BadRequest) as caught:
            checked(OPTIONS, options)
        assert words in caught.value.sentence()
