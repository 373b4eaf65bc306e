"""Places for sockets: short ones, and this user's alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from corral.kit import sockets


def test_a_hundred_bytes_fit_and_letters_may_have_several() -> None:
    assert sockets.fits("/" + "x" * 99) and not sockets.fits("/" + "x" * 100)
    assert not sockets.fits("/" + "é" * 50)


def test_the_sessions_folder_goes_before_temp_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    own = f"corral-{os.getuid()}"
    assert sockets.short_folders({"XDG_RUNTIME_DIR": "/run/user/7"})[0] == Path("/run/user/7/corral")
    assert sockets.short_folders({"XDG_RUNTIME_DIR": "not/absolute"})[-1] == Path("/tmp", own)
    assert sockets.fits(sockets.short_folders({})[-1] / "12345678" / "control.sock")


def test_a_folder_that_others_can_write_to_is_not_private(tmp_path: Path) -> None:
    assert sockets.private_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    shared, link, file = tmp_path / "shared", tmp_path / "link", tmp_path / "file"
    shared.mkdir()
    shared.chmod(0o777)
    link.symlink_to(tmp_path / "a")
    file.touch()
    assert not any(map(sockets.private_folder, (shared, link, file, file / "below")))


def test_a_folder_of_somebody_else_is_not_private(tmp_path: Path) -> None:
    """Nobody else can write to it, but it is not ours: whose it is may do there what they like."""
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o700)
    if os.getuid() == 0:
        os.chown(folder, 65534, 65534)
    else:
        folder = Path("/usr")
    assert not folder.lstat().st_mode & 0o022 and not sockets.private_folder(folder)


def test_a_socket_that_is_too_far_away_is_reached_by_its_link(tmp_path: Path) -> None:
    assert sockets.reached("/near.sock") == "/near.sock"
    far = tmp_path / ("d" * 100) / "control.sock"
    with pytest.raises(FileNotFoundError):
        sockets.reached(str(far))
    far.parent.mkdir()
    far.symlink_to("/run/short.sock")
    assert sockets.reached(str(far)) == "/run/short.sock"
