"""
Programs that are asked one question, of which nothing stays: not at their end, nor at ours, whatever ends us.

Each runs under a guard (`guard.py`) that holds a socket to us and kills everything that it started when either the
program or the socket comes to its end. A signal at our death would reach the program alone, not what it started.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

_GUARD: Final = str(Path(__file__).with_name("guard.py"))
_LEAVE_S: Final = 2.0
"""Time for the guard to kill and reap what it guards."""


async def output(
    argv: Sequence[str], *, env: Mapping[str, str], deadline_s: float, cwd: str | None = None
) -> tuple[int, str]:
    """
    Exit code (negative: a signal) and standard output and error together, bad UTF-8 replaced.

    Raises TimeoutError when it has not ended by the deadline, another OSError when it cannot be run.
    """
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = await asyncio.create_subprocess_exec(
                # -I -S: nothing but the standard library, so it starts in 15 ms and no environment changes it.
                *(sys.executable, "-I", "-S", _GUARD, *argv),
                stdin=theirs.fileno(),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=env,
                cwd=cwd,
                start_new_session=True,
            )
        try:
            async with asyncio.timeout(deadline_s):
                out, _ = await process.communicate()
        finally:
            if process.returncode is None:
                await asyncio.shield(_end(process, ours))
        ours.setblocking(False)
        word = _word(ours)
    kind, _, number = word.partition(" ")
    if kind == "error":
        raise OSError(int(number), os.strerror(int(number)), argv[0])
    return int(number) if kind == "code" else process.returncode or 0, out.decode("utf-8", "replace")


async def _end(process: asyncio.subprocess.Process, ours: socket.socket) -> None:
    ours.shutdown(socket.SHUT_RDWR)
    try:
        async with asyncio.timeout(_LEAVE_S):
            await process.wait()
    except TimeoutError:  # the guard itself hangs; its program has the parent-death signal
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _word(ours: socket.socket) -> str:
    """What the guard had to say before it ended; "" when it was killed."""
    with contextlib.suppress(BlockingIOError):
        return ours.recv(100).decode("ascii", "replace")
    return ""
