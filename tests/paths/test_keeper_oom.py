"""Memory kills are told from other kills: in a real memory cgroup where one can be made, else by a counter file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from corral.domain.launch import ExitKind, ExitStatus
from tests.paths.keeper_kit import Home, launch, program, said

EATER = """
    import time
    print("up", flush=True)
    time.sleep(0.1)
    held = []
    while True:
        held.append(b"x" * (1 << 20))
"""


@pytest.fixture
def home(short_tmp: Path) -> Home:
    return Home(short_tmp)


@pytest.fixture
def memory_group() -> Iterator[Path]:
    """An empty cgroup with a limit of 96 MiB."""
    for root, limit in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max"),
    ):
        group = root / f"corral-test-{os.getpid()}"
        try:
            group.mkdir()
            (group / limit).write_text(str(96 << 20))
        except OSError:
            with contextlib.suppress(OSError):
                group.rmdir()
            continue
        yield group
        group.rmdir()
        return
    pytest.skip("no memory cgroup can be made here")


@pytest.mark.parametrize("wrapped", [False, True])
async def test_a_real_memory_kill(home: Home, memory_group: Path, wrapped: bool) -> None:
    async with home.open() as runtime:
        first = await launch(runtime, "exec sleep 1000", "first")
        (memory_group / "cgroup.procs").write_text(str(first.data["keeper_pid"]))
        if wrapped:
            (home.state / "eater.py").write_text("\n".join(line[4:] for line in EATER.splitlines()))
            handle = await launch(runtime, f"python3 {home.state / 'eater.py'}; exit $?")
        else:
            handle = await program(runtime, EATER)
        async with asyncio.timeout(20):
            status = await runtime.wait(handle)
        assert status.kind is ExitKind.OOM_KILLED
        assert (status.code, status.signal) == ((137, None) if wrapped else (None, 9))
        other = await launch(runtime, "exec sleep 1000", "other")  # a kill by hand right after is not one
        os.kill(other.data["pid"], signal.SIGKILL)
        assert (await runtime.wait(other)).kind is ExitKind.SIGNALLED
        await runtime.close()


async def test_the_counter_decides(home: Home) -> None:
    counter = home.state.parent / "memory.events"
    counter.write_text("low 0\noom 0\noom_kill 7\n")
    async with home.open(oom_counter=str(counter)) as runtime:
        one = await launch(runtime, "exec sleep 1000", "one")
        two = await launch(runtime, "exec sleep 1000", "two")
        three = await launch(runtime, "echo up; sleep 0.3; exit 1", "three")
        await said(runtime, three, "up")
        counter.write_text("low 0\noom 1\noom_kill 8\n")
        os.kill(one.data["pid"], signal.SIGKILL)
        assert await runtime.wait(one) == ExitStatus(ExitKind.OOM_KILLED, signal=9)
        os.kill(two.data["pid"], signal.SIGKILL)  # the one kill is claimed
        assert await runtime.wait(two) == ExitStatus(ExitKind.SIGNALLED, signal=9)
        counter.write_text("low 0\noom 2\noom_kill 9\n")
        status = await runtime.wait(three)  # one of its children, perhaps: said, not judged
        assert (status.kind, status.code) == (ExitKind.EXITED, 1)
        assert "OOM" in status.detail
