"""How much RAM this process may count on: the machine's, or its cgroup's limit where that is lower."""

from __future__ import annotations

from pathlib import Path

import psutil

from corral.kit.cgroup import limited_groups


def memory_limit(root: str = "/") -> int:
    """Bytes. Reads the files below `root` (a parameter for tests) and falls back to the machine's total."""
    limits = [group.limit_bytes for group in limited_groups(Path(root))]
    return min([int(psutil.virtual_memory().total), *limits])
