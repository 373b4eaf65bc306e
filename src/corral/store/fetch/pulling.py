"""
A plan's files into the store: each fetched once, whoever asks, and in its place only when it is whole and right.

    part -> flushed -> checked -> the old origin goes -> renamed into place -> origin -> folder flushed -> journal goes

The file that an engine is given comes last: where it is, all of its model is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from corral.contracts.fetching import Fetched, Plan, Progress, RemoteFile, Told
from corral.domain.errors import BadGguf, FetchStopped, FileMissing, NoSpace, StoreFailed, WrongContent
from corral.domain.units import format_bytes
from corral.store.fetch import journal, linked, origin
from corral.store.fetch.disk import Beside, Disk, Folder, disk_errors, is_same, place, sha256_of
from corral.store.fetch.journal import Identity
from corral.store.fetch.lock import Beat, Holder, lock
from corral.store.fetch.meter import Meter
from corral.store.fetch.origin import Origin
from corral.store.fetch.patience import Patience, Stop, never
from corral.store.fetch.rules import shown
from corral.store.fetch.standing import Standing, standing
from corral.store.fetch.transfer import Arrived, Transfer
from corral.store.fetch.web import Web
from corral.store.gguf.reader import read_header

FOLLOW_S: Final = 0.2


def _free_bytes(fd: int) -> int:
    found = os.fstatvfs(fd)
    return found.f_bavail * found.f_frsize


def quiet(progress: Progress) -> None:
    """Nobody is told."""


@dataclass(slots=True)
class _Course:
    """How far one call is, over all files of its plan."""

    plan: Plan
    told: Told
    meter: Meter
    sizes: dict[str, int]  # of files, as far as they are known
    done: dict[str, int] = field(default_factory=dict)  # bytes that are here
    finished: int = 0
    beat: Callable[[], None] | None = None  # of the lock that is held

    def queue(self, file: RemoteFile) -> None:
        """It is the next one; returns when it may begin."""
        self.tell(file, self.done.get(file.path, 0), None, "queued")

    def tell(self, file: RemoteFile, done_bytes: int, size: int | None, doing: str) -> None:
        if self.beat is not None:
            self.beat()
        self.done[file.path] = done_bytes
        if size is not None:
            self.sizes[file.path] = size
        whole = sum(self.sizes.values()) if len(self.sizes) == len(self.plan.files) else None
        count = sum(self.done.values())
        name = file.path.rpartition("/")[2]
        own = done_bytes, self.sizes.get(file.path)
        progress = Progress(count, whole, 0.0, self.finished, len(self.plan.files), name, doing, file.path, *own)
        self.told(dataclasses.replace(progress, per_s=self.meter.look(progress)))

    @contextlib.contextmanager
    def holding(self, beat: Beat) -> Iterator[None]:
        """Whatever is told inside is a sign of life for those who wait for the lock."""
        self.beat = beat
        try:
            yield
        finally:
            self.beat = None

    def lacks(self, file: RemoteFile, left: int) -> None:
        """It is not here, whatever was looked at; of an earlier fetch so much is left."""
        self.done[file.path] = left


@dataclass(frozen=True, slots=True)
class Pulling:
    """`contracts.fetching.Fetches.fetch`. Safe to be used by several threads."""

    root: Path  # the store's folder
    web: Web
    connections: int = 4
    disk: Disk = field(default_factory=Disk)
    patience: Patience = field(default_factory=Patience)
    free_bytes: Callable[[int], int] = _free_bytes

    def fetch(self, plan: Plan, told: Told = quiet, *, stop: Stop = never) -> Fetched:
        """See `contracts.fetching.Fetches.fetch`."""
        if not plan.files or len({file.path for file in plan.files}) != len(plan.files):
            raise StoreFailed(f"{plan.reference} has no files, or two of one name.", hint="Name one file of it.")
        places = {file.path: place(file.path) for file in plan.files}
        sizes = {file.path: file.size_bytes for file in plan.files if file.size_bytes is not None}
        course = _Course(plan, told, Meter(self.patience.now), sizes)
        for file in self._missing(plan, course, stop):
            folders, name = places[file.path]
            course.queue(file)
            if stop():
                raise FetchStopped()
            with self.disk.folder(self.root, folders, make=True) as folder:
                self._one(folder, Beside.of(name), file, course, stop)
        return Fetched(plan, tuple(self.root / file.path for file in plan.files))

    def _missing(self, plan: Plan, course: _Course, stop: Stop) -> list[RemoteFile]:
        """What is not here, the first file of the plan last; there is room for all of it. Raises NoSpace."""
        missing, need = [], 0
        for file in (*plan.files[1:], plan.files[0]):
            with self._there(file) as (folder, beside):
                if folder is not None and self._present(folder, beside, file, course, stop):
                    self._tidy(folder, beside)
                    continue
                have = folder.stat(beside.part) if folder is not None else None
                need += max(0, (file.size_bytes or 0) - (have.st_blocks * 512 if have else 0))
                course.lacks(file, journal.left(folder, beside) if folder is not None else 0)
            missing.append(file)
        if missing and need:
            with self.disk.folder(self.root, (), make=True) as root:
                self._room(root, need, str(plan.reference))
        return missing

    @contextlib.contextmanager
    def _there(self, file: RemoteFile) -> Iterator[tuple[Folder | None, Beside]]:
        folders, name = place(file.path)
        try:
            found = self.disk.folder(self.root, folders, make=False)
        except FileMissing:
            yield None, Beside.of(name)
            return
        with found:
            yield found, Beside.of(name)

    def _tidy(self, folder: Folder, beside: Beside) -> None:
        """Who was killed after the file was in its place has left something; a read-only store may keep it."""
        if any(folder.stat(name) for name in (beside.journal, beside.part, beside.lock)):
            with contextlib.suppress(StoreFailed, OSError), lock(folder, beside) as mine:
                if mine:
                    journal.discard(folder, beside, part=True)

    def _room(self, folder: Folder, need: int, what: str) -> None:
        free = self.free_bytes(folder.fd)
        if need > free:
            raise NoSpace(
                f"{what} needs {format_bytes(need)} more, and {folder.path} has {format_bytes(free)} free.",
                hint="Free some space, choose a smaller quantisation, or set another store.path.",
            )

    def _one(self, folder: Folder, beside: Beside, file: RemoteFile, course: _Course, stop: Stop) -> None:
        holder = Holder(folder, beside, self.patience.now)
        while True:
            with lock(folder, beside) as mine:
                if mine:
                    with course.holding(Beat(folder, beside, self.patience.now)):
                        if not self._present(folder, beside, file, course, stop, locked=True):
                            self._transfer(folder, beside, file, course, stop)
                    with contextlib.suppress(OSError):
                        journal.discard(folder, beside, part=False)
                    return
            if stop():
                raise FetchStopped()
            done, size, _ = journal.progress_of(folder, beside)
            course.tell(file, done, size, "waiting")
            holder.check()
            self.patience.sleep(FOLLOW_S)

    def _transfer(self, folder: Folder, beside: Beside, file: RemoteFile, course: _Course, stop: Stop) -> None:
        transfer = Transfer(
            self.web,
            self.disk,
            folder,
            file,
            self.connections,
            lambda done, size, doing: course.tell(file, done, size, doing),
            stop,
            lambda size: self._room(folder, size, shown(file.url)),
        )
        arrived = transfer.run()
        self._check_gguf(folder, beside, file)
        with disk_errors(f"{folder.path / beside.name} cannot be put in its place"):
            self.disk.fault("origin.remove")
            folder.remove(beside.origin)
            folder.rename(beside.part, beside.name, "part.rename")
            self._say(folder, beside, file, course.plan, arrived)
            folder.sync()
        self._finish(file, course, arrived.size)

    def _check_gguf(self, folder: Folder, beside: Beside, file: RemoteFile) -> None:
        """A file whose hash is right is what its source says; of others the header says how long they must be."""
        if file.sha256 or not file.is_gguf:
            return
        try:
            read_header(folder.path / beside.part)
        except BadGguf as error:
            with contextlib.suppress(OSError):
                journal.discard(folder, beside, part=True)
            words = error.message.replace(beside.part, beside.name)
            raise WrongContent(f"{shown(file.url)}: {words} Nothing of it is kept.", hint=error.hint) from error

    def _say(self, folder: Folder, beside: Beside, file: RemoteFile, plan: Plan, arrived: Arrived) -> None:
        said = Origin(
            origin.VERSION,
            str(plan.reference),
            shown(file.url),
            arrived.size,
            arrived.sha256,
            arrived.etag,
            round(self.patience.wall(), 3),
            plan.licence,
            file.role.value,
        )
        origin.save(folder, beside, said)

    def _finish(self, file: RemoteFile, course: _Course, size: int) -> None:
        course.finished += 1
        course.tell(file, size, size, "fetching")

    def _present(
        self, folder: Folder, beside: Beside, file: RemoteFile, course: _Course, stop: Stop, *, locked: bool = False
    ) -> bool:
        """
        Whether it is here, whole and right. What nobody vouches for is hashed, where a hash is known.

        `locked`: the file's lock is the caller's.
        """
        status = folder.stat(beside.name)
        if status is None:
            return False
        said = origin.load(folder, beside)
        if said is not None and said.linked and folder.is_link(beside.name):
            right = standing(said, course.plan.reference, file, said.size) is Standing.RIGHT
            if not right or not linked.still(folder, beside.name, said):
                return False  # what is fetched takes its place
            self._finish(file, course, said.size)
            return True
        with disk_errors(f"{folder.path / beside.name} cannot be read"):
            fd = folder.open(beside.name, os.O_RDONLY, "part.open")
        try:
            status = os.fstat(fd)
            size = status.st_size
            found = standing(said, course.plan.reference, file, size)
            if found is Standing.OTHER:
                return False
            if found is Standing.UNVOUCHED and not file.sha256:
                if not self._is_whole(folder, beside, file):
                    return False
                came = journal.load(folder, beside)
                if came is not None and came.identity.etag and file.etag:  # put there by who ended before he said so
                    if not came.identity.same(Identity(shown(file.url), size, etag=file.etag)):
                        return False
                    digest = self._hashed(fd, size, folder, beside, file, course, stop)
                    arrived = Arrived(size, digest, file.etag)
                    if not self._vouch(status, folder, beside, file, course, arrived, locked=locked):
                        return False
            elif found is Standing.UNVOUCHED:
                digest = self._hashed(fd, size, folder, beside, file, course, stop)
                if digest != file.sha256 or not self._vouch(
                    status, folder, beside, file, course, Arrived(size, digest, ""), locked=locked
                ):
                    return False
        finally:
            os.close(fd)
        self._finish(file, course, size)
        return True

    def _is_whole(self, folder: Folder, beside: Beside, file: RemoteFile) -> bool:
        """
        As far as the file itself says, of which nobody knows a hash.

        One beside which another is coming is not what is asked for: its origin went because the other, which may be of
        the same size, was about to take its place.
        """
        if folder.stat(beside.part) is not None:
            return False
        try:
            return not file.is_gguf or bool(read_header(folder.path / beside.name))
        except (BadGguf, FileMissing):
            return False

    def _hashed(
        self, fd: int, size: int, folder: Folder, beside: Beside, file: RemoteFile, course: _Course, stop: Stop
    ) -> str:
        hashed = 0

        def count(more: int) -> None:
            nonlocal hashed
            hashed += more
            course.tell(file, hashed, size, "verifying")

        with disk_errors(f"{folder.path / beside.name} cannot be read"):
            digest = sha256_of(fd, stop, count)
        if not digest:
            raise FetchStopped()
        return digest

    def _vouch(
        self,
        looked_at: os.stat_result,
        folder: Folder,
        beside: Beside,
        file: RemoteFile,
        course: _Course,
        arrived: Arrived,
        *,
        locked: bool,
    ) -> bool:
        """
        Write the origin of what was hashed; False where the name has another file by now.

        Only under the lock: whoever holds it may be putting another file in the place of this one.
        """
        with contextlib.suppress(StoreFailed, OSError):  # a store that is read-only serves all the same
            with contextlib.nullcontext(True) if locked else lock(folder, beside) as mine:
                if mine and is_same(looked_at, folder.stat(beside.name)):
                    self._say(folder, beside, file, course.plan, arrived)
        return is_same(looked_at, folder.stat(beside.name))
