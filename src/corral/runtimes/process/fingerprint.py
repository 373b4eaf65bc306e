"""What this host can do for plain processes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from corral.contracts.runtime import Fingerprint

_CGROUP = Path("/sys/fs/cgroup")


def fingerprint() -> Fingerprint:
    """Never raises; reads a few small files."""
    if not hasattr(os, "fork"):
        return Fingerprint("process", False, "This system has no fork: use WSL, or run engines in containers.")
    linux = sys.platform == "linux"
    attributes: dict[str, str | int | bool] = {
        "platform": sys.platform,
        "cores": len(os.sched_getaffinity(0)) if linux else os.cpu_count() or 1,
        "subreaper": linux,
        "parent_death_signal": linux,
        "cgroup": _cgroup_version(),
    }
    limit = memory_limit_bytes()
    if limit is not None:
        attributes["memory_limit_bytes"] = limit
    return Fingerprint("process", True, attributes=attributes)


def _cgroup_version() -> int:
    """2, 1, or 0 for none. A hybrid with the memory controller in v1 is 1."""
    if (_CGROUP / "cgroup.controllers").exists():
        return 2
    return 1 if (_CGROUP / "memory").is_dir() else 0


def memory_limit_bytes(proc_cgroup: Path = Path("/proc/self/cgroup"), mount: Path = _CGROUP) -> int | None:
    """The smallest memory limit of our cgroup and those above it; None for no limit."""
    limits: list[int] = []
    for controllers, group in _groups(proc_cgroup):
        if controllers == "":
            root, name = mount, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = mount / "memory", "memory.limit_in_bytes"
        else:
            continue
        folder = root / group.lstrip("/")
        while True:  # up to the mount, which in a container is our own group
            limits += _limit(folder / name)
            if folder in (root, folder.parent):
                break
            folder = folder.parent
    return min(limits, default=None)


def _groups(proc_cgroup: Path) -> list[tuple[str, str]]:
    try:
        lines = proc_cgroup.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    parts = [line.split(":", 2) for line in lines]
    return [(part[1], part[2]) for part in parts if len(part) == 3]


def _limit(path: Path) -> list[int]:
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return []
    # v2 says "max" for no limit; v1 says a number near 2**63.
    return [int(text)] if text.isdigit() and int(text) < 2**60 else []
