"""Threads that nobody waits for at the end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from corral.kit.daemons import in_daemon


async def test_what_it_returns_and_what_it_raises() -> None:
    assert await in_daemon(lambda: 7, name="seven") == 7
    with pytest.raises(ZeroDivisionError):
        await in_daemon(lambda: 1 // 0, name="none")
    assert await in_daemon(lambda: threading.current_thread().name, name="mine") == "mine"


async def test_who_waits_no_more_is_not_told() -> None:
    gate = threading.Event()
    future = in_daemon(lambda: gate.wait(10), name="slow")
    future.cancel()
    gate.set()
    await asyncio.sleep(0)
    assert future.cancelled()


def test_a_process_ends_while_one_hangs() -> None:
    program = (
        "import asyncio, time\n"
        "from corral.kit.daemons import in_daemon\n"
        "async def main():\n"
        "    in_daemon(lambda: time.sleep(60), name='hangs')\n"
        "asyncio.run(main())\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, timeout=20)
    assert (ended.returncode, ended.stderr) == (0, b"")
