"""What is collected by its age, and what happens where one file cannot be removed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from corral.domain.errors import StoreFailed
from corral.store.fetch.disk import Disk
from corral.store.shelf import gc
from tests.models import ADA, model
from tests.unit.store.shelf import kit
from tests.unit.store.shelf.test_keeping import locked

NOW, DAY = 2_000_000_000.0, 86400.0


def left(path: Path, age_s: float, body: bytes = b"1") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    os.utime(path, (NOW - age_s, NOW - age_s))
    return path


def found(root: Path, older_s: float = 7 * DAY) -> set[str]:
    return {each.path.rpartition("/")[2] for each in gc.find(root, older_s=older_s, now=NOW)}


FRESH = (".a.gguf.part.json", ".b.gguf.origin.json", ".c.gguf.lock", ".d.gguf.part.json.new", ".e.gguf.origin.json.new")


def test_what_corral_is_just_writing_is_let_be(tmp_path: Path) -> None:
    """A journal stands before its part does, an origin before its file has its name."""
    for name in FRESH:
        left(tmp_path / "import" / name, 30.0, b"" if name.endswith(".lock") else b"1")
    left(tmp_path / ".index.1-2.tmp", 30.0)
    assert found(tmp_path, older_s=0.0) == set()
    for path in (*(tmp_path / "import" / name for name in FRESH), tmp_path / ".index.1-2.tmp"):
        os.utime(path, (NOW - 90, NOW - 90))
    assert found(tmp_path, older_s=0.0) == {*FRESH, ".index.1-2.tmp"}


def test_what_is_dated_in_the_future_is_old(tmp_path: Path) -> None:
    """A clock was wrong when it was written: it would lie there for years. A day of difference is waited for."""
    for name in (".a.gguf.part", ".a.gguf.part.json", ".b.gguf.origin.json", ".c.gguf.lock"):
        left(tmp_path / "import" / name, -400 * DAY, b"" if name.endswith(".lock") else b"1")
    left(tmp_path / "import/.soon.gguf.part", -DAY / 2)
    assert found(tmp_path) == {".a.gguf.part", ".a.gguf.part.json", ".b.gguf.origin.json", ".c.gguf.lock"}
    with locked(tmp_path / "import/a.gguf"):
        gone = list(gc.sweep(tmp_path, gc.find(tmp_path, older_s=0.0, now=NOW)))
    assert not any(each.path.startswith("import/.a.") for each in gone), "somebody fetches it"


def test_one_file_that_cannot_be_removed_keeps_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("hf/o/A/.a.gguf.part", "hf/o/B/.b.gguf.part", "hf/o/C/.c.gguf.part"):
        left(tmp_path / place, 30 * DAY)
    opened = os.open

    def closed(name: str, *rest: object, **more: object) -> int:
        if name == ".b.gguf.lock":
            raise PermissionError(13, "Permission denied")
        return opened(name, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", closed)
    failed: list[StoreFailed] = []
    gone = list(gc.sweep(tmp_path, gc.find(tmp_path, older_s=DAY, now=NOW), failed=failed.append))
    assert [each.path for each in gone] == ["hf/o/A/.a.gguf.part", "hf/o/C/.c.gguf.part"]
    (error,) = failed
    assert error.message == f"{tmp_path}/hf/o/B/.b.gguf.part cannot be removed: Permission denied."


def test_a_removal_is_on_the_disk_before_the_next_file_goes(tmp_path: Path) -> None:
    """Else a loss of power could bring the first part back, and with it a model that is not whole."""
    from corral.store.shelf import removing
    from corral.store.shelf.index import Index
    from corral.store.shelf.walk import walk

    for number, part in enumerate(kit.parts_of_split(), 1):
        kit.put(tmp_path / f"import/s-{number:05d}-of-00003.gguf", part)
    kit.put(tmp_path / "import/a.gguf", model(ADA))
    walked = walk(tmp_path)
    items = Index(tmp_path).items_of(walked)
    (plan,) = removing.planned(tmp_path, [item for item in items if item.name == "s"], items, walked)
    counts = []

    def fault(point: str) -> None:
        if point == "folder.sync":
            counts.append(len(list((tmp_path / "import").glob("s-*"))))

    removing.remove(tmp_path, plan, Disk(fault))
    assert counts == [2, 1, 0]


def test_what_the_walk_did_not_come_to_is_not_taken_for_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        kit.put(tmp_path / f"import/{name}.gguf", model(ADA))
        kit.describe(tmp_path, f"import/{name}.gguf", reference="hf.co/org/tiny")
    monkeypatch.setattr("corral.store.shelf.walk.MOST_FILES", 3)
    later = time.time() + 100 * 86400
    assert gc.find(tmp_path, older_s=0, now=later) == []
    for name in "abc":
        (tmp_path / f"import/{name}.gguf").unlink()
    monkeypatch.undo()
    assert len(gc.find(tmp_path, older_s=0, now=later)) == 3
