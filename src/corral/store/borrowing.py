"""
Files that another program has fetched already, used by the store without a copy, once their hash is seen to be right.

By a hard link: programs that cache models put new content under new names, so what is linked stays as it is, and its
space is free again when both have removed it. Where a hard link cannot be (another disk, another owner), by a symbolic
one, which leads nowhere once the other program removes its file: the model is fetched again then.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from corral.contracts.fetching import Plan, Progress, RemoteFile, Told
from corral.domain.errors import FetchStopped, StoreFailed, WrongContent
from corral.store.fetch import journal, linked, origin
from corral.store.fetch.disk import Beside, Disk, Folder, disk_errors, is_same, place, sha256_of
from corral.store.fetch.lock import lock, telling
from corral.store.fetch.origin import Origin
from corral.store.fetch.rules import shown
from corral.store.gguf.reader import read_header
from corral.store.shelf import origin as kept
from corral.store.sources.cached import local_path

logger = logging.getLogger(__name__)

Found = Callable[[str, int], Path | None]
"""A file of another program by its SHA-256 and size; what that program says of it is not relied on."""

_NO_HARD_LINK: Final = (errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOTSUP)


def borrow(root: Path, plan: Plan, found: Found, told: Told, stop: Callable[[], bool]) -> None:
    """
    Link what is missing of a plan and found elsewhere; what cannot be linked is left for the fetch.

    What the plan itself has elsewhere must be right, because it can be had nowhere else: raises StoreFailed.
    """
    for file in plan.files:
        if linked.is_there(root / file.path):
            continue
        there = local_path(file)
        try:
            if there is not None:
                _link(root, plan, file, Path(os.path.realpath(there)), told, stop)
            elif file.sha256 and file.size_bytes is not None:
                there = found(file.sha256, file.size_bytes)
                if there is not None:
                    _link(root, plan, file, Path(os.path.realpath(there)), told, stop)
        except FetchStopped:
            raise
        except StoreFailed as error:
            if plan.unasked:
                raise
            logger.info("%s is in %s and cannot be used from there: %s", file.path, there, error)


def used_from(path: Path) -> str:
    """The file of another program that a file of the store is a link to; "" for any other. Raises StoreFailed."""
    said = kept.read(path.parent, path.name)
    return said.linked if said is not None else ""


def _link(root: Path, plan: Plan, file: RemoteFile, there: Path, told: Told, stop: Callable[[], bool]) -> None:
    folders, name = place(file.path)
    beside = Beside.of(name)
    with Disk().folder(root, folders, make=True) as folder, lock(folder, beside) as mine:
        if not mine or not _free(folder, beside):
            return  # somebody fetches it, or has put another file there
        with disk_errors(f"{there} cannot be used in place"):
            status, digest = _looked_at(there, file, plan, telling(folder, beside, told), stop)
            folder.remove(beside.name)
            folder.remove(beside.origin)  # of a file that was here once
            symbolic = _made(folder, name, there)
            if not is_same(status, os.stat(name, dir_fd=folder.fd)):  # the path may lead to another file by now
                folder.remove(beside.name)
                raise _not_it(there)
            said = Origin(
                origin.VERSION,
                str(plan.reference),
                shown(file.url),
                status.st_size,
                digest,
                fetched_at=round(time.time(), 3),
                licence=plan.licence,
                role=file.role.value,
                linked=str(there),
                linked_mtime_ns=status.st_mtime_ns if symbolic else 0,
            )
            origin.save(folder, beside, said)
            folder.sync()
            journal.discard(folder, beside, part=True)  # of a fetch that was given up
        logger.info("%s: used in place from %s", file.path, there)


def _free(folder: Folder, beside: Beside) -> bool:
    """Nothing is there, or a link of ours that leads nowhere by now, or to another file."""
    if folder.stat(beside.name) is None:
        return True
    said = origin.load(folder, beside)
    return said is not None and bool(said.linked) and folder.is_link(beside.name)


def _looked_at(
    there: Path, file: RemoteFile, plan: Plan, told: Told, stop: Callable[[], bool]
) -> tuple[os.stat_result, str]:
    """What it is now. Raises OSError, FetchStopped, WrongContent and BadGguf."""
    done, files = 0, len(plan.files)

    def hashed(more: int) -> None:
        nonlocal done
        done += more
        size, short = file.size_bytes, file.path.rpartition("/")[2]
        told(Progress(done, size, 0.0, 0, files, short, "verifying", file.path, done, size))

    fd = os.open(there, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        status = os.fstat(fd)
        if status.st_size == file.size_bytes:
            digest = sha256_of(fd, stop, hashed)
            if not digest:
                raise FetchStopped()
            if not file.sha256:  # nobody vouches for it: it must at least be a whole model file
                read_header(there)
            if digest == file.sha256 or not file.sha256:
                return status, digest
    finally:
        os.close(fd)
    raise _not_it(there)


def _not_it(there: Path) -> WrongContent:
    return WrongContent(
        f"{there} is not what it is kept as: its content has changed.",
        hint="Remove it with the program that keeps it, and fetch it again.",
    )


def _made(folder: Folder, name: str, there: Path) -> bool:
    """Make the link; whether it is a symbolic one. Raises OSError."""
    try:
        os.link(there, name, dst_dir_fd=folder.fd, follow_symlinks=False)
        return False
    except OSError as error:
        if error.errno not in _NO_HARD_LINK:
            raise
    os.symlink(there, name, dir_fd=folder.fd)
    return True
