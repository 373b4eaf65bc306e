"""
Bytes of an AMD GPU by process: the kernel's accounting of DRM clients, and that of its compute driver.

Newer kernels count compute memory among the DRM client's as well, older ones only in the compute driver's own files. So
the larger of the two is a process's share, not their sum.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

_UNITS: Final = {"": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def held_by(pids: Collection[int], pci: str, kfd_id: str, *, gtt: bool, root: Path = Path("/")) -> int | None:
    """Bytes of one GPU, in VRAM and (for an APU that lives there) the GTT; None when no process can be looked at."""
    regions = ("vram", "gtt") if gtt else ("vram",)
    clients: dict[str, int] = {}  # processes that share a client, after a fork, share its bytes
    compute = drm = 0
    looked = not pids
    for pid in pids:
        of_kfd = _kfd(root / f"sys/class/kfd/kfd/proc/{pid}/vram_{kfd_id}") if kfd_id else None
        mine = _clients(root / f"proc/{pid}", pci, regions)
        looked = looked or mine is not None or of_kfd is not None
        compute += of_kfd or 0
        for client, size in (mine or {}).items():
            drm += max(0, size - clients.get(client, 0))
            clients[client] = max(size, clients.get(client, 0))
    return max(compute, drm) if looked else None


def _kfd(path: Path) -> int | None:
    try:
        text = path.read_text("ascii", "replace").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def _clients(process: Path, pci: str, regions: Iterable[str]) -> dict[str, int] | None:
    """Bytes by DRM client of this GPU; None for a process that is gone or not ours to read."""
    try:
        names = os.listdir(process / "fdinfo")
        devices = {name for name in os.listdir(process / "fd") if _is_drm(process / "fd" / name)}
    except OSError:
        return None
    found: dict[str, int] = {}
    for name in names:
        if name in devices:
            client, size = _client(process / "fdinfo" / name, pci, regions)
            if client:
                found[client] = max(size, found.get(client, 0))
    return found


def _is_drm(path: Path) -> bool:
    try:
        return os.readlink(path).startswith("/dev/dri/")
    except OSError:  # closed while we looked
        return False


def _client(path: Path, pci: str, regions: Iterable[str]) -> tuple[str, int]:
    try:
        lines = path.read_text("ascii", "replace").splitlines()
    except OSError:
        return "", 0
    facts = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    if facts.get("drm-pdev", [""])[:1] != [pci]:
        return "", 0
    size = 0
    for region in regions:
        words = facts.get(f"drm-resident-{region}") or facts.get(f"drm-memory-{region}") or ["0"]
        if words[0].isdecimal():
            size += int(words[0]) * _UNITS.get(words[1] if len(words) > 1 else "", 1)
    return (facts.get("drm-client-id") or [path.name])[0], size
