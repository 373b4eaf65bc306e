"""Fetches that are killed: the file is absent, or goes on, or is whole and right, and never anything else."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from corral.store.fetch.disk import POINTS
from tests.file_server import Ask, FileServer, Reply, of_file
from tests.paths.fetching_child import PATH
from tests.paths.fetching_kit import data_of, left, plan_for, puller, sha256, whole

KILLS = 200
DATA = data_of(5, 12_000_000)


def child(root: Path, server: FileServer, *more: str) -> subprocess.Popen[bytes]:
    """It fetches the file by itself."""
    command = [sys.executable, "-m", "tests.paths.fetching_child", str(root), f"{server.origin}/model.bin"]
    return subprocess.Popen(
        [*command, str(len(DATA)), sha256(DATA), *more], stderr=subprocess.DEVNULL, cwd=Path(__file__).parents[2]
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_hundred_random_kills_and_the_file_is_right(tmp_path: Path) -> None:
    chance = random.Random(20261121)
    slow = True

    def serve(ask: Ask) -> Reply:
        """Slow, and slower still towards the end: it must not be whole before the last kill."""
        return of_file(ask, DATA, per_s=(300_000 if server.sent_bytes < 0.8 * len(DATA) else 5_000) if slow else 0)

    with FileServer(serve) as server:
        startup_s = _seconds_to_first_byte(tmp_path / "trial", server)
        before = server.sent_bytes
        for number in range(KILLS):
            sent = server.sent_bytes
            process = child(tmp_path / "store", server)
            if number % 2:  # at any moment of it; beside other work that is mostly before the first byte
                time.sleep(chance.uniform(0, startup_s + 0.15))
            else:
                _wait_for_bytes(server, sent)
                time.sleep(chance.uniform(0, 0.15))
            process.kill()
            process.wait(10)
            assert not (tmp_path / "store" / PATH).exists(), "it was too fast to be killed so often"
            assert set(left(tmp_path / "store")) <= {
                ".model.bin.part", ".model.bin.part.json", ".model.bin.part.json.new", ".model.bin.lock",
            }  # fmt: skip
        slow = False
        journal = json.loads((tmp_path / "store/web/files/.model.bin.part.json").read_text())
        came = sum(end - first for first, end in journal["written"])
        fetched = puller(tmp_path / "store").fetch(plan_for(f"{server.origin}/model.bin", DATA))
        assert whole(fetched, DATA)
        sent = server.sent_bytes - before
        print(f"{came:,} bytes were there after the kills; {sent / len(DATA):.2f} of the file was sent")
        assert came > len(DATA) / 3, "the kills met hardly any bytes"
        assert sent < 1.5 * len(DATA)


def _wait_for_bytes(server: FileServer, before: int) -> None:
    """More than `before` were sent."""
    until = time.monotonic() + 20
    while server.sent_bytes <= before and time.monotonic() < until:
        time.sleep(0.005)


def _seconds_to_first_byte(root: Path, server: FileServer) -> float:
    began = time.monotonic()
    process = child(root, server)
    try:
        _wait_for_bytes(server, 0)
        return time.monotonic() - began
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("point", POINTS)
def test_killed_at_any_step_it_goes_on_or_is_whole(tmp_path: Path, point: str, number: int) -> None:
    slowly = point == "part.settle"  # it is flushed beside what comes: a file that is there at once is not
    with FileServer(lambda ask: of_file(ask, DATA, per_s=20e6 if slowly else 0)) as server:
        process = child(tmp_path, server, point, str(number))
        assert process.wait(20) in ((-signal.SIGKILL,) if number == 1 else (-signal.SIGKILL, 0))
        place = tmp_path / PATH
        assert not place.exists() or place.read_bytes() == DATA
        assert whole(puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin", DATA)), DATA)
        if place.exists() and point in ("origin.rename", "folder.sync"):
            assert server.sent_bytes == len(DATA)


def test_two_processes_at_once_fetch_it_once(tmp_path: Path) -> None:
    with FileServer(lambda ask: of_file(ask, DATA, per_s=4e6)) as server:
        both = [child(tmp_path, server) for _ in range(2)]
        assert [process.wait(30) for process in both] == [0, 0]
        assert (tmp_path / PATH).read_bytes() == DATA and server.sent_bytes == len(DATA)
    assert left(tmp_path) == [".model.bin.origin.json", "model.bin"]


def test_who_waits_for_a_process_that_is_killed_goes_on_in_its_place(tmp_path: Path) -> None:
    with FileServer(lambda ask: of_file(ask, DATA, per_s=1.5e6)) as server:
        first = child(tmp_path, server)
        while server.sent_bytes < len(DATA) / 4:
            time.sleep(0.01)
        killer = threading.Timer(0.4, first.kill)
        killer.start()
        try:
            fetched = puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin", DATA))
        finally:
            killer.join()
            first.wait(10)
        assert whole(fetched, DATA) and first.returncode == -signal.SIGKILL
        assert server.sent_bytes < 1.3 * len(DATA)
