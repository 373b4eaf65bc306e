"""
RAM: what the machine has, or the cgroup allows where that is less.

Pages of a file count as used while somebody maps them and as free when nobody does. So a model that is read with mmap
takes its memory while it runs, although the kernel calls those pages available; and it takes none once it is unloaded,
although they stay in the page cache.
"""

from __future__ import annotations

from pathlib import Path

import psutil

from corral.domain.devices import RAM, DeviceMemory
from corral.kit.cgroup import limited_groups


class RamReader:
    """Reads below `root`, which is a parameter for tests. Costs a tenth of a millisecond and wakes nothing."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def read(self) -> DeviceMemory:
        """RAM now; a limit that was changed since the last call is seen."""
        total, free = self._machine()
        source = "machine"
        for group in limited_groups(self._root):
            if group.limit_bytes < total:
                total, source = group.limit_bytes, "cgroup"
            free = min(free, group.limit_bytes - group.used_bytes)
        return DeviceMemory(RAM, total, max(0, min(free, total)), source=source)

    def _machine(self) -> tuple[int, int]:
        """Total, and what is free by the meaning above."""
        found = _meminfo(self._root / "proc/meminfo")
        if not {"MemTotal", "MemAvailable"} <= found.keys():  # not Linux
            memory = psutil.virtual_memory()
            return int(memory.total), int(memory.available)
        cached = found.get("Active(file)", 0) + found.get("Inactive(file)", 0)
        # Mapped counts shared memory too, which is not among the available pages to begin with.
        mapped = max(0, found.get("Mapped", 0) - found.get("Shmem", 0))
        return found["MemTotal"], max(0, found["MemAvailable"] - min(mapped, cached))


def _meminfo(path: Path) -> dict[str, int]:
    """Bytes by name; {} where there is no such file."""
    try:
        lines = path.read_text("ascii", "replace").splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        name, _, value = line.partition(":")
        number = value.split()
        if len(number) == 2 and number[0].isdigit() and number[1] == "kB":
            found[name] = int(number[0]) * 1024
    return found
