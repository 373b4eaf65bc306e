"""Programs under test: started on their own cores in their own process groups, watched from outside, ended for sure."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Final

import psutil

from corral.domain.errors import PlaceFailed

START_S: Final = 60.0
STOP_S: Final = 10.0
_LOG_TAIL: Final = 4


class Failed(PlaceFailed):
    """A program of the benchmark did not do its part."""

    code = "bench_failed"


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core runs what; -1 leaves it to the system."""

    load: int
    upstream: int
    program: int

    @property
    def pinned(self) -> bool:
        """True when the program under test has a core to itself."""
        return self.program >= 0

    @property
    def shared(self) -> bool:
        """True when generator and upstream share a core."""
        return self.load == self.upstream


def cores() -> Cores:
    """The program under test gets one of its own; generator and upstream share one where there are only two."""
    mine = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []
    if len(mine) < 2:
        return Cores(-1, -1, -1)
    return Cores(mine[0], mine[1] if len(mine) > 2 else mine[0], mine[-1])


class Running:
    """A started program with all that it started."""

    def __init__(self, child: subprocess.Popen[bytes], name: str, log: str) -> None:
        self.child, self.name, self.log = child, name, log
        self.process = psutil.Process(child.pid)

    def _tree(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            return [self.process, *self.process.children(recursive=True)]
        return []

    def cpu_s(self) -> float:
        """User and system time of the tree, of children that have ended too."""
        total = 0.0
        for each in self._tree():
            with contextlib.suppress(psutil.Error):
                total += sum(each.cpu_times()[:4])
        return total

    def waited_s(self) -> float:
        """How long its own thread was ready to run while another had the core; 0 where the system does not tell."""
        return waited_s(self.child.pid)

    def rss_bytes(self) -> int:
        """Resident memory of the tree."""
        total = 0
        for each in self._tree():
            with contextlib.suppress(psutil.Error):
                total += each.memory_info().rss
        return total

    def died(self) -> str:
        """What it said last, if it has ended; else nothing."""
        code = self.child.poll()
        return "" if code is None else f"{self.name} ended with {code}. {last_words(self.log)}".strip()

    def end(self) -> None:
        """SIGTERM to the program, in the end SIGKILL to its whole group."""
        tree = self._tree()
        self.child.terminate()
        try:
            self.child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            pass
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.child.pid, signal.SIGKILL)
        for each in tree:  # what left the group: psutil knows a reused pid from the one it saw
            with contextlib.suppress(psutil.Error):
                each.kill()
        self.child.wait(STOP_S)
        for pipe in (self.child.stdin, self.child.stdout):
            if pipe is not None:
                pipe.close()


def waited_s(pid: int | str) -> float:
    """Seconds that a process's first thread waited for a core (Linux: the second field of its schedstat)."""
    try:
        with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def last_words(log: str) -> str:
    """The last lines of a log, as one."""
    with contextlib.suppress(OSError), open(log, encoding="utf-8", errors="replace") as file:
        return " | ".join(line.strip() for line in file.readlines()[-_LOG_TAIL:] if line.strip())
    return ""


@contextlib.contextmanager
def started(
    name: str, argv: Sequence[str], *, core: int, folder: str, env: Mapping[str, str] | None = None, talks: bool = False
) -> Iterator[Running]:
    """The program, running inside the block. `talks`: its stdin and stdout are pipes of ours."""
    log = os.path.join(folder, f"{name}.log")
    pinned = [sys.executable, "-m", "corral.bench.pinned", str(core), str(os.getpid()), *argv]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("CORRAL_")}
    pipe = subprocess.PIPE if talks else subprocess.DEVNULL
    with open(log, "wb") as errors:
        child = subprocess.Popen(
            pinned, stdin=pipe, stdout=pipe if talks else errors, stderr=errors, start_new_session=True,
            env={**kept, "GOMAXPROCS": "1", **(env or {})}, cwd=folder,
        )  # fmt: skip
    running = Running(child, name, log)
    try:
        yield running
    finally:
        running.end()


def line(running: Running, timeout_s: float) -> bytes:
    """The next line of a program that talks. Raises Failed when none comes in time."""
    import select

    out: IO[bytes] | None = running.child.stdout
    assert out is not None
    deadline = time.monotonic() + timeout_s
    data = b""
    while not data.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([out], [], [], left)[0]:
            raise Failed(f"{running.name} said nothing within {timeout_s:.0f} s.")
        piece = os.read(out.fileno(), 65536)
        if not piece:
            running.child.wait(STOP_S)
            raise Failed(running.died() or f"{running.name} ended.")
        data += piece
    return data
