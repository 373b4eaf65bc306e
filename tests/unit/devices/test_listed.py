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
