from corral.devices.budget import MemoryPolicy, budgets, charged
from corral.domain.devices import RAM, DeviceMemory

GIB = 1024**3


def ram(total: int, free: int) -> DeviceMemory:
    return DeviceMemory(RAM, total * GIB, free * GIB)


def gpu(name: str, total: int, free: int, part_of: str = "") -> DeviceMemory:
    return DeviceMemory(name, total * GIB, free * GIB, part_of=part_of)


AUTO = MemoryPolicy(reserve_bytes=GIB)


def test_auto_is_the_total_less_the_reserve_and_what_others_use() -> None:
    # 32 in all, 20 free, 8 of the 12 used are ours: others have 4.
    assert budgets([ram(32, 20)], AUTO, {RAM: 8 * GIB}) == {RAM: (32 - 1 - 4) * GIB}


def test_what_ours_use_does_not_shrink_the_budget() -> None:
    idle = budgets([ram(32, 30), gpu("CUDA0", 24, 24)], AUTO, {})
    busy = budgets([ram(32, 20), gpu("CUDA0", 24, 4)], AUTO, {RAM: 10 * GIB, "CUDA0": 20 * GIB})

    assert idle == busy


def test_a_fixed_number_stands_and_unlimited_has_no_entry() -> None:
    policy = MemoryPolicy({RAM: 50 * GIB, "CUDA1": 6 * GIB}, gpu=10 * GIB, unlimited=("CUDA2",))
    host = [ram(32, 1), *(gpu(f"CUDA{number}", 24, 1) for number in range(3))]

    assert budgets(host, policy, {}) == {RAM: 50 * GIB, "CUDA0": 10 * GIB, "CUDA1": 6 * GIB}


def test_never_less_than_nothing_nor_more_for_a_reading_that_lags() -> None:
    assert budgets([ram(8, 0)], AUTO, {}) == {RAM: 0}
    assert budgets([ram(8, 6)], MemoryPolicy(), {RAM: 5 * GIB}) == {RAM: 8 * GIB}


def test_on_a_gpu_that_has_gone_nothing_fits() -> None:
    assert budgets([ram(8, 8)], MemoryPolicy(gpu=4 * GIB), {}, gone=("CUDA0",)) == {RAM: 8 * GIB, "CUDA0": 0}


def test_reserves_are_for_ram_and_for_each_gpu() -> None:
    policy = MemoryPolicy(reserve_bytes=2 * GIB, gpu_reserve_bytes=GIB)

    assert budgets([ram(8, 8), gpu("CUDA0", 4, 4)], policy, {}) == {RAM: 6 * GIB, "CUDA0": 3 * GIB}


def test_bytes_on_a_gpu_without_memory_of_its_own_come_out_of_ram() -> None:
    # Ours hold 40 on the GPU: they are missing in RAM, and no process has them in its RSS.
    host = [ram(128, 80), gpu("ROCm0", 96, 56, part_of=RAM)]
    ours = {RAM: 2 * GIB, "ROCm0": 40 * GIB}

    assert budgets(host, AUTO, ours) == {RAM: (127 - 6) * GIB, "ROCm0": 96 * GIB}
    assert charged({"ROCm0": 10, RAM: 1}, host) == {"ROCm0": 10, RAM: 11}


def test_two_names_of_one_gpu_are_charged_together() -> None:
    host = [ram(8, 8), gpu("CUDA0", 24, 14), gpu("Vulkan0", 24, 14, part_of="CUDA0")]

    assert charged({"Vulkan0": 5}, host) == {"Vulkan0": 5, "CUDA0": 5}
    assert budgets(host, MemoryPolicy(), {"CUDA0": 10 * GIB})["Vulkan0"] == 24 * GIB
