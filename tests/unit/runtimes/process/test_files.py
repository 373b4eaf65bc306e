"""Names, handle files and what is cleared away."""

from __future__ import annotations

import errno
import json
import logging
import os
import stat
from pathlib import Path

import pytest

from corral.domain.errors import PlaceFailed
from corral.domain.launch import Endpoint, ExitKind, ExitStatus, Handle
from corral.runtimes.process import sweep
from corral.runtimes.process.handle import HandleFiles
from corral.runtimes.process.keeper import procs
from corral.runtimes.process.places import Places, short_slug, slug, write_private


def handle(instance: str, started_at: float = 1.0) -> Handle:
    return Handle("process", instance, "m", "d", Endpoint(socket="/s", key="secret"), started_at, {"pid": 7})


@pytest.mark.parametrize("plain", ["a", "m-1", "ab12cd.3", "A_b", "x" * 48])
def test_plain_names_stay(plain: str) -> None:
    assert slug(plain) == plain


@pytest.mark.parametrize("odd", ["", ".", "..", ".a", "-a", "a/b", "a b", "é", "x" * 49, "a\0", "a\n"])
def test_odd_names_become_a_hash(odd: str) -> None:
    assert slug(odd) == short_slug(odd)
    assert len(slug(odd)) == 16
    assert slug(odd) != slug(odd + "2")


def test_handles_are_written_whole_and_private(tmp_path: Path) -> None:
    files = HandleFiles(tmp_path)
    files.write(handle("two", 2.0))
    files.write(handle("one", 1.0))
    files.write(handle("two", 0.5))
    assert files.all() == [handle("two", 0.5), handle("one", 1.0)]  # oldest first
    assert sorted(os.listdir(tmp_path)) == ["one.json", "two.json"]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in tmp_path.iterdir())
    files.remove("two")
    files.remove("two")
    assert files.all() == [handle("one", 1.0)]


def test_what_is_no_handle_is_named_and_ignored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "x.json").write_text("{")
    (tmp_path / "y.json").write_text(json.dumps({"version": 2}))
    (tmp_path / "z.json").mkdir()
    with caplog.at_level(logging.WARNING):
        assert HandleFiles(tmp_path).all() == []
    assert [name for name in ("x.json", "y.json", "z.json") if name in caplog.text] == ["x.json", "y.json", "z.json"]


EXIT = '{"pid": 7, "kind": "exited", "code": 3, "signal": null, "detail": "x"}'


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (EXIT, ExitStatus(ExitKind.EXITED, code=3, detail="x")),
        (EXIT.replace("7", "8"), None),  # an earlier life of the name
        (EXIT.replace("exited", "melted"), None),
        ('{"pid": 7}', None),
        ("[]", None),
        ("{", None),
    ],
)
def test_exit_files(tmp_path: Path, text: str, status: ExitStatus | None) -> None:
    files = HandleFiles(tmp_path)
    assert files.exit_status("one", 7) is None
    files.exit_path("one").write_text(text)
    assert files.exit_status("one", 7) == status


def test_the_state_id_is_random_and_stays(tmp_path: Path) -> None:
    ids = []
    for folder in (tmp_path / "a", tmp_path / "a", tmp_path / "b"):
        places = Places(folder, tmp_path / "r")
        places.prepare()
        ids.append(places.state_id)
        places.release()
    assert ids[0] == ids[1] != ids[2]
    (tmp_path / "a" / "id").write_text("broken")
    places = Places(tmp_path / "a", tmp_path / "r")
    places.prepare()
    assert len(places.state_id) == 16
    places.release()


def test_a_state_directory_that_cannot_be_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PlaceFailed, match="file/state cannot be used: Not a directory"):
        Places(tmp_path / "file" / "state").prepare()


def test_a_socket_folder_that_others_can_write_to_is_not_used(tmp_path: Path) -> None:
    run = tmp_path / "r"
    run.mkdir(mode=0o777)
    run.chmod(0o777)
    places = Places(tmp_path / "s", run)
    places.prepare()
    places.release()
    assert places.sockets is not None
    assert run not in places.sockets.parents


def test_only_what_belongs_to_nobody_is_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = Places(tmp_path / "s", tmp_path / "r")
    places.prepare()
    odd = "a/b" * 40
    for name in ("kept", "gone", odd):
        places.fresh_scratch(slug(name))
        Path(places.socket(name)).touch()
    Path(places.keeper_socket).touch()
    for age, name in enumerate(["kept.0.log", "new.0.log", "old.0.log", "kept.9.log"]):
        (places.logs / name).write_text("x" * 10)
        os.utime(places.logs / name, (1000 - age, 1000 - age))
    monkeypatch.setattr(sweep, "LOGS_KEPT_BYTES", 25)
    sweep.clear_files(places, ["kept", odd])
    sweep.prune_logs(places, ["kept", odd])
    places.release()
    assert sorted(os.listdir(places.scratch)) == sorted(["kept", slug(odd)])
    assert places.sockets is not None
    assert sorted(os.listdir(places.sockets)) == sorted(["keeper", "kept.sock", os.path.basename(places.socket(odd))])
    assert sorted(os.listdir(places.logs)) == ["kept.0.log", "kept.9.log", "new.0.log"]


def test_a_handle_names_one_process_of_one_boot() -> None:
    start = procs.start_ticks(os.getpid())
    me = {"pid": os.getpid(), "start_ticks": start, "boot_id": procs.boot_id()}
    assert sweep.alive(me)
    assert not sweep.alive({**me, "boot_id": "another"})
    assert not sweep.alive({**me, "start_ticks": start + 1})
    assert not sweep.alive({**me, "start_ticks": 0})
    assert not sweep.alive({})


def test_logs_that_vanish_while_they_are_pruned_are_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = Places(tmp_path / "s", tmp_path / "r")
    places.prepare()
    (places.logs / "gone.0.log").symlink_to(tmp_path / "nowhere")  # listed, and not there when it is looked at
    (places.logs / "old.0.log").write_text("x")
    monkeypatch.setattr(sweep, "LOGS_KEPT_BYTES", 0)
    sweep.prune_logs(places, [])
    places.release()
    assert not (places.logs / "old.0.log").exists()


def test_logs_of_the_newest_instances_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = Places(tmp_path / "s", tmp_path / "r")
    places.prepare()
    for age, name in enumerate(["a.9.log", "b.0.log", "c.0.log", "a.0.log", "live.0.log"]):
        (places.logs / name).write_text("x")
        os.utime(places.logs / name, (1000 - age, 1000 - age))
    monkeypatch.setattr(sweep, "LOGS_KEPT_INSTANCES", 2)
    sweep.prune_logs(places, ["live"])
    places.release()
    assert sorted(os.listdir(places.logs)) == ["a.0.log", "a.9.log", "b.0.log", "live.0.log"]


def test_a_full_disk_leaves_no_half_written_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(OSError, match="No space"):
            write_private(tmp_path / "one.json", "a key")
    assert list(tmp_path.iterdir()) == []


def test_files_that_were_never_finished_are_cleared(tmp_path: Path) -> None:
    places = Places(tmp_path / "s", tmp_path / "r")
    places.prepare()
    for name in (".one.json.new", "old.exit.new", "being-written.exit.new", "one.json"):
        (places.handles / name).touch()
    os.utime(places.handles / "old.exit.new", (1000, 1000))
    sweep.clear_files(places, ["one"])
    places.release()
    assert sorted(os.listdir(places.handles)) == ["being-written.exit.new", "one.json"]


def test_an_empty_socket_folder_goes_with_its_corral(tmp_path: Path) -> None:
    places = Places(tmp_path / "s", tmp_path / "r")
    places.prepare()
    assert places.sockets is not None and places.sockets.is_dir()
    places.release()
    assert not places.sockets.exists()
    later = Places(tmp_path / "s", tmp_path / "r")
    later.prepare()
    Path(later.keeper_socket).touch()  # engines are kept
    later.release()
    assert Path(later.keeper_socket).exists()
