"""
The guard of one program: `python -I -S guard.py PROGRAM [ARGUMENT...]`, with a socket as standard input.

It starts the program, waits until the program or the socket ends, and then kills whatever is left of it: its group, and
on Linux also what left the group, because orphans come to their subreaper. Says `code N` or `error ERRNO` on the
socket. Standard library only, and nothing of Corral: it must start fast.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
import subprocess
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LOOK_S = 0.005
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def main() -> int:
    """Returns once nothing is left of the program."""
    parent = socket.socket(fileno=0)
    guard = os.getpid()
    if _libc is not None:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        program = subprocess.Popen(
            sys.argv[1:],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=lambda: _die_with(guard),  # noqa: PLW1509 - there are no threads here
        )
    except OSError as error:
        parent.send(b"error %d" % (error.errno or 0))
        return 0
    while not _ended(program.pid):
        if select.select([parent], [], [], _LOOK_S)[0]:
            break
    # Before it is reaped: until then nobody else can have its number.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(program.pid, signal.SIGKILL)
    code = program.wait()
    _end_orphans()
    with contextlib.suppress(OSError):
        parent.send(b"code %d" % code)
    return 0


def _die_with(guard: int) -> None:
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != guard:
            os._exit(127)


def _ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end_orphans() -> None:
    """Kill what left the group, and what that started: each death brings the next ones to us."""
    while (orphans := _children()) is not None:
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0 if orphans else os.WNOHANG)  # a list may miss one while another ends
        except ChildProcessError:
            return


def _children() -> list[int] | None:
    """None where the kernel does not tell; it is no subreaper there, or there is nobody to be killed by name."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return None


if __name__ == "__main__":
    sys.exit(main())
