"""Where a file of the store came from, read and written for who keeps the shelf. `fetch.origin` says what it is."""

from __future__ import annotations

from pathlib import Path

from corral.store.fetch import origin
from corral.store.fetch.disk import Beside, Disk, disk_errors, place
from corral.store.fetch.origin import VERSION, Origin

__all__ = ["VERSION", "Origin", "name_of", "read", "write"]


def name_of(name: str) -> str:
    """What the origin of a file is called."""
    return Beside.of(name).origin


def read(root: Path, path: str) -> Origin | None:
    """Of the file at `path` below the store's folder; None where nothing is known that can be used."""
    folders, name = place(path)
    with Disk().folder(root, folders, make=False) as folder:
        return origin.load(folder, Beside.of(name))


def write(root: Path, path: str, said: Origin) -> None:
    """Whole and on the disk. Raises StoreFailed."""
    folders, name = place(path)
    with Disk().folder(root, folders, make=False) as folder, disk_errors(f"{folder.path / name} cannot be described"):
        origin.save(folder, Beside.of(name), said)
