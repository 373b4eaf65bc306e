"""
Everything that a fetch does to the disk, each step by a name, so that tests can make it fail there.

Folders are walked by their descriptors and nothing below the store's own folder is reached through a link: whoever can
write into the store could otherwise have Corral write anywhere.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final

from corral.domain.errors import FileMissing, NoSpace, StoreFailed
from corral.domain.references import BadReference, check_inside

logger = logging.getLogger(__name__)

POINTS: Final = (
    "part.open", "part.write", "part.settle", "part.sync", "part.rename", "part.truncate", "journal.write",
    "journal.rename", "lock.open", "origin.write", "origin.sync", "origin.rename", "origin.remove", "folder.make",
    "folder.sync",
)  # fmt: skip
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN: Final = (errno.EROFS, errno.EACCES, errno.EPERM)
_LONGEST: Final = 255 - len("..origin.json.new")
_PIECE: Final = 1024 * 1024


def _no_fault(point: str) -> None:
    """Nothing is made to fail."""


@dataclass(frozen=True, slots=True)
class Beside:
    """The names of what lies beside a file of the store while it comes, and after."""

    name: str
    part: str
    journal: str
    lock: str
    origin: str

    @staticmethod
    def of(name: str) -> Beside:
        """A name may have 255 bytes; of a longer one than fits with its endings, the beginning and a hash are used."""
        stem, raw = name, os.fsencode(name)
        if len(raw) > _LONGEST:
            stem = f"{raw[:160].decode('utf-8', 'ignore')}-{hashlib.sha256(raw).hexdigest()[:16]}"
        return Beside(name, f".{stem}.part", f".{stem}.part.json", f".{stem}.lock", f".{stem}.origin.json")


@dataclass(slots=True)
class Folder:
    """A folder of the store, held open. A context manager; names are of its own entries and never paths."""

    path: Path
    fd: int
    fault: Callable[[str], None] = field(default=_no_fault)

    def __enter__(self) -> Folder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.fd)

    def open(self, name: str, flags: int, point: str, mode: int = 0o644) -> int:
        """A descriptor of a regular file; a link is never followed. Raises OSError."""
        self.fault(point)
        fd = os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, mode, dir_fd=self.fd)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.EINVAL, "it is no regular file")
        return fd

    def stat(self, name: str) -> os.stat_result | None:
        """Of the entry itself; None where there is none."""
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def is_link(self, name: str) -> bool:
        """Whether the entry is a symbolic link."""
        status = self.stat(name)
        return status is not None and stat.S_ISLNK(status.st_mode)

    def read(self, name: str, limit: int = 1024 * 1024) -> bytes | None:
        """A small file; None where there is none that can be read."""
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=self.fd)
        except OSError:
            return None
        with open(fd, "rb") as file:
            try:
                return file.read(limit)
            except OSError:
                return None

    def write(self, name: str, body: bytes, what: str, *, sync: bool) -> None:
        """A small file, whole or not at all. `what` begins the points' names. Raises OSError."""
        fresh = f"{name}.new"
        try:
            self._fill(fresh, body, what, sync=sync)
            self.rename(fresh, name, f"{what}.rename")
        except OSError:
            with contextlib.suppress(OSError):
                self.remove(fresh)
            raise

    def _fill(self, name: str, body: bytes, what: str, *, sync: bool) -> None:
        self.fault(f"{what}.write")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(name, flags, 0o644, dir_fd=self.fd), "wb") as file:
            file.write(body)
            file.flush()
            if sync:
                self.fault(f"{what}.sync")
                os.fsync(file.fileno())

    def rename(self, old: str, new: str, point: str) -> None:
        """At once and whole. Raises OSError."""
        self.fault(point)
        os.rename(old, new, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def remove(self, name: str) -> None:
        """Gone, if it was there. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.fd)

    def sync(self) -> None:
        """Its entries are on the disk. Raises OSError."""
        self.fault("folder.sync")
        os.fsync(self.fd)


@dataclass(frozen=True, slots=True)
class Disk:
    """`fault` is called with one of POINTS before each step; what it raises is what the step raises."""

    fault: Callable[[str], None] = _no_fault

    def folder(self, root: Path, parts: tuple[str, ...], *, make: bool) -> Folder:
        """
        A folder below the store's own, which may itself be a link: it is what the operator named.

        Raises FileMissing where it is not there and not to be made, and StoreFailed.
        """
        with disk_errors(f"{root} cannot be used as the store"):
            if make:
                self.fault("folder.make")
                _make(root)
            elif not root.is_dir():
                raise FileMissing(f"There is no folder {root}.")
            fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        path = root
        for part in parts:
            path = path / part
            try:
                with disk_errors(f"The folder {path} cannot be used"):
                    inner = self._inner(fd, part, path, make=make)
            finally:
                os.close(fd)
            fd = inner
        return Folder(path, fd, self.fault)

    def _inner(self, fd: int, part: str, path: Path, *, make: bool) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        for _ in range(2):
            try:
                return os.open(part, flags, dir_fd=fd)
            except FileNotFoundError:
                if not make:
                    raise FileMissing(f"There is no folder {path}.") from None
                self.fault("folder.make")
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=fd)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENOTDIR):
                    raise _in_the_way(path) from error
                raise
        raise StoreFailed(f"The folder {path} comes and goes.", hint="Try again.")

    def write(self, fd: int, data: memoryview, at: int) -> None:
        """All of it. Raises OSError."""
        self.fault("part.write")
        while data:
            count = os.pwrite(fd, data, at)
            data, at = data[count:], at + count

    def settle(self, fd: int) -> None:
        """What was written is on the disk; when it was written may be not. Raises OSError."""
        self.fault("part.settle")
        getattr(os, "fdatasync", os.fsync)(fd)

    def sync(self, fd: int) -> None:
        """All of it is on the disk. Raises OSError."""
        self.fault("part.sync")
        os.fsync(fd)

    def truncate(self, fd: int, size: int) -> None:
        """Raises OSError."""
        self.fault("part.truncate")
        os.ftruncate(fd, size)


def _make(root: Path) -> None:
    if root.is_dir():
        return
    try:
        root.mkdir(parents=True, exist_ok=True)
        logger.info("Created directory %s", root)
    except (FileExistsError, NotADirectoryError, FileNotFoundError) as error:
        raise StoreFailed(
            f"{root} cannot be used as the store: it is no folder, and none can be made there.",
            hint="Set store.path to a folder.",
        ) from error


def _in_the_way(path: Path) -> StoreFailed:
    if path.is_symlink():
        return StoreFailed(
            f"{path} is a link, and Corral follows none out of its store.",
            hint="Remove it, or make the whole store a link (store.path).",
        )
    return StoreFailed(f"{path} is in the way: it is no folder.", hint="Move it elsewhere.")


@contextlib.contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """An OSError of the disk becomes an error of ours. `what` says what could not be done, without a full stop."""
    try:
        yield
    except OSError as error:
        words = f"{what}: {error.strerror or error}."
        if error.errno in _FULL:
            raise NoSpace(words, hint="Free some space and try again: what has come so far is kept.") from error
        if error.errno in _FORBIDDEN:
            raise StoreFailed(words, hint="Make it writable for this user, or set another store.path.") from error
        if error.errno == errno.ELOOP:
            raise StoreFailed(f"{what}: it is a link.", hint="Remove it: Corral follows none in its store.") from error
        raise StoreFailed(words, hint="Check the disk; what has come so far is kept.") from error


def place(path: str) -> tuple[tuple[str, ...], str]:
    """Folders and name of a path below the store. Raises StoreFailed for what leads out of it."""
    try:
        check_inside(path)
    except BadReference as error:
        raise StoreFailed(str(error)) from error
    *folders, name = path.split("/")
    if any(each.startswith(".") for each in (*folders, name)):
        raise StoreFailed(f"{path[:200]!r} cannot be a file of the store: nothing that begins with a dot is a model.")
    return tuple(folders), name


def is_same(looked_at: os.stat_result, now: os.stat_result | None) -> bool:
    """Whether it is still the file that was looked at, and nobody has written to it since."""

    def which(status: os.stat_result) -> tuple[int, ...]:
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns

    return now is not None and which(looked_at) == which(now)


def sha256_of(fd: int, stop: Callable[[], bool], hashed: Callable[[int], None]) -> str:
    """Of a whole file; `hashed` is told how many more bytes are done. Stops with "". Raises OSError."""
    digest, at = hashlib.sha256(), 0
    buffer = memoryview(bytearray(_PIECE))
    while count := os.preadv(fd, [buffer], at):
        if stop():
            return ""
        digest.update(buffer[:count])
        at += count
        hashed(count)
    return digest.hexdigest()
