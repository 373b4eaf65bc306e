"""
RAM that a set of processes holds together: the sum of their proportional set sizes (PSS).

A page that n processes map counts 1/n in each, so what ours share among each other counts once. The kernel walks every
page table for it (15 ms a GiB of small pages, measured), so a figure is kept while the process's RSS stays where it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

KEPT_S: Final = 60.0
"""A figure older than this is read again even if the RSS has not moved: others may have let go of shared pages."""
MOST_SHARE: Final = 0.002
"""Of its time at most that a process is looked at: while its pages are walked it can map and unmap nothing."""
MOVED: Final = 0.02
"""Share of its RSS by which a process must have grown or shrunk to be read again before that."""


@dataclass(frozen=True, slots=True)
class _Seen:
    started_at: float  # tells a process from a later one with the same pid
    rss_bytes: int
    pss_bytes: int
    at: float
    took_s: float

    def stands(self, started_at: float, rss: int, now: float) -> bool:
        """Whether it is still that process, about as large, and not long ago."""
        near = abs(rss - self.rss_bytes) <= MOVED * max(self.rss_bytes, 1)
        return near and self.started_at == started_at and now - self.at < max(KEPT_S, self.took_s / MOST_SHARE)


class ProcessMemory:
    """Remembers what it has read; one for a host."""

    def __init__(self, root: Path = Path("/"), *, now: Callable[[], float] = time.monotonic) -> None:
        self._root = root
        self._now = now
        self._seen: dict[int, _Seen] = {}

    def used_by(self, pids: Iterable[int]) -> int:
        """Bytes; processes that are gone count nothing."""
        total, most_shared = 0, 0
        wanted = set(pids)
        for pid in wanted:
            try:
                process = psutil.Process(pid)
                with process.oneshot():
                    memory, started_at = process.memory_info(), process.create_time()
            except psutil.Error:  # it ended while we looked, or is none of ours
                continue
            pss = self._pss(pid, started_at, memory.rss)
            if pss is None:
                # Not ours to read. What it shares may be the same pages for all of them: count the most, once.
                shared = min(getattr(memory, "shared", 0), memory.rss)
                total, most_shared = total + memory.rss - shared, max(most_shared, shared)
            else:
                total += pss
        self._seen = {pid: seen for pid, seen in self._seen.items() if pid in wanted}
        return total + most_shared

    def _pss(self, pid: int, started_at: float, rss: int) -> int | None:
        seen, now = self._seen.get(pid), self._now()
        if seen is not None and seen.stands(started_at, rss, now):
            return seen.pss_bytes
        pss = _rollup(self._root / f"proc/{pid}/smaps_rollup")
        if pss is not None:
            self._seen[pid] = _Seen(started_at, rss, pss, now, self._now() - now)
        return pss


def _rollup(path: Path) -> int | None:
    """`Pss:` of a process; None where the kernel does not have it, or does not show it to us."""
    try:
        text = path.read_text("ascii", "replace")
    except OSError:
        return None
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3 and words[0] == "Pss:" and words[1].isdigit():
            return int(words[1]) * 1024
    return None
