"""
What nobody needs any more: parts of fetches that were given up, journals and origins without their file, old locks.

A fetch that is under way, in whatever process, holds its lock, and is let be.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from corral.domain.errors import StoreFailed
from corral.store.fetch.disk import Beside, Disk, Folder, disk_errors, place
from corral.store.fetch.lock import lock
from corral.store.shelf.removing import remove_empty
from corral.store.shelf.walk import Walked, walk

UNFINISHED_S: Final = 60.0  # what Corral writes beside a file is there for a moment only
_ENDINGS: Final = (".part.json", ".origin.json", ".part", ".lock")


@dataclass(frozen=True, slots=True)
class Litter:
    """A file to be removed, below the store's folder, and why."""

    path: str
    size_bytes: int
    why: str


def find(root: Path, *, older_s: float, now: float) -> list[Litter]:
    """What may go. Parts of a fetch go when nothing has come for `older_s`."""
    return list(_litter(walk(root), older_s, now))


def _litter(walked: Walked, older_s: float, now: float) -> Iterator[Litter]:
    files: dict[str, set[str]] = {}
    for seen in (*walked.models, *walked.others):
        folder, _, name = seen.path.rpartition("/")
        files.setdefault(folder, set()).add(Beside.of(name).origin)
    parts = {seen.path: seen for seen in walked.ours if seen.path.endswith(".part")}
    for seen in walked.ours:
        folder, _, name = seen.path.rpartition("/")
        age = now - seen.mtime_ns / 1e9
        why = ""
        if name.endswith((".new", ".tmp")):
            why = "left from writing" if age > UNFINISHED_S else ""
        elif name.endswith(".part"):
            why = "a fetch that was given up" if age > older_s else ""
        elif name.endswith(".part.json"):
            part = parts.get(seen.path.removesuffix(".json"))
            gone = part is None or now - part.mtime_ns / 1e9 > older_s
            why = "the journal of such a fetch" if gone and age > UNFINISHED_S else ""
        elif name.endswith(".origin.json"):
            orphan = name not in files.get(folder, ()) and age > UNFINISHED_S
            why = "the origin of a file that is gone" if orphan else ""
        elif name.endswith(".lock"):
            why = "a lock that nobody holds" if age > UNFINISHED_S else ""
        if why:
            yield Litter(seen.path, seen.size_bytes, why)


def sweep(root: Path, litter: list[Litter], disk: Disk | None = None) -> Iterator[Litter]:
    """Remove it; yields what is gone. What somebody fetches meanwhile stays. Raises StoreFailed."""
    disk = disk or Disk()
    for each in litter:
        head, _, name = each.path.rpartition("/")
        folders = tuple(head.split("/")) if head else ()
        try:
            folder = disk.folder(root, folders, make=False)
        except StoreFailed:  # gone, or a link by now
            continue
        with folder:
            gone = _remove(folder, name)
        if gone:
            remove_empty(root, folders, disk)
            yield each


def _remove(folder: Folder, name: str) -> bool:
    stem = next((name.removesuffix(ending) for ending in _ENDINGS if name.endswith(ending)), "")
    if not stem:
        with disk_errors(f"{folder.path / name} cannot be removed"):
            folder.remove(name)
        return True
    beside = Beside(stem.removeprefix("."), f"{stem}.part", f"{stem}.part.json", f"{stem}.lock", f"{stem}.origin.json")
    with lock(folder, beside) as mine:  # its lock goes with it
        if mine and not name.endswith(".lock"):
            with disk_errors(f"{folder.path / name} cannot be removed"):
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


def remove_folders(root: Path, folders: list[str], disk: Disk | None = None) -> None:
    """Remove them, as far as they are still empty."""
    disk = disk or Disk()
    for below in folders:
        with contextlib.suppress(StoreFailed):
            parents, name = place(below.replace(os.sep, "/"))
            remove_empty(root, (*parents, name), disk)
