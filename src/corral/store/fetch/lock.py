"""One fetch of a file at a time, across threads and processes: whoever holds the lock fetches, the others follow."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from corral.contracts.fetching import Progress, Told
from corral.domain.errors import FetchFailed, StoreFailed
from corral.store.fetch.disk import Beside, Folder, disk_errors

SILENT_S: Final = 300.0
"""Whoever holds it and fetches, copies, hashes or waits says so each second; a disk may hold him up for a while."""

BEAT_S: Final = 1.0

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


@dataclass(slots=True)
class Beat:
    """A holder's sign of life, for those who wait."""

    folder: Folder
    beside: Beside
    now: Callable[[], float]
    _last: float = float("-inf")

    def __call__(self) -> None:
        """As often as you like."""
        if (now := self.now()) - self._last >= BEAT_S:
            self._last = now
            with contextlib.suppress(OSError):
                os.utime(self.beside.lock, dir_fd=self.folder.fd, follow_symlinks=False)


def telling(folder: Folder, beside: Beside, told: Told) -> Told:
    """The same, by which those who wait for the lock hear that its holder works."""
    beat = Beat(folder, beside, time.monotonic)

    def tell(progress: Progress) -> None:
        beat()
        told(progress)

    return tell


@dataclass(slots=True)
class Holder:
    """Who else has the lock, as one who waits sees it. It may be stopped, and would never give the lock back."""

    folder: Folder
    beside: Beside
    now: Callable[[], float]
    _seen: object = ()
    _since: float = 0.0

    def check(self) -> None:
        """Raises FetchFailed after a long silence."""
        # A journal is a sign, too: another version of Corral may fetch, which writes one and does not touch its lock.
        found = (self.folder.stat(name) for name in (self.beside.lock, self.beside.journal))
        sign = [(each.st_ino, each.st_mtime_ns) if each else None for each in found]
        if sign != self._seen:
            self._seen, self._since = sign, self.now()
        elif self.now() - self._since >= SILENT_S:
            place = self.folder.path / self.beside.lock
            raise FetchFailed(
                f"Another process fetches {self.beside.name}, and has given no sign of life for {SILENT_S:.0f} s.",
                hint=f"It may be stopped, or its disk hangs. `fuser {place}` says which it is: end it, and ask again.",
            )
