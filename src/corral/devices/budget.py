"""
What the scheduler may spend on each device: pure arithmetic on a reading.

`auto` is what there is, less the reserve, less what programs that are not ours use. So a neighbour that grows makes the
budget smaller, and idle Models yield to it. What ours use is not subtracted: the scheduler counts that by footprints.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from corral.domain.devices import RAM, DeviceMemory, MemorySpec, Snapshot

LISTED: Final = "engine"
"""The source of a device that no reader knows."""


def budgets(
    spec: MemorySpec,
    devices: Sequence[DeviceMemory],
    ours: Mapping[str, int],
    *,
    gone: Collection[str] = (),
) -> dict[str, int]:
    """
    Bytes by device; one without an entry has no limit. A fixed number stands as it is written.

    `ours` is what our own instances hold on each: as `Devices.used_by` says, and as the scheduler counts it for devices
    that cannot tell; a device that is not in it holds nothing of ours. Ask for it after `devices` were read: a load
    that goes on meanwhile then looks a little smaller to others, never larger. Devices in `gone` were there once:
    nothing can be loaded on them, which is not the same as no limit.
    """
    found = {}
    for device in devices:
        amount = spec.amount(device.name)
        if amount == "auto":
            others = others_bytes(device, devices, ours)
            amount = max(0, device.total_bytes - spec.reserved(device.name) - others)
        if amount is not None:
            found[device.name] = amount
    for name in gone:
        found[name] = 0
    return found


def others_bytes(device: DeviceMemory, devices: Sequence[DeviceMemory], ours: Mapping[str, int]) -> int:
    """
    What programs that are not ours use of it.

    A list that an engine printed is of before ours were loaded, and is not read again: nothing in it is ours.
    """
    if device.source == LISTED:
        return device.total_bytes - device.free_bytes
    return max(0, device.total_bytes - device.free_bytes - _held(device, devices, ours))


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


class HostBudgets:
    """What the scheduler may spend on this host: what the operator allows (`spec`) of what was read `last`."""

    def __init__(self, spec: MemorySpec, last: Callable[[], Snapshot]) -> None:
        self.spec = spec
        self.in_force: Mapping[str, int] = {}
        self._last = last

    def renew(self) -> Mapping[str, int]:
        """After another reading, or for another `spec`."""
        seen = self._last()
        self.in_force = budgets(self.spec, seen.devices, seen.ours, gone=seen.gone)
        return self.in_force

    def charged(self, needs: Mapping[str, int]) -> Mapping[str, int]:
        """See `charged`."""
        return charged(needs, self._last().devices)
