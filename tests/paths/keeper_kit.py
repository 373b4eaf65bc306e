"""Homes for process runtimes, engines in shell and Python, and a Corral in a process of its own that can be killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from corral.domain.launch import Endpoint, Handle, LaunchPlan
from corral.runtimes.process import ProcessRuntime
from corral.runtimes.process.keeper import procs

STUBBORN = "trap '' TERM; echo up; while :; do sleep 0.05; done"
"""An engine that does not hear SIGTERM."""


class Home:
    """A state directory and what runs in it."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.run = folder / "run"

    def runtime(self, **options: Any) -> ProcessRuntime:
        """A new Corral's runtime."""
        return ProcessRuntime(self.state, runtime_dir=self.run, **options)

    @contextlib.asynccontextmanager
    async def open(self, **options: Any) -> AsyncIterator[ProcessRuntime]:
        """One that is closed at the end."""
        runtime = self.runtime(**options)
        try:
            yield runtime
        finally:
            await runtime.close()

    def alive(self, instance: str = "") -> list[int]:
        """Pids of processes with this home's mark."""
        try:
            state_id = (self.state / "id").read_text()
        except FileNotFoundError:
            return []
        return sorted(procs.marked(state_id, instance))

    def keeper(self) -> int:
        """The pid of the keeper that holds the lock; 0 when none runs."""
        try:
            pid = int(json.loads((self.state / "keeper.lock").read_bytes())["pid"])
        except (OSError, ValueError):
            return 0
        return pid if procs.start_ticks(pid) else 0


async def launch(runtime: ProcessRuntime, script: str, instance: str = "one", **plan: Any) -> Handle:
    """Start a shell script as an engine."""
    place = await runtime.place(instance)
    made = LaunchPlan(("sh", "-c", script), Endpoint(socket=place.socket), **plan)
    return await runtime.start(made, instance=instance, model="m", digest="d")


async def program(runtime: ProcessRuntime, source: str, instance: str = "one", **plan: Any) -> Handle:
    """Start a Python program as an engine."""
    place = await runtime.place(instance)
    argv = (sys.executable, "-S", "-c", textwrap.dedent(source))
    made = LaunchPlan(argv, Endpoint(socket=place.socket), **plan)
    return await runtime.start(made, instance=instance, model="m", digest="d")


async def said(runtime: ProcessRuntime, handle: Handle, text: str, timeout_s: float = 5.0) -> None:
    """Wait until the engine has written a line that begins so."""
    async with asyncio.timeout(timeout_s):
        async for line in runtime.logs(handle, follow=True):
            if line.text.startswith(text):
                return
    raise AssertionError(f"it ended without saying {text!r}")


async def until(condition: Callable[[], object], timeout_s: float = 5.0) -> None:
    """Poll; fails with TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


_CORRAL = """
import asyncio, json, sys
from pathlib import Path
from corral.domain.launch import Endpoint, LaunchPlan
from corral.runtimes.process import ProcessRuntime

async def main(state, run, script, options, stop):
    print("begin", flush=True)
    runtime = ProcessRuntime(state, runtime_dir=run, **options)
    place = await runtime.place("one")
    plan = LaunchPlan(("sh", "-c", script), Endpoint(socket=place.socket))
    handle = await runtime.start(plan, instance="one", model="m", digest="d")
    async for line in runtime.logs(handle, follow=True):
        break
    print("running", flush=True)
    if stop:
        stopping = asyncio.ensure_future(runtime.stop(handle, grace_s=60))
        await asyncio.sleep(0.05)
        print("stopping", flush=True)
        await stopping
    await asyncio.sleep(1000)

asyncio.run(main(*json.loads(sys.argv[1])))
"""


@contextlib.asynccontextmanager
async def corral(home: Home, script: str, *, stop: bool = False, **options: Any) -> AsyncIterator[asyncio.StreamReader]:
    """A Corral in its own process that runs one engine; yields its output. Killed (-9) at the end of the block."""
    arguments = json.dumps([str(home.state), str(home.run), script, options, stop])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _CORRAL, arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        await process.wait()


def open_fds(pid: int) -> int:
    """How many file descriptors a process has."""
    return len(os.listdir(f"/proc/{pid}/fd"))
