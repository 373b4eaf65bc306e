"""A file while it comes: its bytes in `.NAME.part`, and beside them the journal that says which of them are there."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from corral.store.fetch import journal
from corral.store.fetch.disk import Beside, Disk, Folder, disk_errors
from corral.store.fetch.journal import Identity, Journal
from corral.store.fetch.spans import Span, Spans


@dataclass(slots=True)
class Part:
    """Open for who holds its lock. Safe between threads. What fails raises StoreFailed (NoSpace, where it is that)."""

    disk: Disk
    folder: Folder
    beside: Beside
    fd: int
    boot: str = field(default_factory=journal.boot_id)
    _writing: threading.Lock = field(default_factory=threading.Lock)  # in the kernel they would wait by spinning

    def earlier(self) -> tuple[Journal, Spans] | None:
        """What an earlier fetch says, and what there is of it for sure; None where that is nothing."""
        found = journal.load(self.folder, self.beside)
        there = found.there(self.boot, os.fstat(self.fd).st_size) if found is not None else Spans()
        return (found, there) if found is not None and there.count else None

    def write(self, data: memoryview, at: int) -> None:
        """All of it."""
        with self._errors(), self._writing:
            self.disk.write(self.fd, data, at)

    def readinto(self, buffer: memoryview, at: int) -> int:
        """What stands there, as much as fits; 0 behind its end."""
        with self._errors():
            return os.preadv(self.fd, [buffer], at)

    def settle(self) -> None:
        """What was written is on the disk; when it was written may be not."""
        with self._errors():
            self.disk.settle(self.fd)

    def sync(self) -> None:
        """All of it is on the disk."""
        with self._errors():
            self.disk.sync(self.fd)

    def note(self, identity: Identity, written: list[Span], settled: list[Span], doing: str) -> None:
        """Keep the journal."""
        said = Journal(journal.VERSION, identity, self.boot, written, settled, doing)
        with self._errors():
            journal.save(self.folder, self.beside, said)

    def cut(self, end: int) -> None:
        """Nothing from there on any more: its room is free."""
        with self._errors():
            self.disk.truncate(self.fd, end)

    def clear(self) -> None:
        """Nothing of it is there any more; it stays open."""
        with self._errors():
            journal.discard(self.folder, self.beside, part=False)
            self.disk.truncate(self.fd, 0)

    def forget(self) -> None:
        """Take it away, if that can be."""
        with contextlib.suppress(OSError):
            journal.discard(self.folder, self.beside, part=True)

    def _errors(self) -> contextlib.AbstractContextManager[None]:
        return _errors(self.folder, self.beside)


@contextlib.contextmanager
def opened(disk: Disk, folder: Folder, beside: Beside) -> Iterator[Part]:
    """The part of a file, made where there is none."""
    with _errors(folder, beside):
        fd = folder.open(beside.part, os.O_RDWR | os.O_CREAT, "part.open")
    try:
        yield Part(disk, folder, beside, fd)
    finally:
        os.close(fd)


def _errors(folder: Folder, beside: Beside) -> contextlib.AbstractContextManager[None]:
    return disk_errors(f"{folder.path / beside.name} cannot be written")
