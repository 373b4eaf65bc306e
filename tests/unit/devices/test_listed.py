import pytest

from corral.devices.listed import merged
from corral.domain.devices import RAM, DeviceMemory

GIB = 1024**3
CUDA0 = DeviceMemory("CUDA0", 24 * GIB, 20 * GIB, "NVIDIA GeForce RTX 4090", "GPU-1", "nvml")


def listed(name: str, total: int = 24 * GIB, what: str = "NVIDIA GeForce RTX 4090") -> DeviceMemory:
    return DeviceMemory(name, total, total, what, source="engine")


def test_a_device_that_a_reader_sees_is_the_readers() -> None:
    assert merged([CUDA0], [listed("CUDA0")]) == ((CUDA0,), {"CUDA0": "CUDA0"})


def test_a_gpu_goes_by_the_name_that_the_engines_use() -> None:
    devices, names = merged([CUDA0], [listed("Vulkan0", 24 * GIB + 500 * 1024**2)])

    assert [(each.name, each.free_bytes, each.source) for each in devices] == [("Vulkan0", 20 * GIB, "nvml")]
    assert names == {"CUDA0": "Vulkan0"}


def test_with_two_names_in_use_the_second_is_part_of_the_first() -> None:
    devices, _ = merged([CUDA0], [listed("CUDA0"), listed("Vulkan0")])

    assert [(each.name, each.part_of) for each in devices] == [("CUDA0", ""), ("Vulkan0", "CUDA0")]


def test_two_equal_gpus_are_two() -> None:
    other = DeviceMemory("CUDA1", 24 * GIB, 9 * GIB, "NVIDIA GeForce RTX 4090", "GPU-2", "nvml")
    devices, names = merged([CUDA0, other], [listed("Vulkan0"), listed("Vulkan1")])

    assert [(each.name, each.free_bytes) for each in devices] == [("Vulkan0", 20 * GIB), ("Vulkan1", 9 * GIB)]
    assert names == {"CUDA0": "Vulkan0", "CUDA1": "Vulkan1"}


def test_what_no_reader_knows_is_as_the_engine_said() -> None:
    intel, apple = listed("SYCL0", 16 * GIB, "Intel Arc A770"), listed("MTL0", 96 * GIB, "Apple M4 Max")
    devices, _ = merged([CUDA0], [intel, apple])

    assert [(each.name, each.part_of) for each in devices] == [("CUDA0", ""), ("SYCL0", ""), ("MTL0", RAM)]


HALO = DeviceMemory("ROCm0", 120 * GIB, 90 * GIB, "AMD GPU gfx1151", "0000:c6:00.0", "sysfs", RAM)


@pytest.mark.parametrize("what", ["Radeon 8060S Graphics (RADV GFX1151)", "AMD Radeon Graphics (RADV STRIX_HALO)"])
def test_an_apu_of_which_vulkan_shows_two_thirds_is_that_apu_and_in_ram(what: str) -> None:
    """Vulkan's heaps have another size than the GTT; without this it would be a memory of its own beside RAM."""
    devices, names = merged([HALO], [listed("Vulkan0", 80 * GIB, what)])

    assert names == {"ROCm0": "Vulkan0"}
    (seen,) = devices
    assert (seen.name, seen.part_of, seen.id) == ("Vulkan0", RAM, HALO.id)
    assert (seen.total_bytes, seen.free_bytes) == (80 * GIB, 50 * GIB), "no more than Vulkan gives, and 30 are in use"


def test_an_apu_with_two_names_is_one_memory() -> None:
    both = [listed("ROCm0", 120 * GIB, "AMD Radeon Graphics"), listed("Vulkan0", 80 * GIB, "AMD Radeon (RADV GFX1151)")]
    devices, _ = merged([HALO], both)

    assert [(each.name, each.part_of, each.total_bytes) for each in devices] == [
        ("ROCm0", RAM, 120 * GIB),
        ("Vulkan0", "ROCm0", 80 * GIB),
    ]


def test_a_card_beside_an_apu_is_not_taken_for_it() -> None:
    card = DeviceMemory("ROCm1", 24 * GIB, 23 * GIB, "AMD GPU gfx1100", "0000:03:00.0", "sysfs")
    both = [
        listed("Vulkan0", 20 * GIB, "AMD Radeon Graphics (RADV RAPHAEL)"),
        listed("Vulkan1", 24 * GIB, "AMD Radeon RX 7900 XTX (RADV NAVI31 GFX1100)"),
    ]
    devices, _ = merged([HALO, card], both)

    assert [(each.name, each.part_of) for each in devices] == [("Vulkan0", RAM), ("Vulkan1", "")]


def test_what_is_not_amds_is_not_taken_for_an_apu_either() -> None:
    devices, _ = merged([HALO], [listed("Vulkan0", 16 * GIB, "Intel(R) Arc(tm) A770 Graphics")])

    assert [(each.name, each.part_of) for each in devices] == [("ROCm0", RAM), ("Vulkan0", "")]
