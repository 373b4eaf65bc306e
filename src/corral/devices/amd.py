"""
AMD GPUs through the files of the kernel's driver (amdgpu): no library, no daemon, and nothing is woken.

An APU has a carve-out of RAM as VRAM and may use much of the rest through the GTT. The kernel gives every allocation to
the larger of the two (`apu_prefer_gtt`, since Linux 6.10), and so does this: with the larger carve-out it is a GPU with
a memory of its own, else its memory is the GTT, which comes out of RAM.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from corral.devices.amd_processes import held_by
from corral.domain.devices import RAM, Activity, DeviceMemory

_AMD: Final = "0x1002"
_SMALL_VRAM: Final = 4 * 1024**3
"""Without the driver's own word a card with less VRAM than this, and less than GTT, is taken for an APU."""


@dataclass(frozen=True, slots=True)
class _Card:
    """One GPU of the driver. `node` is its place among the compute nodes, None where ROCm cannot use it."""

    folder: Path
    pci: str
    node: int | None
    kfd_id: str
    chip: str


class AmdSysfs:
    """Implements `devices.host.GpuReader`. Reads below `root`, which is a parameter for tests."""

    name = "amdgpu"

    def __init__(self, env: Mapping[str, str] = os.environ, *, root: Path = Path("/")) -> None:
        self._env = env
        self._root = root
        self._numbered: dict[str, tuple[_Card, bool]] = {}

    def read(self, ram: DeviceMemory) -> Sequence[DeviceMemory]:
        """ROCm0, ROCm1, ... in the order of the compute nodes, as ROCm counts."""
        cards = _chosen(sorted(self._cards(), key=_order), self._env)
        self._numbered = {}
        found = []
        for number, card in enumerate(cards):
            name = f"ROCm{number}"
            memory = _memory(name, card)
            if memory is not None:
                self._numbered[name] = card, memory.part_of == RAM
                found.append(memory)
        return found

    def used_by(self, pids: frozenset[int]) -> Mapping[str, int]:
        """By what the kernel shows in the processes' folders."""
        found = {}
        for name, (card, unified) in self._numbered.items():
            held = held_by(pids, card.pci, card.kfd_id, gtt=unified, root=self._root)
            if held is not None:
                found[name] = held
        return found

    def _cards(self) -> Iterator[_Card]:
        nodes = _nodes(self._root / "sys/class/kfd/kfd/topology/nodes")
        drm = self._root / "sys/class/drm"
        try:
            names = sorted(os.listdir(drm))
        except OSError:
            return
        for name in names:
            if not name.removeprefix("card").isdecimal():  # connectors are card0-DP-1
                continue
            folder = drm / name / "device"
            if _text(folder / "vendor") != _AMD or _number(folder / "mem_info_vram_total") is None:
                continue
            pci = os.path.basename(os.path.realpath(folder))
            node, kfd_id, chip = nodes.get(pci.lower(), (None, "", ""))
            yield _Card(folder, pci, node, kfd_id, chip)


def _order(card: _Card) -> tuple[bool, int, str]:
    return card.node is None, card.node or 0, card.pci


def _chosen(cards: list[_Card], env: Mapping[str, str]) -> list[_Card]:
    """ROCm's own filters: ROCR_VISIBLE_DEVICES chooses first, HIP_VISIBLE_DEVICES counts in what is left."""
    hip = env.get("HIP_VISIBLE_DEVICES", env.get("CUDA_VISIBLE_DEVICES"))  # HIP takes either
    for words in (env.get("ROCR_VISIBLE_DEVICES"), hip):
        if words is None:
            continue
        chosen: list[_Card] = []
        for word in (part.strip() for part in words.split(",")):
            match = [card for number, card in enumerate(cards) if word in (str(number), _unique(card))]
            if len(match) != 1 or match[0] in chosen:  # the first that is not there ends the list
                break
            chosen.append(match[0])
        cards = chosen
    return cards


def _unique(card: _Card) -> str:
    return f"GPU-{_text(card.folder / 'unique_id') or card.pci}"


def _memory(name: str, card: _Card) -> DeviceMemory | None:
    """None for one that is gone: its folder stays a moment longer than its answers."""
    sizes = {
        kind: (_number(card.folder / f"mem_info_{kind}_total"), _number(card.folder / f"mem_info_{kind}_used"))
        for kind in ("vram", "gtt")
    }
    unified = _is_unified(card, sizes["vram"][0] or 0, sizes["gtt"][0] or 0)
    total, used = sizes["gtt" if unified else "vram"]
    if total is None or used is None:
        return None
    what = _text(card.folder / "product_name") or " ".join(("AMD GPU", card.chip)).strip()
    part_of = RAM if unified else ""
    return DeviceMemory(name, total, max(0, total - used), what, card.pci, "sysfs", part_of, _activity(card.folder))


def _is_unified(card: _Card, vram: int, gtt: int) -> bool:
    if gtt <= vram:
        return False
    try:
        with open(card.folder / "gpu_metrics", "rb") as file:
            header = file.read(4)
    except OSError:
        header = b""
    if len(header) == 4:
        # Tables of version 1 are those of cards; APUs have 2 and 3 (kgd_pp_interface.h).
        return header[2] >= 2
    return vram < _SMALL_VRAM


def _activity(folder: Path) -> Activity:
    if _text(folder / "power/runtime_status") == "suspended":  # a question would wake it
        return Activity()
    busy = _number(folder / "gpu_busy_percent")
    sensors = sorted((folder / "hwmon").glob("hwmon*"))[:1]
    temperature = _number(sensors[0] / "temp1_input") if sensors else None
    power = next(
        (found for name in ("power1_average", "power1_input") if sensors and (found := _number(sensors[0] / name))),
        None,
    )
    return Activity(
        None if busy is None else busy / 100,
        None if temperature is None else temperature / 1000,
        None if power is None else power / 1_000_000,
    )


def _nodes(folder: Path) -> dict[str, tuple[int, str, str]]:
    """PCI address -> place, id and chip of a compute node. Needs no rights; {} without the compute driver."""
    found = {}
    try:
        numbers = sorted(int(name) for name in os.listdir(folder) if name.isdecimal())
    except OSError:
        return {}
    for number in numbers:
        lines = (line.split() for line in _text(folder / str(number) / "properties").splitlines())
        facts = {line[0]: int(line[1]) for line in lines if len(line) == 2 and line[1].isdecimal()}
        if not facts.get("simd_count"):  # a processor
            continue
        location, domain = facts.get("location_id", 0), facts.get("domain", 0)
        pci = f"{domain:04x}:{location >> 8 & 0xFF:02x}:{location >> 3 & 0x1F:02x}.{location & 7:x}"
        found[pci] = number, _text(folder / str(number) / "gpu_id"), _chip(facts.get("gfx_target_version", 0))
    return found


def _chip(version: int) -> str:
    """`gfx1151` from 110501, as the compiler writes it: the step in hexadecimal."""
    return f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}" if version else ""


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdecimal() else None
