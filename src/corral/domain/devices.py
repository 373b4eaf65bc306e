"""
The memories of a host: RAM and one for each GPU, by name.

RAM is called `ram`. A GPU has the name that llama.cpp gives it (`CUDA0`, `ROCm0`, `Vulkan0`, `MTL0`), because options,
logs and the device list of the engine use that. Whatever Corral knows, plans or shows per device uses these names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

RAM: Final = "ram"


@dataclass(frozen=True, slots=True)
class Activity:
    """What a GPU does besides holding bytes; None where its driver does not say."""

    busy: float | None = None  # share of the last moment in which it worked, 0 to 1
    temperature_c: float | None = None
    power_w: float | None = None


IDLE: Final = Activity()


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """One memory as it was seen at one moment. `free_bytes` is what no program of the host uses."""

    name: str  # `ram`, or the engine's name of the GPU
    total_bytes: int  # for RAM the smaller of the machine's and the cgroup's
    free_bytes: int
    description: str = ""  # for people: "NVIDIA H200"
    id: str = ""  # a stable identity where there is one: NVML's UUID, a PCI address
    source: str = ""  # who said so: machine, cgroup, nvml, sysfs, engine
    part_of: str = ""  # another memory here that its bytes come out of: `ram` for a GPU that has none of its own
    activity: Activity = IDLE
