"""A walk over a store ends, however deep and full it is, and says what it leaves out."""

from __future__ import annotations

from pathlib import Path

import pytest

from corral.store.shelf import walk as walking
from corral.store.shelf.walk import walk


def test_a_walk_has_a_depth_at_which_it_turns_back(tmp_path: Path) -> None:
    folder = tmp_path
    for number in range(walking.DEEPEST + 2):
        folder = folder / "d"
        folder.mkdir()
        (folder / f"{number}.gguf").write_bytes(b"x")
    names = {seen.path.rpartition("/")[2] for seen in walk(tmp_path).models}
    assert names == {f"{number}.gguf" for number in range(walking.DEEPEST)}


def test_a_walk_has_a_number_of_files_at_which_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(walking, "MOST_FILES", 5)
    for number in range(20):
        (tmp_path / f"{number:02d}.gguf").write_bytes(b"x")
    assert 5 <= len(walk(tmp_path).models) <= 6
    assert "more files than Corral looks at (5)" in caplog.text
