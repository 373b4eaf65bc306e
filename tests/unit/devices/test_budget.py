from corral.devices.budget import budgets, charged
from corral.domain.devices import RAM, VRAM, DeviceMemory, MemorySpec

GIB = 1024**3


def ram(total: int, free: int) -> DeviceMemory:
    return DeviceMemory(RAM, total * GIB, free * GIB)


def gpu(name: str, total: int, free: int, part_of: str = "") -> DeviceMemory:
    return DeviceMemory(name, total * GIB, free * GIB, part_of=part_of)


AUTO = MemorySpec(reserve={RAM: GIB})
ALL = MemorySpec(reserve={})


def test_auto_is_the_total_less_the_reserve_and_what_others_use() -> None:
    # 32 in all, 20 free, 8 of the 12 used are ours: others have 4.
    assert budgets(AUTO, [ram(32, 20)], {RAM: 8 * GIB}) == {RAM: (32 - 1 - 4) * GIB}


def test_what_ours_use_does_not_shrink_the_budget() -> None:
    idle = budgets(AUTO, [ram(32, 30), gpu("CUDA0", 24, 24)], {})
    busy = budgets(AUTO, [ram(32, 20), gpu("CUDA0", 24, 4)], {RAM: 10 * GIB, "CUDA0": 20 * GIB})

    assert idle == busy


def test_what_an_engine_listed_before_ours_were_loaded_stays_what_others_use() -> None:
    """Nobody reads it again, so ours are not in it: taken out all the same they would make the budget larger."""
    listed = DeviceMemory("SYCL0", 16 * GIB, 10 * GIB, "Intel Arc", source="engine")

    assert budgets(ALL, [listed], {}) == budgets(ALL, [listed], {"SYCL0": 5 * GIB}) == {"SYCL0": 10 * GIB}


def test_a_fixed_number_stands_and_unlimited_has_no_entry() -> None:
    spec = MemorySpec(50 * GIB, {VRAM: 10 * GIB, "CUDA1": 6 * GIB, "CUDA2": None})
    host = [ram(32, 1), *(gpu(f"CUDA{number}", 24, 1) for number in range(3))]

    assert budgets(spec, host, {}) == {RAM: 50 * GIB, "CUDA0": 10 * GIB, "CUDA1": 6 * GIB}


def test_never_less_than_nothing_nor_more_for_a_reading_that_lags() -> None:
    assert budgets(AUTO, [ram(8, 0)], {}) == {RAM: 0}
    assert budgets(ALL, [ram(8, 6)], {RAM: 5 * GIB}) == {RAM: 8 * GIB}


def test_on_a_gpu_that_has_gone_nothing_fits() -> None:
    spec = MemorySpec(None, {VRAM: 4 * GIB})

    assert budgets(spec, [ram(8, 8)], {}, gone=("CUDA0",)) == {"CUDA0": 0}


def test_reserves_are_for_ram_and_for_each_gpu() -> None:
    spec = MemorySpec(reserve={RAM: 2 * GIB, VRAM: GIB, "CUDA1": 3 * GIB})
    host = [ram(8, 8), gpu("CUDA0", 4, 4), gpu("CUDA1", 4, 4)]

    assert budgets(spec, host, {}) == {RAM: 6 * GIB, "CUDA0": 3 * GIB, "CUDA1": GIB}


def test_bytes_on_a_gpu_without_memory_of_its_own_come_out_of_ram() -> None:
    # Ours hold 40 on the GPU: they are missing in RAM, and no process has them in its RSS.
    host = [ram(128, 80), gpu("ROCm0", 96, 56, part_of=RAM)]
    ours = {RAM: 2 * GIB, "ROCm0": 40 * GIB}

    assert budgets(AUTO, host, ours) == {RAM: (127 - 6) * GIB, "ROCm0": 96 * GIB}
    assert charged({"ROCm0": 10, RAM: 1}, host) == {"ROCm0": 10, RAM: 11}


def test_two_names_of_one_gpu_are_charged_together() -> None:
    host = [ram(8, 8), gpu("CUDA0", 24, 14), gpu("Vulkan0", 24, 14, part_of="CUDA0")]

    assert charged({"Vulkan0": 5}, host) == {"Vulkan0": 5, "CUDA0": 5}
    assert budgets(ALL, host, {"CUDA0": 10 * GIB})["Vulkan0"] == 24 * GIB
