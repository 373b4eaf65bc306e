"""
Leftovers: processes of this state directory whose keeper is dead, and files that belong to no handle.

Only processes with this directory's mark (a random id in their environment) are ever touched, or the very process that
a handle names: same boot, same pid, same start time.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Collection, Mapping
from typing import Any

from corral.domain.launch import Handle
from corral.runtimes.process.keeper import procs
from corral.runtimes.process.places import Places, short_slug, slug

LOGS_KEPT_BYTES = 256 * 1024 * 1024


def alive(data: Mapping[str, Any]) -> bool:
    """Whether the very process that a handle names is there still."""
    start = data.get("start_ticks", 0)
    return bool(start) and data.get("boot_id") == procs.boot_id() and procs.start_ticks(int(data["pid"])) == start


async def kill_leftovers(
    state_id: str, *, instance: str = "", handle: Handle | None = None, timeout_s: float = 5.0
) -> int:
    """
    Kill what is left of a dead keeper's engines (of one instance). Returns how many processes would not die in time.

    Call it only while no keeper runs, or for an instance that the keeper does not know.
    """
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        found = procs.marked(state_id, instance)
        if handle is not None and alive(handle.data):
            found[int(handle.data["pid"])] = int(handle.data["start_ticks"])
        for pid, start in found.items():
            procs.kill_exact(pid, start)
        if not found or asyncio.get_running_loop().time() >= deadline:
            return len(found)
        await asyncio.sleep(0.01)


def clear_files(places: Places, instances: Collection[str]) -> None:
    """Remove scratch folders and sockets that belong to none of the instances, and the oldest logs beyond a limit."""
    names = {slug(instance) for instance in instances}
    for folder in places.scratch.iterdir():
        if folder.name not in names:
            shutil.rmtree(folder, ignore_errors=True)
    for path in places.sockets.glob("*.sock") if places.sockets else ():
        if path.stem not in names | {short_slug(instance) for instance in instances}:
            path.unlink(missing_ok=True)
    prune_logs(places, instances)


def prune_logs(places: Places, instances: Collection[str]) -> None:
    """Delete the oldest logs, not those of the instances, while all together are too large."""
    names = {slug(instance) for instance in instances}
    files = [(path.stat(), path) for path in places.logs.glob("*.log")]
    total = 0
    for found, path in sorted(files, key=lambda entry: entry[0].st_mtime, reverse=True):
        total += found.st_size
        if total > LOGS_KEPT_BYTES and path.name.rsplit(".", 2)[0] not in names:
            path.unlink(missing_ok=True)
