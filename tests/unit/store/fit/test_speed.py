"""The bound on tokens a second: bytes read for each of them by the bandwidth of where they lie."""

from __future__ import annotations

import pytest

from corral.domain.devices import RAM, DeviceMemory
from corral.domain.fleet import OptionValue
from corral.store.fit.bandwidths import GB, gpu_bandwidth
from corral.store.fit.rooms import Rooms
from corral.store.fit.speed import Speed, speed
from corral.store.fit.subject import Subject
from corral.store.gguf.asked import Asked
from tests.unit.store.fit.kit import LAYERS, host, llama, subject
from tests.unit.store.shapes import MIB


def bandwidth(device: DeviceMemory) -> float | None:
    return 50 * GB if device.name == RAM else gpu_bandwidth(device.description)


def fast(model: Subject, rooms: Rooms, **options: OptionValue) -> Speed:
    given = {**model.options, **options}
    found = speed(model, model.estimate(given, rooms.devices), Asked(given, 4), rooms, bandwidth)
    assert found is not None
    return found


def test_all_weights_are_read_but_the_embedding() -> None:
    found = fast(subject(), host(32), ctx_size=8192)
    read = (LAYERS * 128 + 256) * MIB
    assert found.read_bytes == {RAM: read}
    assert found.empty_per_s == pytest.approx(50 * GB / read)


def test_a_full_context_is_read_as_well() -> None:
    found = fast(subject(), host(32), ctx_size=8192)
    cache = 8192 * 128 * 1024
    assert found.full_per_s == pytest.approx(50 * GB / ((LAYERS * 128 + 256) * MIB + cache))


def test_slots_apart_read_their_own_part() -> None:
    apart = fast(subject(), host(32), ctx_size=32768, kv_unified=False)
    shared = fast(subject(), host(32), ctx_size=8192)
    assert apart.full_per_s == pytest.approx(shared.full_per_s)


def test_of_experts_those_that_a_token_uses() -> None:
    model = subject(llama("qwen3moe", layer=32, expert=512, expert_count=64, expert_used_count=8))
    assert fast(model, host(32), ctx_size=4096).read_bytes[RAM] == (LAYERS * (32 + 512 // 8) + 256) * MIB


def test_layers_for_further_tokens_are_not_read_for_this_one() -> None:
    """They draft; weights of theirs that are loaded are none that an answer waits for."""
    head, tensors = llama(
        "qwen3moe", layer=32, expert=512, expert_count=64, expert_used_count=8, nextn_predict_layers=2
    )
    drafts = subject((head, tensors), spec_type=("draft-mtp",))
    read = fast(drafts, host(64), ctx_size=4096).read_bytes
    assert read == {RAM: ((LAYERS - 2) * (32 + 512 // 8) + 256) * MIB}
    assert drafts.estimate(drafts.options, host(64).devices).weights[RAM] > LAYERS * (32 + 512) * MIB, "they are there"


def test_a_cache_that_stays_in_ram_is_read_there() -> None:
    rooms = host(32, 80, names="NVIDIA H100 80GB HBM3")
    found = fast(subject(), rooms, ctx_size=8192, n_gpu_layers="all", kv_offload=False)
    seconds = (LAYERS * 128 + 256) * MIB / (3350 * GB) + 8192 * 128 * 1024 / (50 * GB)
    assert found.full_per_s == pytest.approx(1 / seconds)


def test_each_device_takes_its_own_time() -> None:
    rooms = host(32, 80, names="NVIDIA H100 80GB HBM3")
    half = fast(subject(), rooms, ctx_size=4096, n_gpu_layers=17)
    whole = fast(subject(), rooms, ctx_size=4096, n_gpu_layers="all")
    assert half.read_bytes == {RAM: 16 * 128 * MIB, "CUDA0": (16 * 128 + 256) * MIB}
    seconds = 16 * 128 * MIB / (50 * GB) + (16 * 128 + 256) * MIB / (3350 * GB)
    assert half.empty_per_s == pytest.approx(1 / seconds)
    assert whole.empty_per_s is not None and whole.empty_per_s > 10 * (half.empty_per_s or 0)


def test_an_unknown_gpu_gives_no_figure() -> None:
    found = fast(subject(), host(32, 80, names="Some Accelerator"), ctx_size=4096, n_gpu_layers="all")
    assert (found.empty_per_s, found.full_per_s, found.unknown) == (None, None, ("CUDA0",))


def test_encoders_do_not_answer_token_by_token() -> None:
    model = subject(llama("bert"))
    found = model.estimate(model.options, host(32).devices)
    assert speed(model, found, Asked(model.options, 4), host(32), bandwidth) is None


@pytest.mark.parametrize(
    ("name", "gb_per_s"),
    [
        ("NVIDIA H200", 4800),
        ("NVIDIA H100 80GB HBM3", 3350),
        ("NVIDIA H100 PCIe", 2000),
        ("NVIDIA A100-SXM4-80GB", 2039),
        ("NVIDIA A100-SXM4-40GB", 1555),
        ("NVIDIA A100 80GB PCIe", 1935),
        ("Tesla T4", 300),
        ("NVIDIA L4", 300),
        ("NVIDIA L40S", 864),
        ("NVIDIA A10G", 600),
        ("NVIDIA GeForce RTX 4090", 1008),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", 672),
        ("NVIDIA GeForce RTX 3060", 240),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 1792),
        ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", 1792),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 1597),
        ("NVIDIA RTX 4000 Ada Generation", 360),
        ("NVIDIA RTX 4000 SFF Ada Generation", 280),
        ("NVIDIA GeForce RTX 2080 Super with Max-Q Design", None),
        ("AMD Radeon RX 9060 XT", 320),
        ("AMD Radeon RX 9070 GRE", 432),
        ("NVIDIA RTX A6000", 768),
        ("NVIDIA RTX 6000 Ada Generation", 960),
        ("AMD Radeon RX 7900 XTX (RADV NAVI31)", 960),
        ("Radeon 8060S Graphics", 256),
        ("Apple M3 Max", 300),
        ("Apple M4", 120),
        ("Apple M5", 153),
        ("Apple M5 Pro", 307),
        ("Apple M5 Max", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("llvmpipe", None),
        ("", None),
    ],
)
def test_the_table(name: str, gb_per_s: float | None) -> None:
    found = gpu_bandwidth(name)
    assert found == (None if gb_per_s is None else gb_per_s * GB)
