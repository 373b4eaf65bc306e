"""`corral` as a person runs it: a process of its own, with a home of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

WAIT_S = 30.0


class Shell:
    """Runs `corral` with a home of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("CORRAL_", "XDG_"))},
            "HOME": str(home), "PATH": os.path.dirname(sys.executable) + ":/usr/bin:/bin", "TERM": "dumb",
        }  # fmt: skip

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "corral", *arguments]

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*arguments), input=stdin, capture_output=True, text=True, env=self.env, cwd=self.home,
            timeout=WAIT_S, check=False,
        )  # fmt: skip

    def processes(self) -> list[psutil.Process]:
        """All that run with this home."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("HOME") == str(self.home):
                    found.append(process)
        return found

    def until_runs(self, word: str, child: subprocess.Popen[Any]) -> None:
        """Wait for a process of `child` with this word in its command line."""
        deadline = time.monotonic() + WAIT_S
        while not any(word in process.cmdline() for process in self.processes()):
            assert child.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)

    def interrupted(self, argv: list[str], *, once_runs: str) -> int:
        """The exit code of a command that gets Ctrl-C, with all of its group, once such a process runs."""
        child = subprocess.Popen(argv, env=self.env, cwd=self.home, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            self.until_runs(once_runs, child)
            os.killpg(child.pid, signal.SIGINT)
            return child.wait(WAIT_S)
        finally:
            child.kill()
            child.wait()

    @contextlib.contextmanager
    def serving(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """`corral serve`, ready; ended by SIGTERM after the block."""
        child = subprocess.Popen(
            self.argv("serve", "--port", "0", *arguments),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.env, cwd=self.home,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + WAIT_S
            while self.run("status").returncode != 0:
                assert child.poll() is None and time.monotonic() < deadline, child.communicate()[0]
            yield child
        finally:
            child.terminate()
            child.communicate(timeout=WAIT_S)


@pytest.fixture
def shell() -> Iterator[Shell]:
    home = Path(tempfile.mkdtemp(prefix="c"))
    yield Shell(home)
    shutil.rmtree(home)
