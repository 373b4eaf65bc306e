"""
A model of this machine into the store: linked, copied or moved; split ones whole, with the projector beside them.

A hard link costs nothing and outlives the first name of the file; where the store is on another disk a symbolic link
stands for it. What comes is looked at before, and hashed, so that `verify` has something to compare with.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from corral.contracts.fetching import Progress, Role, Told
from corral.domain.errors import Conflict, FetchStopped, FileMissing, NoSpace
from corral.domain.units import format_bytes
from corral.store.fetch import linked, origin
from corral.store.fetch.disk import Beside, Disk, Folder, disk_errors, is_same, place
from corral.store.fetch.lock import lock, telling
from corral.store.fetch.origin import VERSION, Origin
from corral.store.files import ModelFiles, part_paths, resolve
from corral.store.inspect.places import FolderFiles, projector_beside
from corral.store.shelf.caches.finding import Caches
from corral.store.shelf.roles import role_by_header
from corral.store.shelf.verifying import hashed

IMPORT: Final = "import"
_PIECE: Final = 4 * 1024 * 1024
_UNUSUAL: Final = re.compile(r"[^\w.+@=,()\[\]-]+")
_LONGEST: Final = 200
_NO_LINK: Final = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.EACCES)


class How(StrEnum):
    """What is done with the file."""

    LINK = "link"
    COPY = "copy"
    MOVE = "move"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file: where it is, and its place below the store's folder."""

    source: Path
    path: str
    role: Role


@dataclass(frozen=True, slots=True)
class Imported:
    """What was done for one file. `done`: linked, symlinked, copied, moved, there."""

    wanted: Wanted
    done: str
    sha256: str


def planned(given: Path, *, name: str = "", root: Path) -> list[Wanted]:
    """
    The files that a path means, the model's first. Raises FileMissing, BadGguf and StoreFailed.

    `name` is another than the file's; a split model keeps the numbers of its parts.
    """
    found = resolve(given)
    if found.path.resolve().is_relative_to(root.resolve()):
        raise Conflict(f"{found.path} is in the store already.")
    role = role_by_header(found.header)
    projector = _projector(found) if role is Role.MODEL else None
    stem = _clean(name.removesuffix(".gguf") if name else _stem(found.path))
    if len(found.parts) == 1 and projector is None:
        return [Wanted(found.path, f"{IMPORT}/{stem}.gguf", role)]
    folder = f"{IMPORT}/{stem}"
    count = len(found.parts)
    wanted = [
        Wanted(part.path, f"{folder}/{stem}{f'-{n:05d}-of-{count:05d}' if count > 1 else ''}.gguf", role)
        for n, part in enumerate(found.parts, 1)
    ]
    if projector is not None:
        wanted.append(
            Wanted(projector, f"{folder}/{_clean(projector.name.removesuffix('.gguf'))}.gguf", Role.PROJECTOR)
        )
    return wanted


def take_in(
    root: Path,
    wanted: Sequence[Wanted],
    how: How,
    told: Told,
    *,
    stop: Callable[[], bool] = lambda: False,
    disk: Disk | None = None,
    caches: Caches | None = None,
) -> list[Imported]:
    """
    Do it; the file that an engine is given comes last. Raises Conflict, NoSpace, StoreFailed and FetchStopped.

    A move removes its sources once all of them are in the store, so that one that was stopped can be done again.
    `caches` are those of other programs, out of which nothing is moved; else this user's.
    """
    disk = disk or Disk()
    if how is How.MOVE:
        _refuse_to_move(wanted, caches or Caches(os.environ))
    done = {each.path: found for each in wanted if (found := _before(root, each, told, stop, disk))}
    first, beside = wanted[0], tuple(each.path for each in wanted if each.role is not wanted[0].role)
    for each in (*wanted[1:], first):
        if each.path not in done:
            with_it = beside if each is first else ()
            done[each.path] = _one(root, each, how, told, stop, disk, alone=len(wanted) == 1, companions=with_it)
    if how is How.MOVE:
        done = {path: _without_source(root, each) for path, each in done.items()}
    return [done[each.path] for each in wanted]


def _before(root: Path, each: Wanted, told: Told, stop: Callable[[], bool], disk: Disk) -> Imported | None:
    """What is at its place already; None where nothing is. Raises Conflict for another file."""
    folders, name = place(each.path)
    try:
        with disk.folder(root, folders, make=False) as folder, disk_errors(f"{folder.path / name} cannot be read"):
            source = Path(os.path.realpath(each.source))
            taken = folder.stat(name) is not None and not _is_old_link(folder, Beside.of(name), source)
            return _there(folder, each, source, told, stop) if taken else None
    except FileMissing:
        return None


def _without_source(root: Path, each: Imported) -> Imported:
    """It is in the store, whole: its first place is given up, where that is another."""
    target = root / each.wanted.path
    if target.is_symlink():  # of an earlier import: what it leads to must stay
        return each
    with disk_errors(f"{target} is in the store, but {each.wanted.source} cannot be removed"):
        each.wanted.source.unlink(missing_ok=True)
    return replace(each, done="moved")


def _one(
    root: Path,
    each: Wanted,
    how: How,
    told: Told,
    stop: Callable[[], bool],
    disk: Disk,
    *,
    alone: bool,
    companions: tuple[str, ...] = (),
) -> Imported:
    """`companions` are the places of what comes along with it."""
    folders, name = place(each.path)
    source = Path(os.path.realpath(each.source))
    with disk.folder(root, folders, make=True) as folder, lock(folder, Beside.of(name)) as mine:
        beside = Beside.of(name)
        told = telling(folder, beside, told)
        if not mine:
            raise Conflict(f"{each.path} is being written by another command.", hint="Wait for that, or give --name.")
        with disk_errors(f"{folder.path / name} cannot be written"):
            if _is_old_link(folder, beside, source):
                folder.remove(name)
            elif folder.stat(name) is not None:
                return _there(folder, each, source, told, stop)
            done, digest, status = _brought(folder, beside, source, how, told, stop, alone=alone)
            symbolic = done == "symlinked"  # what it leads to may be changed, and is then not what was looked at
            said = Origin(VERSION, f"file:{each.source}", "", status.st_size, digest,
                          fetched_at=round(time.time(), 3), role=each.role.value, companions=companions,
                          linked=str(source) if symbolic else "",
                          linked_mtime_ns=status.st_mtime_ns if symbolic else 0)  # fmt: skip
            origin.save(folder, beside, said)
            folder.sync()
    return Imported(each, done, digest)


def _brought(
    folder: Folder, beside: Beside, source: Path, how: How, told: Told, stop: Callable[[], bool], *, alone: bool
) -> tuple[str, str, os.stat_result]:
    """
    Bring it to its place; what was done, the hash, and what is there now. The source stays, but for a move at once.

    Raises OSError, and Conflict where somebody writes to it meanwhile: the hash would be of other bytes.
    """
    if how is How.COPY:
        return _copy(folder, beside, source, told, stop)
    looked_at = os.stat(source)
    digest = hashed(source, told, stop)[0]
    _check_same(looked_at, os.stat(source), source)
    done = _named(folder, beside.name, source, how, alone=alone)
    if not done:
        return _copy(folder, beside, source, told, stop)
    try:
        _check_same(looked_at, os.stat(beside.name, dir_fd=folder.fd), source)
    except Conflict:
        if done != "moved":
            folder.remove(beside.name)
        elif not os.path.lexists(source):  # else it stays in the store: somebody has put another in its place
            os.rename(beside.name, source, src_dir_fd=folder.fd)
        raise
    return done, digest, looked_at


def _copy(
    folder: Folder, beside: Beside, source: Path, told: Told, stop: Callable[[], bool]
) -> tuple[str, str, os.stat_result]:
    digest = _copied(folder, beside, source, told, stop)
    return "copied", digest, os.stat(beside.name, dir_fd=folder.fd)


def _named(folder: Folder, name: str, source: Path, how: How, *, alone: bool) -> str:
    """Give the file itself its name in the store; what was done, "" where it must be copied. Raises OSError."""
    try:
        os.link(source, name, dst_dir_fd=folder.fd)
        return "linked"
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        unlike_disks = error.errno == errno.EXDEV
    if how is How.LINK:
        os.symlink(source, name, dir_fd=folder.fd)
        return "symlinked"
    if alone and not unlike_disks:  # a disk without hard links: one file can be moved at once, and needs no room
        os.rename(source, name, dst_dir_fd=folder.fd)
        return "moved"
    return ""


def _check_same(looked_at: os.stat_result, now: os.stat_result, source: Path) -> None:
    if not is_same(looked_at, now):
        raise Conflict(f"{source} is being written.", hint="Wait until that is done, then import it.")


def _copied(folder: Folder, beside: Beside, source: Path, told: Told, stop: Callable[[], bool]) -> str:
    size, done, digest = source.stat().st_size, 0, hashlib.sha256()
    room = os.fstatvfs(folder.fd)
    if size > room.f_bavail * room.f_frsize:
        free = format_bytes(room.f_bavail * room.f_frsize)
        raise NoSpace(
            f"{beside.name} needs {format_bytes(size)}, and {folder.path} has {free} free.", hint="Link it instead."
        )
    try:
        with open(source, "rb", buffering=0) as reader:
            looked_at = os.fstat(reader.fileno())
            part = folder.open(beside.part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, "part.open")
            with open(part, "wb", buffering=0) as writer:
                buffer = memoryview(bytearray(_PIECE))
                while count := reader.readinto(buffer):
                    if stop():
                        raise FetchStopped()
                    digest.update(buffer[:count])
                    piece = buffer[:count]
                    while piece:
                        piece = piece[writer.write(piece) :]
                    done += count
                    told(Progress(done, size, file=beside.name, doing="copying"))
                os.fsync(writer.fileno())
            _check_same(looked_at, os.fstat(reader.fileno()), source)
        folder.rename(beside.part, beside.name, "part.rename")
    except BaseException:  # Ctrl-C as well: nobody goes on with it
        folder.remove(beside.part)
        raise
    return digest.hexdigest()


def _there(folder: Folder, each: Wanted, source: Path, told: Told, stop: Callable[[], bool]) -> Imported:
    """The place is taken: well, when by the same bytes."""
    here = folder.path / Path(each.path).name
    if source.exists() and here.exists() and source.stat().st_size == here.stat().st_size:
        digest = hashed(source, told, stop)[0]
        if os.path.samefile(source, here) or hashed(here, told, stop)[0] == digest:
            return Imported(each, "there", digest)
    raise Conflict(f"{each.path} is in the store already, and is another file.", hint="Give another --name.")


def _is_old_link(folder: Folder, beside: Beside, source: Path) -> bool:
    """Whether it is a link to this very source that an import has made, and the source has changed since."""
    if not folder.is_link(beside.name):
        return False
    said = origin.load(folder, beside)
    return said is not None and said.linked == str(source) and not linked.still(folder, beside.name, said)


def _refuse_to_move(wanted: Sequence[Wanted], caches: Caches) -> None:
    others = [folder for folder, _ in caches.folders()]
    for each in wanted:
        if each.source.is_symlink():
            raise Conflict(f"{each.source} is a link: the file belongs to whoever made it.", hint="Link or copy it.")
        for path in (Path(os.path.abspath(each.source)), Path(os.path.realpath(each.source))):
            for folder in others:
                if path.is_relative_to(folder) or path.is_relative_to(os.path.realpath(folder)):
                    raise Conflict(
                        f"{each.source} is kept by another program, in {folder}.",
                        hint="Nothing is moved out of there: link or copy it, or use it where it lies.",
                    )


def _projector(model: ModelFiles) -> Path | None:
    """The one beside it that belongs to it."""
    found = projector_beside(FolderFiles(model.path), model.header)
    return Path(os.path.normpath(model.path.parent / found[0])) if found is not None else None


def _stem(path: Path) -> str:
    name = part_paths(path)[0].name
    return re.sub(r"-00001-of-\d{5}$", "", re.sub(r"(?i)\.gguf$", "", name))


def _clean(stem: str) -> str:
    """A name that is one on every system, and does not begin with a dot."""
    text = _UNUSUAL.sub("_", stem).lstrip(".")
    while len(text.encode()) > _LONGEST:
        text = text[:-1]
    return text or "model"
