"""A command on a terminal of its own, with a person before it: what is typed, what is seen, Ctrl-C."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from types import TracebackType

from tests.paths.shell_kit import WAIT_S, Shell

CTRL_C, CTRL_D = "\x03", "\x04"
_OWN = (  # the terminal has to be the session's own, or Ctrl-C there is a letter like any other
    "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """`with Terminal(shell, "models", "suggest") as terminal: terminal.until("?"); terminal.types("1\\n")`."""

    def __init__(self, shell: Shell, *words: str) -> None:
        self.leader, follower = pty.openpty()
        self.seen = ""
        self.child = subprocess.Popen(
            [sys.executable, "-c", _OWN, *shell.argv(*words)],
            stdin=follower, stdout=follower, stderr=follower, cwd=shell.home,
            env={**shell.env, "TERM": "xterm-256color", "COLUMNS": "200"},
        )  # fmt: skip
        os.close(follower)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.child.kill()
        self.child.wait()
        os.close(self.leader)

    def types(self, text: str) -> None:
        """As a person does."""
        os.write(self.leader, text.encode())

    def until(self, text: str, *, times: int = 1) -> None:
        """Wait until it is seen."""
        deadline = time.monotonic() + WAIT_S
        while self.seen.count(text) < times:
            assert self._read(deadline), f"it ended before {text!r}: {self.seen}"

    def ends(self) -> int:
        """Wait for the end of it; the exit code."""
        deadline = time.monotonic() + WAIT_S
        while self._read(deadline):
            pass
        return self.child.wait(WAIT_S)

    def _read(self, deadline: float) -> bool:
        """False at the end."""
        ready, _, _ = select.select([self.leader], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"nothing more came: {self.seen}"
        try:
            piece = os.read(self.leader, 65536)
        except OSError:  # how a terminal ends
            return False
        self.seen += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", piece.decode()).replace("\r\n", "\n")
        return bool(piece)
