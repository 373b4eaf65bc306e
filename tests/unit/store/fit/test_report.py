"""The answer as a whole: devices, kinds of cache, verdicts, and the quantisation to take."""

from __future__ import annotations

import pytest

from corral.domain.devices import RAM, DeviceMemory
from corral.domain.errors import BadGguf
from corral.store.fit.report import Fit, fit
from corral.store.fit.rooms import Rooms, Verdict, rooms_of
from corral.store.fit.subject import Subject
from corral.store.sources.choosing import choose
from corral.store.sources.listing import ListedFile
from tests.unit.store.fit.kit import GIB, LAYERS, host, llama, subject
from tests.unit.store.shapes import MIB


def fitted(model: Subject, rooms: Rooms) -> Fit:
    return fit(model, rooms, lambda device: 50e9)


def test_every_byte_is_in_one_column() -> None:
    found = fitted(subject(ctx_size=8192, n_gpu_layers=17), host(32, 24))
    assert [need.device for need in found.asked.devices] == [RAM, "CUDA0"]
    for need in found.asked.devices:
        parts = need.weights_bytes + need.cache_bytes + need.compute_bytes + need.program_bytes + need.growth_bytes
        assert need.needs_bytes == parts
        assert sum(need.cache.values()) == need.cache_bytes
    assert found.asked.devices[1].weights_bytes == (16 * 128 + 256) * MIB
    assert (found.asked.layers, found.asked.gpu_layers, found.asked.slots) == (LAYERS, 17, 4)
    assert found.asked.context_tokens == 8192


@pytest.mark.parametrize(
    ("arch", "numbers", "kinds"),
    [
        ("llama", {}, {"full"}),
        ("gemma3", {"attention__sliding_window": 1024}, {"full", "window"}),
        ("mamba", {"ssm__conv_kernel": 4, "ssm__inner_size": 128, "ssm__state_size": 16}, {"state"}),
        (
            "deepseek2",
            {
                "attention__head_count_kv": 1, "attention__key_length": 576, "attention__value_length": 512,
                "attention__key_length_mla": 192, "attention__value_length_mla": 128,
            },
            {"compressed"},
        ),
        ("bert", {}, set()),
    ],
)  # fmt: skip
def test_the_cache_by_kind(arch: str, numbers: dict[str, int], kinds: set[str]) -> None:
    found = fitted(subject(llama(arch, **numbers), ctx_size=8192), host(32))
    assert found.asked.devices[0].cache.keys() == kinds


def test_what_others_hold_may_leave() -> None:
    devices = (DeviceMemory(RAM, 32 * GIB, 3 * GIB),)
    found = fitted(subject(ctx_size=4096), rooms_of(devices, {RAM: 30 * GIB}))
    assert found.asked.fits is Verdict.LATER
    assert found.recommended is not None and found.recommended.load.fits is Verdict.LATER
    never = fitted(subject(ctx_size=4096), rooms_of(devices, {RAM: 4 * GIB}))
    assert never.asked.fits is Verdict.NEVER and never.recommended is None


def test_a_gpu_that_shares_ram_is_counted_in_both() -> None:
    devices = (DeviceMemory(RAM, 8 * GIB, 8 * GIB), DeviceMemory("Vulkan0", 8 * GIB, 8 * GIB, part_of=RAM))

    def charged(needs: dict[str, int]) -> dict[str, int]:
        return {**needs, RAM: sum(needs.values())}

    apart = fitted(subject(ctx_size=4096), rooms_of(devices, {}))
    shared = fitted(subject(ctx_size=4096), rooms_of(devices, {}, charged=charged))  # type: ignore[arg-type]
    assert apart.asked.fits is Verdict.NOW
    assert shared.asked.devices[0].fits is not apart.asked.devices[0].fits or shared.asked.fits is Verdict.NOW


SIZES = {"Q2_K": 3 * GIB, "Q4_K_M": 5 * GIB, "Q6_K": 7 * GIB, "Q8_0": 9 * GIB, "F16": 16 * GIB}


@pytest.mark.parametrize(
    ("rooms", "best"),
    [
        (host(64, 24), "Q8_0"),  # F16 would fit too, and is no better
        (host(64, 9), "Q6_K"),
        (host(64, 7), "Q4_K_M"),
        (host(64, 2), "Q4_K_M"),  # none is on the GPU whole
        (host(64), "Q4_K_M"),
        (host(5), "Q2_K"),
    ],
)
def test_the_quantisation_to_take(rooms: Rooms, best: str) -> None:
    found = fitted(subject(offered=SIZES), rooms)
    assert [each.quantisation for each in found.quantisations] == list(SIZES)
    assert [each.quantisation for each in found.quantisations if each.recommended] == [best]


@pytest.mark.parametrize(
    ("offered", "ram", "best"),
    [
        ({"Q2_K": 3, "Q4_0": 4.6, "Q4_K_S": 4.7, "Q8_0": 9}, 64, "Q4_K_S"),
        ({"Q2_K": 3, "Q6_K": 7, "Q8_0": 9}, 64, "Q6_K"),
        ({"Q2_K": 3, "Q3_K_M": 4, "Q4_K_M": 12}, 8, "Q3_K_M"),
        ({"Q4_K_M": 5, "Q4_1": 5.2}, 64, "Q4_K_M"),
        ({"BF16": 16, "F32": 32}, 64, "BF16"),
    ],
)
def test_in_ram_it_is_what_pull_would_take_of_those_that_fit(offered: dict[str, float], ram: int, best: str) -> None:
    found = fitted(subject(offered={name: int(size * GIB) for name, size in offered.items()}), host(ram))
    assert [each.quantisation for each in found.quantisations if each.recommended] == [best]
    there = [each.quantisation for each in found.quantisations if each.fits is not Verdict.NEVER]
    files = [ListedFile(f"m-{name}.gguf", 1) for name in there]
    assert choose(files, where="here").model.quant == best


def test_none_is_recommended_where_none_fits() -> None:
    found = fitted(subject(offered=SIZES), host(1))
    assert {each.fits for each in found.quantisations} == {Verdict.NEVER}
    assert not any(each.recommended for each in found.quantisations)


def test_sizes_that_no_machine_has_are_refused() -> None:
    with pytest.raises(BadGguf):
        fitted(subject(llama(layer=1 << 45)), host(32))
