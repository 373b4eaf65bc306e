"""What this host can do for plain processes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from corral.contracts.runtime import Fingerprint
from corral.kit.cgroup import limited_groups

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
    limits = [group.limit_bytes for group in limited_groups()]
    if limits:
        attributes["memory_limit_bytes"] = min(limits)
    return Fingerprint("process", True, attributes=attributes)


def _cgroup_version() -> int:
    """2, 1, or 0 for none. A hybrid with the memory controller in v1 is 1."""
    if (_CGROUP / "cgroup.controllers").exists():
        return 2
    return 1 if (_CGROUP / "memory").is_dir() else 0
