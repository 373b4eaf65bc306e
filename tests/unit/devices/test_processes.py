import mmap
import os
from pathlib import Path

import psutil
import pytest

from corral.devices.processes import ProcessMemory

ME = os.getpid()


class Rollup:
    """The smaps_rollup of this process, as a file."""

    def __init__(self, root: Path) -> None:
        self.path = root / f"proc/{ME}/smaps_rollup"
        self.path.parent.mkdir(parents=True)

    def say(self, kib: int) -> None:
        self.path.write_text(f"5-7 ---p 0 00:00 0 [rollup]\nRss: 99 kB\nPss: {kib} kB\nPss_Anon: 1 kB\n")


def test_it_is_the_proportional_size_and_read_again_only_later(tmp_path: Path) -> None:
    now = 0.0
    rollup = Rollup(tmp_path)
    memory = ProcessMemory(tmp_path, now=lambda: now)
    rollup.say(10)
    first = memory.used_by([ME, ME])
    rollup.say(20)
    second = memory.used_by([ME])
    now = 61.0
    third = memory.used_by([ME])

    assert [first, second, third] == [10 * 1024, 10 * 1024, 20 * 1024]


def test_a_process_that_grows_is_read_at_once(tmp_path: Path) -> None:
    rollup = Rollup(tmp_path)
    memory = ProcessMemory(tmp_path, now=lambda: 0.0)
    rollup.say(10)
    memory.used_by([ME])
    rollup.say(20)
    size = psutil.Process().memory_info().rss // 4  # far more than others can take from us meanwhile
    with mmap.mmap(-1, size) as growth:  # pages that this process cannot have had
        growth[::4096] = b"x" * len(range(0, size, 4096))
        after = memory.used_by([ME])

    assert after == 20 * 1024


def test_without_the_kernels_figure_shared_pages_count_once(tmp_path: Path) -> None:
    me = psutil.Process().memory_info()

    assert abs(ProcessMemory(tmp_path).used_by([ME]) - me.rss) < 0.2 * me.rss


def test_processes_that_are_gone_count_nothing(tmp_path: Path) -> None:
    assert ProcessMemory(tmp_path).used_by([2**22 + 1]) == 0


def test_the_real_figure_of_this_process_is_at_most_its_rss() -> None:
    rss = psutil.Process().memory_info().rss

    assert 0 < ProcessMemory().used_by([ME]) <= 1.1 * rss


def test_one_that_takes_long_to_look_at_is_looked_at_rarely(tmp_path: Path) -> None:
    times = iter([0.0, 1.0, 400.0, 401.0, 901.0, 902.0])  # a second to read: at most one in 500
    rollup = Rollup(tmp_path)
    memory = ProcessMemory(tmp_path, now=lambda: next(times))
    rollup.say(10)
    first = memory.used_by([ME])
    rollup.say(20)

    assert (first, memory.used_by([ME])) == (10 * 1024, 10 * 1024)
    assert next(times) == 401.0
    assert memory.used_by([ME]) == 20 * 1024


def test_another_process_with_the_same_number_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rollup = Rollup(tmp_path)
    memory = ProcessMemory(tmp_path, now=lambda: 0.0)
    rollup.say(10)
    first = memory.used_by([ME])
    rollup.say(20)
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: 1.0)

    assert (first, memory.used_by([ME])) == (10 * 1024, 20 * 1024)
