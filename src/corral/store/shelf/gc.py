"""
What nobody needs any more: parts of fetches that were given up, journals and origins without their file, old locks.

A fetch that is under way, in whatever process, holds its lock, and is let be. So is what other programs write into the
store's folder: a hidden file goes only where its name and place, or what is in it, show that Corral wrote it.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from corral.domain.errors import StoreFailed
from corral.store.fetch import journal, notes, origin
from corral.store.fetch.disk import Beside, Disk, Folder, disk_errors, place
from corral.store.fetch.lock import lock
from corral.store.shelf.removing import remove_empty
from corral.store.shelf.walk import DEEPEST, INDEX_UNFINISHED, Seen, walk

UNFINISHED_S: Final = 60.0  # what Corral writes beside a file is there for a moment only
AHEAD_S: Final = 86400.0  # what is dated later than that was written while a clock was wrong
_ENDINGS: Final = (".part.json", ".origin.json", ".part", ".lock")
_DEPTHS: Final = {"hf": 3, "ollama": 5, "web": 2, "import": 1}  # folders, at least, above a file of ours
_MODEL: Final = re.compile(r"(?i).+\.gguf|.{40,}-[0-9a-f]{16}")  # or what stands for a very long name


@dataclass(frozen=True, slots=True)
class Litter:
    """A file to be removed, below the store's folder, and why."""

    path: str
    size_bytes: int
    why: str


def find(root: Path, *, older_s: float, now: float) -> list[Litter]:
    """What may go. Parts of a fetch go when nothing has come for `older_s`."""
    found, walked = [], walk(root)
    files = {_origin_of(seen.path) for seen in (*walked.models, *walked.others)}
    parts = {seen.path: seen for seen in walked.ours if seen.path.endswith(".part")}
    for seen in walked.ours:
        if not walked.whole and seen.path.endswith(".origin.json"):
            continue  # its file may be among those that the walk did not come to
        why = _why(seen, _age_s(seen, now), files, parts, older_s, now)
        if why and _is_ours(root, seen):
            found.append(Litter(seen.path, seen.size_bytes, why))
    return found


def _age_s(seen: Seen, now: float) -> float:
    """How old it is; a date far in the future says nothing and would never pass."""
    age = now - seen.mtime_ns / 1e9
    return age if age >= -AHEAD_S else math.inf


def _why(seen: Seen, age: float, files: set[str], parts: dict[str, Seen], older_s: float, now: float) -> str:
    """Why nobody needs it; "" for what may be needed."""
    if seen.path.endswith(".part"):
        return "a fetch that was given up" if age > older_s else ""
    if age <= UNFINISHED_S:
        return ""
    if seen.path.endswith((".new", ".tmp")):
        return "left from writing"
    if seen.path.endswith(".part.json"):
        part = parts.get(seen.path.removesuffix(".json"))
        gone = part is None or _age_s(part, now) > older_s
        return "the journal of such a fetch" if gone else ""
    if seen.path.endswith(".origin.json"):
        return "the origin of a file that is gone" if seen.path not in files else ""
    return "a lock that nobody holds"


def _is_ours(root: Path, seen: Seen) -> bool:
    """By the name of a model at a place that a fetch or an import has, else by what is written in it or beside it."""
    if INDEX_UNFINISHED.fullmatch(seen.path):
        return True
    *folders, name = seen.path.split("/")
    stem = _stem(name)
    if name.endswith(".lock") and seen.size_bytes:  # ours say nothing
        return False
    if _MODEL.fullmatch(stem) and folders and len(folders) >= _DEPTHS.get(folders[0], DEEPEST):
        return True
    try:
        with Disk().folder(root, tuple(folders), make=False) as folder:
            return any(
                notes.load(folder, f".{stem}.part.json{new}", journal.Journal, journal.VERSION)
                or notes.load(folder, f".{stem}.origin.json{new}", origin.Origin, origin.VERSION)
                for new in ("", ".new")
            )
    except StoreFailed:  # gone, or a link by now
        return False


def _stem(name: str) -> str:
    """Of the file that it is about, as `Beside` has it."""
    name = name.removesuffix(".new").removeprefix(".")
    return next((name.removesuffix(ending) for ending in _ENDINGS if name.endswith(ending)), "")


def _origin_of(path: str) -> str:
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{Beside.of(name).origin}"


def _raised(error: StoreFailed) -> None:
    raise error


def sweep(
    root: Path, litter: list[Litter], disk: Disk | None = None, *, failed: Callable[[StoreFailed], None] = _raised
) -> Iterator[Litter]:
    """
    Remove it; yields what is gone. What somebody fetches meanwhile stays.

    `failed` is told of each file that cannot be removed; without it that is raised.
    """
    disk = disk or Disk()
    for each in litter:
        head, _, name = each.path.rpartition("/")
        folders = tuple(head.split("/")) if head else ()
        try:
            folder = disk.folder(root, folders, make=False)
        except StoreFailed:  # gone, or a link by now
            continue
        gone = False
        with folder:
            try:
                gone = _remove(folder, name)
            except StoreFailed as error:
                failed(error)
        if gone:
            remove_empty(root, folders, disk)
            yield each


def _remove(folder: Folder, name: str) -> bool:
    with disk_errors(f"{folder.path / name} cannot be removed"):
        try:
            return _removed(folder, name)
        except StoreFailed as error:  # of the lock: it speaks of the file that is not there yet
            if isinstance(error.__cause__, OSError):
                raise error.__cause__ from None
            raise


def _removed(folder: Folder, name: str) -> bool:
    """Raises OSError and StoreFailed."""
    stem = _stem(name)
    if not stem:  # the index's: it has no lock
        folder.remove(name)
        return True
    beside = Beside(stem, f".{stem}.part", f".{stem}.part.json", f".{stem}.lock", f".{stem}.origin.json")
    with lock(folder, beside) as mine:  # its lock goes with it
        if mine and not name.endswith(".lock"):
            folder.remove(name)
        return mine


def empty_folders(root: Path) -> list[str]:
    """Folders of the store in which nothing is, the inner ones first; hidden ones are left alone."""
    found: list[str] = []
    for folder, folders, names in os.walk(root, topdown=False):
        below = os.path.relpath(folder, root)
        if below == "." or names or any(part.startswith(".") for part in below.split(os.sep)):
            continue
        inner = {os.path.relpath(os.path.join(folder, each), root) for each in folders}
        if inner <= set(found):
            found.append(below)
    return found


def remove_folders(root: Path, folders: list[str], disk: Disk | None = None) -> list[str]:
    """Remove them, as far as they are still empty; those that are gone."""
    disk = disk or Disk()
    for below in folders:
        with contextlib.suppress(StoreFailed):
            parents, name = place(below.replace(os.sep, "/"))
            remove_empty(root, (*parents, name), disk)
    return [below for below in folders if not os.path.lexists(root / below)]
