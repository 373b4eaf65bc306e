"""
Links of the store to files of other programs: which Corral made, and whether they lead to what they led to.

No other link is followed. Those programs may remove their files, or write others under the same names.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

from corral.domain.errors import Unreadable
from corral.store.fetch import origin
from corral.store.fetch.disk import Beside, Folder
from corral.store.fetch.origin import Origin

NOT_THERE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
"""Errors that say that there is nothing."""


def still(folder: Folder, name: str, said: Origin) -> bool:
    """Whether the link `name` leads to the file that its origin speaks of, unchanged since it was looked at."""
    return _still(Path(name), folder.fd, said)


def is_there(path: Path) -> bool:
    """
    Whether a model file of a store is there; what Corral made a link of has to be unchanged.

    Raises Unreadable where it cannot be looked at: that is said of this file, and nobody else's.
    """
    try:
        return _is_there(path)
    except OSError as error:
        raise unseen(path, error) from error


def unseen(path: Path, error: OSError) -> Unreadable:
    """Whether it is there cannot be said."""
    return Unreadable(
        f"{path} cannot be looked at: {error.strerror or error}.",
        hint="Let the user that Corral runs as read it and its folders, or name another path.",
    )


def _is_there(path: Path) -> bool:
    try:
        if not stat.S_ISLNK(os.lstat(path).st_mode):
            return stat.S_ISREG(os.stat(path).st_mode)
        with Folder(path.parent, os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as folder:
            said = origin.load(folder, Beside.of(path.name))
        return stat.S_ISREG(os.stat(path).st_mode) if said is None or not said.linked else _still(path, None, said)
    except OSError as error:
        if error.errno in NOT_THERE:
            return False
        raise


def _still(path: Path, folder_fd: int | None, said: Origin) -> bool:
    try:
        there, status = os.readlink(path, dir_fd=folder_fd), os.stat(path, dir_fd=folder_fd)
    except OSError:
        return False
    now = there, status.st_size, status.st_mtime_ns
    return stat.S_ISREG(status.st_mode) and now == (said.linked, said.size, said.linked_mtime_ns)
