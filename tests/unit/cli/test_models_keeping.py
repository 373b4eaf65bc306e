"""`remove`, `import`, `verify` and `gc` on bad days: a Corral that is silent, Ctrl-C, folders that are closed."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from corral.cli import connect
from corral.config import paths
from corral.domain.errors import PlaceFailed
from tests.models import ADA, model
from tests.unit.cli.conftest import Command
from tests.unit.store.shelf import kit


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "home/.local/share/corral/models"


@pytest.fixture
def stopped(corral: Command, short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A Corral that was stopped (SIGSTOP): the kernel takes connections for it, and nobody answers."""
    monkeypatch.setenv("CORRAL_STATE_DIR", str(short_tmp / "state"))
    place = Path(paths.control_socket(str(short_tmp / "state")))
    place.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place))
        listening.listen(8)
        yield listening


@pytest.mark.parametrize("words", [("remove", "-y", "ada"), ("gc", "--older-than", "0s")])
def test_a_corral_that_does_not_answer_may_have_anything_loaded(
    corral: Command, store: Path, stopped: socket.socket, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setattr(connect, "CONNECT_S", 0.1)
    ada = kit.put(store / "import/ada.gguf", model(ADA))
    part = kit.put(store / "import/.b.gguf.part", model(ADA))
    ran = corral("models", *words)
    assert ran.code == 1 and ran.out == ""
    assert "What the Corral that runs here has loaded cannot be known: " in ran.err and "does not answer" in ran.err
    assert ("or say --force." in ran.err) == (words[0] == "remove")
    assert ada.exists() and part.exists()
    assert corral("models", "remove", "--force", "ada").code == 0 and not ada.exists()


@pytest.mark.parametrize(
    "error", [PlaceFailed("It cannot be asked: Permission denied."), connect.Answered("The answer was 500.", 500)]
)
def test_only_nobody_is_nobody(corral: Command, store: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    class Odd:
        ends_with_us = False

        def ask(self, *_: object, **__: object) -> Any:
            raise error

    ada = kit.put(store / "import/ada.gguf", model(ADA))
    monkeypatch.setattr("corral.cli.connect.find", lambda **_: Odd())
    ran = corral("models", "remove", "-y", "ada")
    assert ran.code == 1 and ada.exists() and str(error) in ran.err


def interrupting(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal comes when the first bytes are read."""
    read = os.preadv
    sent: list[int] = []

    def reading(*given: Any) -> int:
        if not sent:
            sent.append(number)
            os.kill(os.getpid(), number)
        return read(*given)

    monkeypatch.setattr(os, "preadv", reading)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("words", [("import", "ada.gguf", "--move"), ("import", "ada.gguf"), ("verify", "ben")])
def test_a_signal_ends_it_and_nothing_is_left(
    corral: Command,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    number: int,
    code: int,
) -> None:
    kit.put(Path("ada.gguf"), model(ADA))
    ben = kit.put(store / "import/ben.gguf", model(ADA))
    interrupting(number, monkeypatch)
    ran = corral("models", *words)
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith("corral: Stopped.")
    assert [path.name for path in sorted(ben.parent.iterdir())] == ["ben.gguf"] and Path("ada.gguf").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_copy_that_is_ended_leaves_no_half(
    corral: Command, store: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    kit.put(Path("ada.gguf"), model(ADA))
    statvfs = os.fstatvfs

    def sending(fd: int) -> Any:
        os.kill(os.getpid(), number)
        return statvfs(fd)

    monkeypatch.setattr(os, "fstatvfs", sending)
    ran = corral("models", "import", "ada.gguf", "--copy")
    assert (ran.code, ran.out) == (code, "")
    assert "The same command does the rest" in ran.err
    assert [path for path in store.rglob("*") if not path.is_dir()] == []


def litter(store: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three parts that are old; that of `b` cannot be removed."""
    places = [f"hf/o/{each}/.{each}.gguf.part" for each in "abc"]
    for place in places:
        (store / place).parent.mkdir(parents=True)
        (store / place).write_bytes(b"x" * 2048)
        os.utime(store / place, (1, 1))
    unlink = os.unlink

    def closed(name: Any, **more: Any) -> None:
        if str(name) == ".b.gguf.part":
            raise PermissionError(13, "Permission denied")
        unlink(name, **more)

    monkeypatch.setattr(os, "unlink", closed)
    return places


def test_gc_says_what_it_removed_where_not_all_can_be(
    corral: Command, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = litter(store, monkeypatch)
    ran = corral("models", "gc")
    assert ran.code == 1
    assert ran.out.splitlines() == [f"{each} (2 KiB): a fetch that was given up" for each in (places[0], places[2])]
    assert ran.err.splitlines() == [
        f"corral: {store}/{places[1]} cannot be removed: Permission denied. Make it writable for this user, "
        "or set another store.path.",
        "4 KiB freed.",
    ]


def test_gc_says_it_to_programs_too(corral: Command, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = litter(store, monkeypatch)
    ran = corral("models", "gc", "--json")
    told = json.loads(ran.out)
    assert ran.code == 1 and [each["path"] for each in told["files"]] == [places[0], places[2]]
    (failed,) = told["failed"]
    assert f"{places[1]} cannot be removed: Permission denied." in failed


def test_a_folder_that_stays_is_not_said_to_be_gone(
    corral: Command, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store / "import/a").mkdir(parents=True)
    (store / "import/b").mkdir(parents=True)
    rmdir = os.rmdir

    def closed(name: Any, **more: Any) -> None:
        if str(name) == "b":
            raise PermissionError(13, "Permission denied")
        rmdir(name, **more)

    monkeypatch.setattr(os, "rmdir", closed)
    assert corral("models", "gc").out == "import/a/: an empty folder\n"


def test_verify_says_which_hash_is_not_remembered(
    corral: Command, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = kit.put(store / "import/ada.gguf", model(ADA))
    rename = os.rename

    def read_only(old: Any, new: Any, **more: Any) -> None:
        if str(new).endswith(".origin.json"):
            raise OSError(30, "Read-only file system")
        rename(old, new, **more)

    monkeypatch.setattr(os, "rename", read_only)
    ran = corral("models", "verify")
    assert ran.code == 0
    assert ran.out.startswith(f"new    {path} Its hash is not remembered. {path} cannot be described: Read-only")
