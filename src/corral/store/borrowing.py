"""
Files that another program has fetched already, taken into the store without a copy: by a hard link, once their hash
is seen to be right.

Programs that cache models put new content under new names, so what is linked stays as it is; its space is free again
when both have removed it. Where a link cannot be (another disk, another owner), the file is fetched.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from corral.contracts.fetching import Plan, Progress, RemoteFile, Told
from corral.domain.errors import StoreFailed
from corral.store.fetch import origin
from corral.store.fetch.disk import Beside, Disk, Folder, place, sha256_of
from corral.store.fetch.lock import lock
from corral.store.fetch.origin import Origin
from corral.store.fetch.rules import shown

logger = logging.getLogger(__name__)

Found = Callable[[str, int], Path | None]
"""A file of another program by its SHA-256 and size; what that program says of it is not relied on."""


def borrow(root: Path, plan: Plan, found: Found, told: Told, stop: Callable[[], bool]) -> None:
    """Link what is missing of a plan and found elsewhere; what cannot be linked is left for the fetch."""
    for file in plan.files:
        if not file.sha256 or file.size_bytes is None or os.path.lexists(root / file.path):
            continue
        there = found(file.sha256, file.size_bytes)
        if there is not None:
            try:
                _link(root, plan, file, Path(os.path.realpath(there)), told, stop)
            except (OSError, StoreFailed) as error:
                logger.info("%s is in %s and cannot be linked: %s", file.path, there, error)


def _link(root: Path, plan: Plan, file: RemoteFile, there: Path, told: Told, stop: Callable[[], bool]) -> None:
    folders, name = place(file.path)
    beside = Beside.of(name)
    with Disk().folder(root, folders, make=True) as folder, lock(folder, beside) as mine:
        if not mine or folder.stat(name) is not None or folder.stat(beside.part) is not None:
            return  # somebody fetches it, or has begun to
        if there.stat().st_dev != os.fstat(folder.fd).st_dev or not _right(there, file, plan, told, stop):
            return
        folder.remove(beside.origin)  # of a file that was here once
        os.link(there, name, dst_dir_fd=folder.fd, follow_symlinks=False)
        _say(folder, beside, plan, file)
        logger.info("%s: linked to %s", file.path, there)


def _right(there: Path, file: RemoteFile, plan: Plan, told: Told, stop: Callable[[], bool]) -> bool:
    done, files = 0, len(plan.files)

    def hashed(more: int) -> None:
        nonlocal done
        done += more
        size, short = file.size_bytes, file.path.rpartition("/")[2]
        told(Progress(done, size, 0.0, 0, files, short, "verifying", file.path, done, size))

    fd = os.open(there, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return os.fstat(fd).st_size == file.size_bytes and sha256_of(fd, stop, hashed) == file.sha256
    finally:
        os.close(fd)


def _say(folder: Folder, beside: Beside, plan: Plan, file: RemoteFile) -> None:
    assert file.size_bytes is not None
    origin.save(
        folder,
        beside,
        Origin(
            origin.VERSION,
            str(plan.reference),
            shown(file.url),
            file.size_bytes,
            file.sha256,
            "",
            round(time.time(), 3),
            plan.licence,
            file.role.value,
        ),
    )
    folder.sync()
