"""One fetch of a file at a time, across threads and processes: whoever holds the lock fetches, the others follow."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator

from corral.domain.errors import StoreFailed
from corral.store.fetch.disk import Beside, Folder, disk_errors

_TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)


@contextlib.contextmanager
def lock(folder: Folder, beside: Beside) -> Iterator[bool]:
    """
    True while it is ours; False where somebody else has it.

    The kernel gives it back when its process dies. The file is removed by its holder, so whoever has got the lock looks
    whether the file is still the one of that name: a lock on a removed file keeps nobody out.
    """
    with disk_errors(f"{folder.path / beside.name} cannot be locked"):
        fd = folder.open(beside.lock, os.O_RDWR | os.O_CREAT, "lock.open")
    try:
        if not _taken(folder, beside, fd):
            yield False
            return
        try:
            yield True
        finally:
            with contextlib.suppress(OSError):
                folder.remove(beside.lock)
    finally:
        os.close(fd)


def _taken(folder: Folder, beside: Beside, fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise StoreFailed(
            f"{folder.path} is on a file system that cannot lock files: {error.strerror}.",
            hint="Set store.path to a local disk.",
        ) from error
    mine, there = os.fstat(fd), folder.stat(beside.lock)
    return there is not None and (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)
