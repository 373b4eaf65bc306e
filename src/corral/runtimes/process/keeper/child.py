"""
One engine's life: started, running, ending, ended.

It *ends* when its main process does, or when it is asked to; it *has ended* when nothing of it is left: the main
process, its group, and whatever changed group or session, which comes to the keeper as an orphan and is told apart by
session, group, marker or by having been seen below the main process.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from typing import IO, Any

from corral.runtimes.process.keeper import procs
from corral.runtimes.process.keeper.output import Output

READ_BYTES = 32 * 1024
LEFTOVER_GRACE_S = 1.0  # what a dead main process leaves behind may tidy up this long


class Child:
    """An engine and everything it started. `spec` is the `start` request; see `keeper.__main__`."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.instance: str = spec["instance"]
        self.output = Output(spec["logs"], spec["log_name"])
        self.status: dict[str, Any] | None = None  # set when it has ended
        self._marker: str = spec["env"][procs.MARKER]
        self._exit_file: str = spec["exit_file"]
        self._stop_signal: int = spec["stop_signal"]
        self.grace_s: float = spec["stop_grace_s"]
        self._wait_status: int | None = None  # of the main process, once reaped
        self._asked = ""  # why it was asked to end
        self._deadline: float | None = None  # set while it is ending: when patience ends
        self._seen_below: dict[int, int] = {}
        self._signalled: set[int] = set()
        parent = os.getpid()
        # stdin is a pipe that stays open and silent: a program that watches it sees EOF when the keeper dies, which on
        # platforms without a parent-death signal is the only sign there is.
        self._process = subprocess.Popen(
            spec["argv"],
            env=spec["env"],
            cwd=spec["cwd"] or None,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
            umask=0o077,
            preexec_fn=lambda: procs.die_with(parent),  # noqa: PLW1509 - there are no threads here
        )
        self.pid = self._process.pid
        self.start_ticks = procs.start_ticks(self.pid)
        self.pipes: dict[int, str] = {}  # fd -> stream, open ones only
        for stream, pipe in (("O", self._process.stdout), ("E", self._process.stderr)):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
            self.pipes[pipe.fileno()] = stream

    @property
    def ending(self) -> bool:
        """On its way out: `step` must be called often."""
        return self._deadline is not None and self.status is None

    @property
    def main_ended(self) -> bool:
        """Whether the main process was reaped; its pid may then belong to somebody else."""
        return self._wait_status is not None

    def read(self, fd: int) -> int | None:
        """
        Take what a pipe has, a little at a time so that a flood does not starve the others.

        Returns the number of bytes, 0 at the pipe's end, None when it has nothing now.
        """
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return None
        if data:
            self.output.feed(self.pipes[fd], data)
        return len(data)

    def stop(self, now: float, why: str, *, number: int | None = None, grace_s: float | None = None) -> None:
        """Ask it to end, kill it after the grace. A second call can only shorten the grace."""
        if self.status is not None:
            return
        deadline = now + (self.grace_s if grace_s is None else grace_s)
        if self._deadline is not None:
            self._deadline = min(self._deadline, deadline)
            return
        self._asked = why
        self._deadline = deadline
        self._stop_signal = number or self._stop_signal
        # Whoever cleared its environment and left the session is known only by its ancestors: look while they live.
        self._seen_below = procs.descendants(self.pid)
        self._signal_group(self._stop_signal)

    def signal(self, number: int) -> None:
        """Send a signal to the main process's group."""
        if self.status is None:
            self._signal_group(number)

    def reaped(self, wait_status: int, now: float) -> None:
        """The main process has ended."""
        self._wait_status = wait_status
        self._process.returncode = os.waitstatus_to_exitcode(wait_status)  # or Popen would wait for it again
        if self._deadline is None:
            self._deadline = now + min(self.grace_s, LEFTOVER_GRACE_S)

    def owns(self, orphan: int) -> bool:
        """Whether a process that lost its parent belongs to this engine."""
        try:
            if self.pid in (os.getsid(orphan), os.getpgid(orphan)):
                return True  # a number stays taken while it names a session or a group
        except ProcessLookupError:
            return False
        seen = self._seen_below.get(orphan, 0)
        return (seen != 0 and procs.start_ticks(orphan) == seen) or procs.marker(orphan) == self._marker

    def step(self, now: float, orphans: list[int], oom: procs.OomWatch) -> bool:
        """Bring the end forward. True when it has just ended; `orphans` are those of this engine."""
        assert self._deadline is not None
        late = now >= self._deadline
        if self._wait_status is None:
            if late:
                self._seen_below |= procs.descendants(self.pid)
                self._signal_group(signal.SIGKILL)
        elif not orphans and not self._group_left():
            self._finish(now, oom)
            return True
        for pid in orphans:
            # A second SIGTERM makes llama-server give up its clean exit: everyone is asked once.
            if late or pid not in self._signalled:
                self._signalled.add(pid)
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL if late else self._stop_signal)
        return False

    def _signal_group(self, number: int) -> None:
        if self._wait_status is not None:
            return  # the group's number may belong to somebody else by now
        self._signalled |= {pid for pid in self._seen_below if _group(pid) == self.pid}
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _group_left(self) -> bool:
        if procs.LINUX:
            return False  # orphans are known exactly
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def _finish(self, now: float, oom: procs.OomWatch) -> None:
        for fd in list(self.pipes):
            for _ in range(64):  # 2 MiB: more than a pipe holds, and an end even if a stranger still writes to it
                if not self.read(fd):
                    break
        self.output.end()
        self._close()
        self.status = self._judge(now, oom)
        self._write_status()

    def _write_status(self) -> None:
        temporary = f"{self._exit_file}.new"
        try:
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
                json.dump({"pid": self.pid, "start": self.start_ticks, **(self.status or {})}, file)
            os.replace(temporary, self._exit_file)
        except OSError:  # the keeper still knows; the file is for when it is gone too
            with contextlib.suppress(OSError):
                os.unlink(temporary)

    def _judge(self, now: float, oom: procs.OomWatch) -> dict[str, Any]:
        assert self._wait_status is not None
        code = os.waitstatus_to_exitcode(self._wait_status)
        number = -code if code < 0 else None
        status = {"kind": "signalled" if number else "exited", "code": None if number else code, "signal": number}
        if self._asked:
            return {**status, "kind": "stopped", "detail": "" if self._asked == "stop" else self._asked}
        if code == 0 or not oom.claim(now):
            return {**status, "detail": ""}
        if number == signal.SIGKILL or code == 128 + signal.SIGKILL:  # itself, or what its wrapper waited for
            return {**status, "kind": "oom_killed", "detail": ""}
        return {**status, "detail": "the kernel killed one of its processes for memory (OOM)"}

    def _close(self) -> None:
        self.pipes.clear()
        pipes: tuple[IO[bytes] | None, ...] = (self._process.stdin, self._process.stdout, self._process.stderr)
        for pipe in pipes:
            if pipe is not None:
                pipe.close()


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0
