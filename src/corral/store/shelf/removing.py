"""
Taking a model off the shelf: its parts, what Corral wrote beside them, and what came with it that nobody else needs.

Folders are walked by their descriptors: a link is removed as such, and one on the way to a file stops the removal.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from corral.contracts.fetching import Role
from corral.domain.errors import Conflict, FileMissing, StoreFailed
from corral.domain.references import BadReference, HubReference, OllamaReference, parse
from corral.store.fetch.disk import Beside, Disk, Folder, disk_errors, place
from corral.store.fetch.lock import lock
from corral.store.shelf.items import STORE, Item, home_of
from corral.store.shelf.origin import Origin
from corral.store.shelf.walk import Walked


@dataclass(frozen=True, slots=True)
class Removal:
    """Files below the store's folder, those of the model first; `size_bytes` of all of them."""

    item: Item
    paths: tuple[str, ...]
    size_bytes: int


def planned(root: Path, wanted: Sequence[Item], items: Sequence[Item], walked: Walked) -> list[Removal]:
    """
    What goes with each of the `wanted`, no file twice.

    The adapters that are a part of it do. The projectors, licences and the like that came from the same place, or with
    it, go with the last model that they could belong to; what somebody put there himself stays.
    """
    gone = {item.key for item in wanted}
    stay = {home_of(other.key) for other in items if other.role is Role.MODEL and other.key not in gone}
    sizes = {seen.path: max(0, seen.size_bytes) for seen in (*walked.models, *walked.others)}
    taken = {_below(root, path) for item in wanted if item.place == STORE for path in item.paths}
    plans: list[Removal] = []
    for number, item in enumerate(wanted):
        if item.place != STORE:
            raise Conflict(f"{item.name} is kept by {item.place}.", hint="Corral removes nothing of other programs.")
        own = [_below(root, path) for path in item.paths]
        home = home_of(item.key)
        with_it = [_below(root, path) for path in item.adapters]
        later = any(other.role is Role.MODEL and home_of(other.key) == home for other in wanted[number + 1 :])
        if item.role is Role.MODEL and home not in stay and not later:
            models = [other for other in wanted if other.role is Role.MODEL and home_of(other.key) == home]
            with_it += _came_along(root, models, home, items, walked)
        own += [path for path in dict.fromkeys(with_it) if path not in taken]
        taken.update(own)
        plans.append(Removal(item, tuple(own), sum(sizes.get(path, 0) for path in own)))
    return plans


def _came_along(root: Path, models: Sequence[Item], home: str, items: Sequence[Item], walked: Walked) -> list[str]:
    """The files of `home`, below the store, that came from where one of its models did, or were imported with it."""
    places = {place for model in models if (place := _place(model.reference))}
    beside = {path for model in models for said in model.origins if said is not None for path in said.companions}
    found = [
        _below(root, path)
        for other in items
        if other.role is Role.PROJECTOR and home_of(other.key) == home
        for path in other.paths
        if (_fetched(other.origins[0]) and _place(other.reference) in places)
        or (_imported(other.origins[0]) and _below(root, path) in beside)
    ]
    return found + [
        seen.path for seen in walked.others if home_of(seen.path) == home and _origin_of(seen.path) in walked.origins
    ]


def _fetched(said: Origin | None) -> bool:
    """Of what was put there by hand, too, a hash is remembered."""
    return said is not None and bool(said.url or said.linked)


def _imported(said: Origin | None) -> bool:
    return said is not None and said.reference.startswith("file:")


def _place(reference: str) -> object:
    """What is fetched as one: the repository, the model of a registry; of a single file nothing comes along."""
    try:
        said = parse(reference)
    except BadReference:
        return None
    if isinstance(said, HubReference):
        return said.repo.lower(), said.revision
    return said if isinstance(said, OllamaReference) else None


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


def _origin_of(path: str) -> str:
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{Beside.of(name).origin}"
