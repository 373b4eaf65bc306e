"""What a tree of processes takes."""

from __future__ import annotations

from collections.abc import Iterable

import psutil

from corral.contracts.runtime import Usage


def of(pids: Iterable[int]) -> Usage | None:
    """
    Their memory and CPU time together; None when none of them is there any more.

    Pages that several of them map (forked workers, weights read with mmap) count once for each.
    """
    rss = 0
    cpu = 0.0
    found = []
    for pid in pids:
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                rss += process.memory_info().rss
                times = process.cpu_times()
                cpu += times.user + times.system
        except psutil.Error:  # it ended while we looked
            continue
        found.append(pid)
    return Usage(rss_bytes=rss, cpu_s=cpu, pids=tuple(found)) if found else None
