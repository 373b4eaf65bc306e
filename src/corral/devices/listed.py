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


class Merged(NamedTuple):
    """All devices, and what readers' devices are called now that engines have been heard."""

    devices: tuple[DeviceMemory, ...]
    names: Mapping[str, str]


def merged(seen: Sequence[DeviceMemory], listed: Sequence[DeviceMemory]) -> Merged:
    """What readers see, then what only engines list."""
    spoken = {device.name for device in listed}
    native = {device.name for device in seen}
    names = {device.name: device.name for device in seen}
    extra: list[DeviceMemory] = []
    taken: set[tuple[str, str]] = set()
    for device in listed:
        if device.name in native:
            continue
        family = device.name.rstrip("0123456789")
        twin = next((each for each in seen if (family, each.name) not in taken and _same(each, device)), None)
        if twin is None:
            extra.append(dataclasses.replace(device, part_of=RAM if _UNIFIED.match(device.name) else device.part_of))
            continue
        taken.add((family, twin.name))
        if twin.name not in spoken and names[twin.name] == twin.name:
            names[twin.name] = device.name
        else:
            whole = names[twin.name]
            extra.append(dataclasses.replace(twin, name=device.name, part_of=whole))
    return Merged((*(dataclasses.replace(each, name=names[each.name]) for each in seen), *extra), names)


def _same(seen: DeviceMemory, listed: DeviceMemory) -> bool:
    if abs(seen.total_bytes - listed.total_bytes) > _CLOSE * max(seen.total_bytes, listed.total_bytes):
        return False
    words, others = (set(re.findall(r"[a-z0-9]{2,}", each.description.lower())) for each in (seen, listed))
    return not words or not others or bool(words & others)
