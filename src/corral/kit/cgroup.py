"""
What the control groups of this process allow and use: version 1, version 2 and mixed, read anew at every call.

A limit anywhere between our group and the top counts. In a container the top is our own group, whatever path
`/proc/self/cgroup` says, because only what is mounted can be read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_UNLIMITED: Final = 1 << 60
"""Version 1 writes "no limit" as a number near 2**63."""


@dataclass(frozen=True, slots=True)
class GroupMemory:
    """
    One group with a limit. `used_bytes` is what its processes need to keep.

    Page cache that nobody maps is not in it: the kernel drops it before it refuses memory. Mapped file pages are, since
    they are the weights of engines that read them with mmap.
    """

    limit_bytes: int
    used_bytes: int


def limited_groups(root: Path = Path("/")) -> list[GroupMemory]:
    """Groups of this process that have a memory limit, ours first. `root` is a parameter for tests."""
    found = []
    for folder, version in _folders(root):
        limit = _limit_v2(folder) if version == 2 else _limit_v1(folder)
        if limit is not None:
            used = _used_v2(folder) if version == 2 else _used_v1(folder)
            found.append(GroupMemory(limit, max(0, used)))
    return found


def _folders(root: Path) -> Iterator[tuple[Path, int]]:
    """This process's memory groups and all above them, with the version of their files."""
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8", "replace").splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, found, name = rest.partition(":")
        if not found:
            continue
        if controllers == "":
            base, version = root / "sys/fs/cgroup", 2
        elif "memory" in controllers.split(","):
            base, version = root / "sys/fs/cgroup/memory", 1
        else:
            continue
        parts = [part for part in name.split("/") if part]
        if ".." in parts:  # a group outside of what our namespace shows: only the mount itself is ours
            parts = []
        for depth in range(len(parts), -1, -1):
            yield base.joinpath(*parts[:depth]), version


def _limit_v2(folder: Path) -> int | None:
    # Above memory.high processes are slowed down until they crawl, which for an engine is as bad as the hard limit.
    stated = (_size(folder / name) for name in ("memory.max", "memory.high"))
    return min((size for size in stated if size is not None), default=None)


def _limit_v1(folder: Path) -> int | None:
    stated = [_size(folder / "memory.limit_in_bytes"), _stat(folder).get("hierarchical_memory_limit")]
    return min((size for size in stated if size is not None and size < _UNLIMITED), default=None)


def _used_v2(folder: Path) -> int:
    stat = _stat(folder)
    cache = stat.get("inactive_file", 0) + stat.get("active_file", 0) - stat.get("file_mapped", 0)
    return (_size(folder / "memory.current") or 0) - max(0, cache) - stat.get("slab_reclaimable", 0)


def _used_v1(folder: Path) -> int:
    stat = _stat(folder)
    names = ("total_inactive_file", "total_active_file", "total_mapped_file")
    inactive, active, mapped = (stat.get(name, 0) for name in names)
    return (_size(folder / "memory.usage_in_bytes") or 0) - max(0, inactive + active - mapped)


def _size(path: Path) -> int | None:
    """None for a file that is not there, `max`, and what version 1 writes for no limit."""
    try:
        text = path.read_text("ascii", "replace").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() and int(text) < _UNLIMITED else None


def _stat(folder: Path) -> dict[str, int]:
    try:
        lines = (folder / "memory.stat").read_text("ascii", "replace").splitlines()
    except OSError:
        return {}
    pairs = (line.split() for line in lines)
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}
