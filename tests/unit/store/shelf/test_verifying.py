"""Files that are none, and hashes that cannot be kept."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from corral.contracts.fetching import Progress
from corral.domain.errors import StoreFailed
from corral.store.shelf import origin
from corral.store.shelf.index import Index
from corral.store.shelf.items import Item
from corral.store.shelf.verifying import Verdict, verify
from tests.models import ADA, model
from tests.unit.store.shelf import kit


def quiet(progress: Progress) -> None:
    """Nobody looks."""


@pytest.mark.parametrize("what", ["device", "pipe", "folder"])
def test_what_is_no_file_is_not_read(tmp_path: Path, what: str) -> None:
    """A device never ends, and who opens a pipe waits for its writer."""
    there = tmp_path / "there"
    if what == "pipe":
        os.mkfifo(there)
    elif what == "folder":
        there.mkdir()
    path = tmp_path / "store/import/zero.gguf"
    path.parent.mkdir(parents=True)
    path.symlink_to("/dev/zero" if what == "device" else there)
    item = Item("import/zero", (str(path),), 0, 0.0, origins=(None,))
    began = time.monotonic()
    (found,) = verify(tmp_path / "store", item, quiet, stop=lambda: time.monotonic() - began > 2)
    assert (found.verdict, found.why) == (Verdict.WRONG, "It cannot be read: it is no regular file.")


def test_a_hash_that_cannot_be_kept_is_not_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kit.put(tmp_path / "import/a.gguf", model(ADA))

    def full(*_: object) -> None:
        raise StoreFailed("It cannot be described: Read-only file system.")

    with monkeypatch.context() as patch:
        patch.setattr(origin, "write", full)
        (found,) = verify(tmp_path, Index(tmp_path).items()[0], quiet)
    assert found.verdict is Verdict.NEW
    assert found.why == "Its hash is not remembered. It cannot be described: Read-only file system."
    (found,) = verify(tmp_path, Index(tmp_path).items()[0], quiet)
    assert (found.verdict, found.why) == (Verdict.NEW, "")
