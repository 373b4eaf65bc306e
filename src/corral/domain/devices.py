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
class DeviceMemory:
    """One memory as it was seen at one moment. `free_bytes` is what no program of the host uses."""

    name: str  # `ram`, or the engine's name of the GPU
    total_bytes: int  # for RAM the smaller of the machine's and the cgroup's
    free_bytes: int
    description: str = ""  # for people: "NVIDIA H200"
    id: str = ""  # a stable identity where there is one: NVML's UUID, a PCI address
    source: str = ""  # who said so: machine, cgroup, nvml, sysfs, engine
