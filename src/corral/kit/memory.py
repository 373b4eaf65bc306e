"""How much RAM this process may count on: the machine's, or its cgroup's limit where that is lower."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import psutil

_UNLIMITED: Final = 1 << 60
"""cgroup v1 writes "no limit" as a number near 2**63."""


def memory_limit(root: str = "/") -> int:
    """Bytes. Reads the files below `root` (a parameter for tests) and falls back to the machine's total."""
    limits = [psutil.virtual_memory().total]
    for path in _limit_files(Path(root)):
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        if text.isdigit() and int(text) < _UNLIMITED:
            limits.append(int(text))
    return min(limits)


def _limit_files(root: Path) -> list[Path]:
    """This process's cgroup and every one above it; a limit anywhere on the way counts."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    files = []
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers == "":
            base, leaf = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            base, leaf = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        folder = base / name.lstrip("/")
        while True:
            files.append(folder / leaf)
            if folder == base or base not in folder.parents:
                break
            folder = folder.parent
    return files
