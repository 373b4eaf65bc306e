"""The control socket of a state directory with a long path."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from corral.domain.errors import PlaceFailed
from corral.gateway.control_socket import ControlSocket
from corral.kit.sockets import reached


@pytest.fixture
def far(tmp_path: Path) -> str:
    """Too long for a socket."""
    folder = tmp_path / ("d" * 100)
    folder.mkdir()
    return str(folder / "control.sock")


@pytest.fixture(autouse=True)
def run(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The session's folder."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_tmp))
    return short_tmp


def test_it_lies_in_a_short_folder_with_a_link(far: str, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    control = ControlSocket(far)
    with control.bind() as listener:
        listener.listen()
        assert Path(reached(far)).is_relative_to(run)
        monkeypatch.setenv("XDG_RUNTIME_DIR", "/elsewhere")  # that of whoever looks for it
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(reached(far))
        control.remove()
    assert not os.path.lexists(far) and list((run / "corral").iterdir()) == []


def test_one_that_was_killed_leaves_nothing_in_the_way(far: str) -> None:
    ControlSocket(far).bind().close()
    again = ControlSocket(far)
    with again.bind() as listener:
        listener.listen()
        with pytest.raises(PlaceFailed, match="Another Corral listens"):
            ControlSocket(far).bind()
        assert os.path.exists(far)
        again.remove()


def test_a_file_in_its_place_is_left_alone(far: str, run: Path) -> None:
    Path(far).write_text("precious")
    with pytest.raises(PlaceFailed, match="not a link to a socket"):
        ControlSocket(far).bind()
    assert Path(far).read_text() == "precious" and list((run / "corral").iterdir()) == []


def test_a_folder_that_somebody_else_can_write_to_is_not_taken(
    far: str, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = run / "corral"
    shared.mkdir()
    shared.chmod(0o777)
    control = ControlSocket(far)
    with control.bind():
        assert not Path(reached(far)).is_relative_to(run)
        control.remove()
    monkeypatch.setattr("corral.gateway.control_socket.short_folders", lambda env: [shared])
    with pytest.raises(PlaceFailed, match="longer than 100 bytes, and no shorter place") as refused:
        ControlSocket(far).bind()
    assert str(shared) in refused.value.message and "--state-dir" in refused.value.hint
