"""
What the scheduler may spend on each device: pure arithmetic on a reading.

`auto` is what there is, less the reserve, less what programs that are not ours use. What ours use is not subtracted:
the scheduler counts that itself, by footprints.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from corral.domain.devices import RAM, DeviceMemory


@dataclass(frozen=True, slots=True)
class MemoryPolicy:
    """
    What the operator wants. A fixed number stands as it is written, whatever a reading says.

    `fixed` is by device; `gpu` goes for each GPU that is not in it. None is `auto`; names in `unlimited` have no
    budget at all.
    """

    fixed: Mapping[str, int] = field(default_factory=dict)
    gpu: int | None = None
    reserve_bytes: int = 0  # of RAM
    gpu_reserve_bytes: int = 0  # of each GPU
    unlimited: Collection[str] = ()


def budgets(
    devices: Sequence[DeviceMemory],
    policy: MemoryPolicy,
    ours: Mapping[str, int],
    *,
    gone: Collection[str] = (),
) -> dict[str, int]:
    """
    Bytes by device.

    `ours` is what our own instances hold on each: as `Devices.used_by` says, and as the scheduler counts it for devices
    that cannot tell; a device that is not in it holds nothing of ours. Ask for it after `devices` were read: a load
    that goes on meanwhile then looks a little smaller to others, never larger. Devices in `gone` were there once:
    nothing can be loaded on them, which is not the same as no limit.
    """
    found = {}
    for device in devices:
        if device.name not in policy.unlimited:
            found[device.name] = _budget(device, policy, _held(device, devices, ours))
    for name in gone:
        found.setdefault(name, 0)
    return found


def others_bytes(device: DeviceMemory, ours: int) -> int:
    """What programs that are not ours use of it."""
    return max(0, device.total_bytes - device.free_bytes - ours)


def charged(needs: Mapping[str, int], devices: Sequence[DeviceMemory]) -> dict[str, int]:
    """
    The same needs with every byte at each memory that it takes room in.

    A GPU without a memory of its own (an APU, Apple silicon) is `part_of` RAM: what is loaded there must fit into both.
    """
    found = dict(needs)
    whole = {device.name: device.part_of for device in devices if device.part_of}
    for name, size in needs.items():
        seen = {name}
        while (name := whole.get(name, "")) and name not in seen:
            seen.add(name)
            found[name] = found.get(name, 0) + size
    return found


def _held(device: DeviceMemory, devices: Sequence[DeviceMemory], ours: Mapping[str, int]) -> int:
    """Ours on it. No process owns the pages of a GPU that shares RAM: they are missing in RAM and in no RSS."""
    held = ours.get(device.name, 0)
    if device.name == RAM:
        return held + sum(ours.get(each.name, 0) for each in devices if each.part_of == RAM)
    return max(held, ours.get(device.part_of, 0)) if device.part_of != RAM else held


def _budget(device: DeviceMemory, policy: MemoryPolicy, ours: int) -> int:
    fixed = policy.fixed.get(device.name, None if device.name == RAM else policy.gpu)
    if fixed is not None:
        return fixed
    reserve = policy.reserve_bytes if device.name == RAM else policy.gpu_reserve_bytes
    return max(0, device.total_bytes - reserve - others_bytes(device, ours))
