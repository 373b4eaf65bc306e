"""What is read from /proc and the cgroup files, and what an OOM counter means."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from corral.runtimes.process.fingerprint import fingerprint
from corral.runtimes.process.keeper import procs
from corral.runtimes.process.keeper.procs import OomWatch

linux = pytest.mark.skipif(not procs.LINUX, reason="there is no /proc here")


@linux
def test_a_process_is_known_by_its_start() -> None:
    me = procs.start_ticks(os.getpid())
    assert me > 0
    assert procs.start_ticks(2**22 + 1) == 0  # no such process
    assert not procs.kill_exact(os.getpid(), me + 1, signal.SIGKILL)  # or this test would not go on
    assert not procs.kill_exact(os.getpid(), 0, signal.SIGKILL)
    assert procs.kill_exact(os.getpid(), me, 0)
    assert len(procs.boot_id()) == 36


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("low 0\nhigh 0\nmax 3\noom 2\noom_kill 5\noom_group_kill 0\n", 5),  # cgroup v2 memory.events
        ("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", 2),  # cgroup v1 memory.oom_control
        ("pgfault 1\noom_kill 9\n", 9),  # /proc/vmstat
        ("oom_kill\n", 0),
        ("", 0),
    ],
)
def test_every_form_of_the_oom_counter(tmp_path: Path, text: str, count: int) -> None:
    path = tmp_path / "counter"
    path.write_text(text)
    assert procs.oom_kills(str(path)) == count


def test_without_a_counter_there_are_no_kills(tmp_path: Path) -> None:
    assert procs.oom_kills(str(tmp_path / "none")) == 0


class Counter:
    def __init__(self, folder: Path, start: int = 0) -> None:
        self.path = folder / "counter"
        self.set(start)
        self.watch = OomWatch(str(self.path))

    def set(self, count: int) -> None:
        self.path.write_text(f"oom_kill {count}\n")


def test_each_kill_is_claimed_once(tmp_path: Path) -> None:
    counter = Counter(tmp_path, 4)
    assert not counter.watch.claim(1)
    counter.set(6)
    assert counter.watch.claim(2)
    assert counter.watch.claim(3)
    assert not counter.watch.claim(4)


def test_a_kill_stays_claimable_while_a_large_process_is_torn_down(tmp_path: Path) -> None:
    counter = Counter(tmp_path)
    counter.set(1)
    counter.watch.look(10)
    counter.watch.look(20)
    assert counter.watch.claim(35)


def test_an_old_kill_of_a_stranger_is_not_ours(tmp_path: Path) -> None:
    counter = Counter(tmp_path)
    counter.set(1)
    counter.watch.look(10)
    assert not counter.watch.claim(41)


def test_fingerprint_names_what_matters() -> None:
    found = fingerprint()
    assert found.available
    assert {"platform", "cores", "subreaper", "parent_death_signal", "cgroup"} <= found.attributes.keys()
