"""What a tree of processes takes, and where it listens."""

from __future__ import annotations

import socket
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


def listening(pids: Iterable[int]) -> tuple[str, ...]:
    """Where they listen: `127.0.0.1:8080`, `[::]:8080`, `unix:/path`. What we may not look at is left out."""
    found: set[str] = set()
    for pid in pids:
        try:
            sockets = psutil.Process(pid).net_connections(kind="all")
        except psutil.Error:
            continue
        for each in sockets:
            if each.status == psutil.CONN_LISTEN and each.laddr:
                host, port = each.laddr[0], each.laddr[1]
                found.add(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
            elif each.family == socket.AF_UNIX and str(each.laddr).startswith("/"):
                found.add(f"unix:{each.laddr}")
    return tuple(sorted(found))
