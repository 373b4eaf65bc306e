"""The lock of a file that is fetched: one holder, also in the moment in which it is given back."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from corral.store.fetch.disk import Beside, Disk
from corral.store.fetch.lock import lock

BESIDE = Beside.of("model.gguf")


def test_one_holds_it_and_it_leaves_nothing(tmp_path: Path) -> None:
    with Disk().folder(tmp_path, (), make=False) as folder:
        with lock(folder, BESIDE) as mine, lock(folder, BESIDE) as other:
            assert mine and not other
        with lock(folder, BESIDE) as mine:
            assert mine
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("anew", [False, True], ids=["removed", "made anew by another"])
def test_a_lock_on_a_file_that_was_removed_meanwhile_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anew: bool
) -> None:
    flock, place = fcntl.flock, tmp_path / BESIDE.lock

    def late(fd: int, how: int) -> None:
        """Between opening and locking its holder goes, and perhaps the next one comes."""
        place.rename(tmp_path / "gone")
        if anew:
            place.touch()
        flock(fd, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with Disk().folder(tmp_path, (), make=False) as folder, lock(folder, BESIDE) as mine:
        assert not mine
    assert place.exists() == anew, "what is another's stays"
