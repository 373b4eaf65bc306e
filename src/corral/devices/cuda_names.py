"""
Which GPU is `CUDA0`: the numbers that CUDA gives, worked out from what NVML sees and the environment. Pure.

Corral starts engines with CUDA_DEVICE_ORDER=PCI_BUS_ID, so CUDA counts in the order of NVML and `nvidia-smi`, not by
speed. CUDA_VISIBLE_DEVICES then chooses and reorders: numbers, or the beginnings of UUIDs. The rules are CUDA's own
(Programming Guide, "CUDA Environment Variables"; MIG User Guide, "CUDA Device Enumeration").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Unit(NamedTuple):
    """A GPU, or a MIG instance of one. `uuid` "" is one that no longer answers; it keeps its number."""

    uuid: str
    bus_id: str
    mig: bool = False


def visible(units: Sequence[Unit], env: Mapping[str, str]) -> list[int]:
    """Positions in `units` (in PCI order, instances after their GPU's place) of CUDA0, CUDA1, ..."""
    whole = [position for position, unit in enumerate(units) if not unit.mig]
    # CUDA uses one MIG instance only, and takes it only where no whole GPU is left.
    usual = whole or [position for position, unit in enumerate(units) if unit.mig][:1]
    chosen = env.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return usual
    found: list[int] = []
    for word in chosen.split(","):
        position = _position(word.strip(), units, usual)
        if position is None:  # the first that is not there ends the list
            break
        if position in found:  # named twice: CUDA then has no device at all
            return []
        found.append(position)
    instances = [position for position in found if units[position].mig]
    return instances[:1] if instances else found


def _position(word: str, units: Sequence[Unit], usual: Sequence[int]) -> int | None:
    if word.isdecimal():
        return usual[int(word)] if int(word) < len(usual) else None
    if not word.startswith(("GPU-", "MIG-")):
        return None
    matches = [position for position, unit in enumerate(units) if unit.uuid.startswith(word)]
    return matches[0] if len(matches) == 1 else None
