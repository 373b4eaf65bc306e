"""An import that is ended, or whose file is written to meanwhile; and what is on the disk when it is done."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from corral.contracts.fetching import Progress
from corral.domain.errors import Conflict, FetchStopped, StoreFailed
from corral.store.fetch.disk import Disk
from corral.store.shelf import importing
from corral.store.shelf.importing import How
from tests.models import ADA, model
from tests.second_files import projector
from tests.unit.store.shelf import kit


def quiet(progress: Progress) -> None:
    """Nobody looks."""


def bring(
    root: Path,
    path: Path,
    how: How = How.LINK,
    told: Callable[[Progress], None] = quiet,
    disk: Disk | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> list[str]:
    done = importing.take_in(root, importing.planned(path, root=root), how, told, disk=disk, stop=stop)
    return [each.done for each in done]


def left(root: Path) -> set[str]:
    return {path.name for path in root.rglob("*") if not path.is_dir()} - {".index", ".names"}


@pytest.mark.parametrize("how", list(How))
def test_what_is_stopped_leaves_nothing(tmp_path: Path, how: How) -> None:
    path, root = kit.put(tmp_path / "a.gguf", model(ADA)), tmp_path / "store"
    with pytest.raises(FetchStopped):
        bring(root, path, how, stop=lambda: True)
    assert left(root) == set() and path.exists()


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, OSError, ValueError])
def test_a_copy_that_ends_in_whatever_way_leaves_nothing(tmp_path: Path, end: type[BaseException]) -> None:
    path, root = kit.put(tmp_path / "a.gguf", model(ADA)), tmp_path / "store"

    def ends(progress: Progress) -> None:
        assert ".a.gguf.part" in left(root)
        raise end

    with pytest.raises((end, StoreFailed)):
        bring(root, path, How.COPY, ends)
    assert left(root) == set()


def written_to(path: Path) -> Callable[[Progress], None]:
    """Somebody appends to it, once, when all of it is hashed or copied."""

    def told(progress: Progress) -> None:
        if progress.done_bytes == progress.total_bytes:
            with open(path, "ab") as file:
                file.write(b"more")

    return told


@pytest.mark.parametrize("way", ["link", "symlink", "copy", "move", "rename"])
def test_what_is_being_written_is_not_taken_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """Its hash would be of other bytes than those that stand in the store: `verify` would call a good file wrong."""
    path, root = kit.put(tmp_path / "a.gguf", model(ADA)), tmp_path / "store"

    def none(*_: Any, **__: Any) -> None:
        raise OSError(1, "Operation not permitted")

    if way in ("symlink", "rename"):
        monkeypatch.setattr(os, "link", none)
    how = {"copy": How.COPY, "move": How.MOVE, "rename": How.MOVE}.get(way, How.LINK)
    inode = path.stat().st_ino
    with pytest.raises(Conflict, match="is being written") as caught:
        bring(root, path, how, written_to(path))
    assert "Wait" in caught.value.hint
    assert left(root) == set(), "nothing is said of it either"
    assert path.stat().st_ino == inode and path.stat().st_size == model(ADA).stat().st_size + 4


def test_the_file_that_an_engine_is_given_comes_last(tmp_path: Path) -> None:
    """What is stopped on the way is then never taken for a whole model."""
    parts = [
        kit.put(tmp_path / f"there/s-{n:05d}-of-00003.gguf", part) for n, part in enumerate(kit.parts_of_split(), 1)
    ]
    kit.put(tmp_path / "there/mmproj-s-F16.gguf", projector())
    root = tmp_path / "store"
    order: list[str] = []

    def told(progress: Progress) -> None:
        if progress.file not in order:
            order.append(progress.file)
            assert not (root / "import/s" / parts[0].name).exists()

    assert len(bring(root, parts[0], told=told)) in (3, 4)
    assert order[-1] == parts[0].name and set(order) >= {part.name for part in parts}


@pytest.mark.parametrize("how", list(How))
def test_what_is_said_to_be_there_outlives_a_loss_of_power(tmp_path: Path, how: How) -> None:
    """The folder is on the disk after the file and its origin have their names, of each of them."""
    path, root = kit.put(tmp_path / "a.gguf", model(ADA)), tmp_path / "store"
    synced: list[set[str]] = []

    def fault(point: str) -> None:
        if point == "folder.sync":
            synced.append(left(root))

    bring(root, path, how, disk=Disk(fault))
    assert synced and synced[-1] >= {"a.gguf", ".a.gguf.origin.json"}
