"""
Taking a model off the shelf: its parts, what Corral wrote beside them, and what came with it that nobody else needs.

Folders are walked by their descriptors: a link is removed as such, and one on the way to a file stops the removal.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from corral.domain.errors import Conflict, FileMissing, StoreFailed
from corral.store.fetch.disk import Beside, Disk, Folder, disk_errors, place
from corral.store.fetch.lock import lock
from corral.store.shelf.items import STORE, Item, Kind
from corral.store.shelf.walk import Walked


@dataclass(frozen=True, slots=True)
class Removal:
    """Files below the store's folder, those of the model first; `size_bytes` of all of them."""

    item: Item
    paths: tuple[str, ...]
    size_bytes: int


def planned(root: Path, item: Item, items: Sequence[Item], walked: Walked) -> Removal:
    """
    What goes with the item.

    The adapters that are a part of it do. Its folder's projectors, licences and the like go once no model is left that
    they could belong to.
    """
    if item.place != STORE:
        raise Conflict(f"{item.name} is kept by {item.place}.", hint="Corral removes nothing of other programs.")
    own = [_below(root, path) for path in (*item.paths, *item.adapters)]
    folder = own[0].rpartition("/")[0]
    alone = item.kind is Kind.MODEL and not any(
        other.kind is Kind.MODEL and other.key != item.key and _folder(root, other) == folder for other in items
    )
    if alone:
        own += [_below(root, path) for other in items if other.kind is Kind.PROJECTOR and _folder(root, other) == folder
                for path in other.paths]  # fmt: skip
        own += [
            seen.path
            for seen in walked.others
            if seen.path.rpartition("/")[0] == folder and _origin_of(seen.path) in walked.origins
        ]
    sizes = {seen.path: max(0, seen.size_bytes) for seen in (*walked.models, *walked.others)}
    return Removal(item, tuple(own), sum(sizes.get(path, 0) for path in own))


def remove(root: Path, removal: Removal, disk: Disk | None = None) -> None:
    """
    Do it: the file that an engine is given goes first, so that what is left is never taken for a whole model.

    Raises Conflict while one of the files is being fetched, StoreFailed for what cannot be removed.
    """
    disk = disk or Disk()
    for path in removal.paths:
        folders, name = place(path)
        try:
            with disk.folder(root, folders, make=False) as folder:
                _one(folder, Beside.of(name))
        except FileMissing:
            continue
        remove_empty(root, folders, disk)


def remove_empty(root: Path, folders: tuple[str, ...], disk: Disk) -> None:
    """Remove the innermost folder and those above it, as long as they are empty. The store's own stays."""
    for depth in range(len(folders), 0, -1):
        try:
            with disk.folder(root, folders[: depth - 1], make=False) as parent:
                os.rmdir(folders[depth - 1], dir_fd=parent.fd)
        except (OSError, StoreFailed):  # it is not empty, or gone
            return


def _one(folder: Folder, beside: Beside) -> None:
    what = f"{folder.path / beside.name} cannot be removed"
    with lock(folder, beside) as mine:
        if not mine:
            raise Conflict(f"{beside.name} is being fetched.", hint="Wait for that, or end it first.")
        with disk_errors(what):
            for name in (beside.name, beside.origin, beside.part, beside.journal):
                folder.remove(name)
            folder.sync()


def _below(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _folder(root: Path, item: Item) -> str:
    return _below(root, item.path).rpartition("/")[0]


def _origin_of(path: str) -> str:
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{Beside.of(name).origin}"
