"""
Devices that an engine lists, next to those that a reader sees.

A device of the same name is the reader's: its figures are of now, the engine's of when it was asked. One GPU has
another name in another build, `CUDA0` for CUDA and `Vulkan0` for Vulkan. It goes by the name that the engines here use;
where they use both, the second is `part_of` the first, so that its bytes are counted once.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from corral.domain.devices import RAM, DeviceMemory

_CLOSE: Final = 0.06
"""Share by which totals of one GPU differ between its driver, which hides a reserve, and an engine."""
_UNIFIED: Final = re.compile(r"MTL\d*$")
"""GPUs that have no memory of their own wherever they are."""


_AMD_READER: Final = "sysfs"
_AMD: Final = re.compile(r"\b(AMD|Radeon|RADV)\b", re.IGNORECASE)


class Merged(NamedTuple):
    """All devices, and what readers' devices are called now that engines have been heard."""

    devices: tuple[DeviceMemory, ...]
    names: Mapping[str, str]


def merged(seen: Sequence[DeviceMemory], listed: Sequence[DeviceMemory]) -> Merged:
    """What readers see, then what only engines list."""
    spoken = {device.name for device in listed}
    native = {device.name for device in seen}
    twins = _twins(seen, [device for device in listed if device.name not in native])
    devices = {device.name: device for device in seen}  # by the reader's name
    extra: list[DeviceMemory] = []
    for device in listed:
        if device.name in native:
            continue
        twin = twins.get(device.name)
        if twin is None:
            extra.append(dataclasses.replace(device, part_of=RAM if _UNIFIED.match(device.name) else device.part_of))
        elif twin.name not in spoken and devices[twin.name].name == twin.name:
            devices[twin.name] = _called(device, twin)
        else:
            extra.append(dataclasses.replace(_called(device, twin), part_of=devices[twin.name].name))
    return Merged((*devices.values(), *extra), {name: device.name for name, device in devices.items()})


def _twins(seen: Sequence[DeviceMemory], listed: Sequence[DeviceMemory]) -> dict[str, DeviceMemory]:
    """The reader's device for each that an engine lists by another name; a reader's has one twin in each family."""
    found: dict[str, DeviceMemory] = {}
    taken: set[tuple[str, str]] = set()
    for same in (_same, _same_apu):  # an APU is what is left when every card has found its own
        for device in listed:
            family = device.name.rstrip("0123456789")
            if device.name not in found:
                twin = next((each for each in seen if (family, each.name) not in taken and same(each, device)), None)
                if twin is not None:
                    taken.add((family, twin.name))
                    found[device.name] = twin
    return found


def _called(listed: DeviceMemory, seen: DeviceMemory) -> DeviceMemory:
    """The reader's device by the engine's name, with no more memory than the engine can have of it."""
    if not seen.part_of or listed.total_bytes >= seen.total_bytes:
        return dataclasses.replace(seen, name=listed.name)
    used = seen.total_bytes - seen.free_bytes
    free = max(0, min(seen.free_bytes, listed.total_bytes - used))
    return dataclasses.replace(seen, name=listed.name, total_bytes=listed.total_bytes, free_bytes=free)


def _same(seen: DeviceMemory, listed: DeviceMemory) -> bool:
    if abs(seen.total_bytes - listed.total_bytes) > _CLOSE * max(seen.total_bytes, listed.total_bytes):
        return False
    words, others = (set(re.findall(r"[a-z0-9]{2,}", each.description.lower())) for each in (seen, listed))
    return not words or not others or bool(words & others)


def _same_apu(seen: DeviceMemory, listed: DeviceMemory) -> bool:
    """
    AMD's GPUs in RAM, by their maker alone: Vulkan's heaps have a size of their own.

    RADV shows two thirds of VRAM and GTT together, 80 GB where the GTT has 120; other drivers show other shares.
    """
    return seen.part_of == RAM and seen.source == _AMD_READER and bool(_AMD.search(listed.description))
