from corral.devices.report import rows
from corral.domain.devices import RAM, Activity, DeviceMemory, Snapshot


def test_a_row_says_what_there_is_what_engines_may_take_and_what_they_hold() -> None:
    gpu = DeviceMemory("CUDA0", 24, 4, "NVIDIA T4", "GPU-1", "nvml", activity=Activity(0.5, 60.0, 70.0))
    ram, cuda = rows(
        Snapshot((DeviceMemory(RAM, 64, 60), gpu), {"CUDA0": 18}), {RAM: 50, "CUDA0": 20}, {RAM: 2, "CUDA0": 19}
    )

    assert (ram["device"], ram["budget_bytes"], ram["counted_bytes"], ram["held_bytes"]) == (RAM, 50, 2, 0)
    assert cuda == {
        "device": "CUDA0", "present": True, "description": "NVIDIA T4", "total_bytes": 24, "free_bytes": 4,
        "budget_bytes": 20, "counted_bytes": 19, "held_bytes": 18, "part_of": "", "busy": 0.5, "temperature_c": 60.0,
        "power_w": 70.0, "id": "GPU-1", "source": "nvml",
    }  # fmt: skip


def test_without_a_budget_there_is_none_and_what_has_gone_is_shown_as_gone() -> None:
    ram, gone = rows(Snapshot((DeviceMemory(RAM, 64, 60),), gone=frozenset({"CUDA0"})), {"CUDA0": 0}, {})

    assert ram["budget_bytes"] is None
    assert (gone["device"], gone["present"], gone["budget_bytes"]) == ("CUDA0", False, 0)
