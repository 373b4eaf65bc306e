"""Memories that are not here: `24GiB`, `CUDA0=24GiB` and `ram=64GiB` instead of what this host has."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

from corral.domain.devices import RAM, DeviceMemory
from corral.domain.errors import BadRequest
from corral.domain.units import parse_bytes
from corral.store.fit.server import back_end

_MOST_MEMORIES: Final = 64


def imagined(there: Sequence[DeviceMemory], memory: Sequence[str]) -> list[DeviceMemory]:
    """The host with other memories, empty ones. Raises BadRequest for what is no size, and for two of one memory."""
    ram, gpus = there[0], list(there[1:])
    by_name = {device.name: device for device in gpus}
    sizes: dict[str, int] = {}
    if len(memory) > _MOST_MEMORIES:
        raise BadRequest(f"{len(memory)} memories are more than the {_MOST_MEMORIES} that can be reckoned with.")
    for text in memory:
        name, equals, size = text.rpartition("=")
        place = len([each for each in sizes if each != RAM])
        usual = gpus[place].name if place < len(gpus) else f"{back_end(gpus[0].name) if gpus else 'CUDA'}{place}"
        called = name.strip() if equals else usual
        if called in sizes:
            raise BadRequest(
                f"{text!r} is a second size for {called}.",
                hint="Name every GPU, or none: without a name a size is that of the next one.",
            )
        sizes[called] = _size(text, size)
    if RAM in sizes:
        total = sizes.pop(RAM)
        ram = dataclasses.replace(ram, total_bytes=total, free_bytes=total)
    if not sizes:
        return [ram, *gpus]
    empty = DeviceMemory("", 0, 0)
    return [
        ram,
        *(
            dataclasses.replace(by_name.get(name, empty), name=name, total_bytes=size, free_bytes=size)
            for name, size in sizes.items()
        ),
    ]


def _size(text: str, size: str) -> int:
    try:
        return parse_bytes(size)
    except ValueError:
        raise BadRequest(f"{text!r} is no memory: write 24GiB, or NAME=24GiB.") from None
