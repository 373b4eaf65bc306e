"""
The memories of a host: RAM and one for each GPU, by name.

RAM is called `ram`. A GPU has the name that llama.cpp gives it (`CUDA0`, `ROCm0`, `Vulkan0`, `MTL0`), because options,
logs and the device list of the engine use that. Whatever Corral knows, plans or shows per device uses these names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

RAM: Final = "ram"
VRAM: Final = "vram"
"""Every GPU that is not named, where sizes are given by device."""

Amount = int | None | Literal["auto"]
"""Bytes that engines may take of a memory; `None` is no limit, `auto` what is there less what others use."""


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


@dataclass(frozen=True, slots=True)
class CpuTime:
    """Seconds of all CPUs of the machine since it started."""

    busy_s: float
    idle_s: float  # waiting for disks too


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One reading: the devices, what ours hold on each, and which devices were there once and are not now."""

    devices: tuple[DeviceMemory, ...] = ()
    ours: Mapping[str, int] = field(default_factory=dict)  # as the scheduler counts it where a device cannot tell
    gone: frozenset[str] = frozenset()
    at: float = 0.0  # monotonic seconds
    cpu: CpuTime | None = None


@dataclass(frozen=True, slots=True)
class MemorySpec:
    """What the operator lets engines have of each memory; the budgets follow from it and from what is there."""

    ram: Amount = "auto"
    vram: Mapping[str, Amount] = field(default_factory=lambda: {VRAM: "auto"})  # by GPU; `vram` is all the others
    # What `auto` leaves to others, in the same way.
    reserve: Mapping[str, int] = field(default_factory=lambda: {RAM: 1024**3, VRAM: 256 * 1024**2})

    def amount(self, device: str) -> Amount:
        """The limit of one memory."""
        return self.ram if device == RAM else self.vram.get(device, self.vram.get(VRAM, "auto"))

    def reserved(self, device: str) -> int:
        """What `auto` leaves of it to others."""
        return self.reserve.get(device, 0 if device == RAM else self.reserve.get(VRAM, 0))
