"""
Leftovers: processes of this state directory whose keeper is dead, and files that belong to no handle.

Only processes with this directory's mark (a random id in their environment) are ever touched, or the very process that
a handle names: same boot, same pid, same start time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any

from corral.domain.launch import Handle
from corral.runtimes.process.keeper import procs
from corral.runtimes.process.places import Places, short_slug, slug

logger = logging.getLogger(__name__)

LOGS_KEPT_BYTES = 256 * 1024 * 1024
LOGS_KEPT_INSTANCES = 200
PRUNE_EVERY_S = 60.0
_WRITING_S = 60.0  # nobody takes so long for a small file


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
    """Remove scratch folders and sockets that belong to none of the instances, and files that were never finished."""
    names = {slug(instance) for instance in instances}
    for folder in places.scratch.iterdir():
        if folder.name not in names:
            shutil.rmtree(folder, ignore_errors=True)
    for path in places.sockets.glob("*.sock") if places.sockets else ():
        if path.stem not in names | {short_slug(instance) for instance in instances}:
            path.unlink(missing_ok=True)
    for path in places.handles.glob("*.new"):
        # Ours begin with a dot, and nobody else writes them; the keeper may be writing one of its own right now.
        with contextlib.suppress(FileNotFoundError):
            if path.name.startswith(".") or time.time() - path.stat().st_mtime > _WRITING_S:
                path.unlink()


def prune_logs(places: Places, instances: Collection[str]) -> None:
    """
    Delete the oldest logs, not those of the instances, while all together are too large or of too many instances.

    The keeper and others unlink logs at the same time: a file that is not there any more is no error.
    """
    names = {slug(instance) for instance in instances}
    files = []
    with os.scandir(places.logs) as entries:
        for entry in entries:
            if entry.name.endswith(".log"):
                with contextlib.suppress(FileNotFoundError):
                    found = entry.stat()
                    files.append((found.st_mtime, found.st_size, entry.name))
    total = 0
    kept: set[str] = set()
    for _, size, name in sorted(files, reverse=True):
        owner = name.rsplit(".", 2)[0]
        total += size
        if len(kept) < LOGS_KEPT_INSTANCES:
            kept.add(owner)
        if (total > LOGS_KEPT_BYTES or owner not in kept) and owner not in names:
            (places.logs / name).unlink(missing_ok=True)


class LogPruner:
    """Prunes beside everything else: no stop waits for it, one runs at a time, and not often."""

    def __init__(self, places: Places, background: Callable[[Coroutine[Any, Any, None]], asyncio.Task[Any]]) -> None:
        self._places = places
        self._background = background
        self._running: asyncio.Task[Any] | None = None
        self._next_at = 0.0

    def soon(self, instances: Collection[str]) -> None:
        """Prune in the background, if that is due. The logs of these instances stay."""
        now = asyncio.get_running_loop().time()
        if now >= self._next_at and (self._running is None or self._running.done()):
            self._next_at = now + PRUNE_EVERY_S
            self._running = self._background(self._prune(list(instances)))

    async def _prune(self, instances: Collection[str]) -> None:
        try:
            await asyncio.to_thread(prune_logs, self._places, instances)
        except OSError as error:
            logger.warning("Old logs in %s cannot be deleted: %s", self._places.logs, error)
