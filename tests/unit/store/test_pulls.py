"""Pulls for clients: the end of the process waits for none of them."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import asyncio, time
from corral.contracts.pulling import PullWanted
from corral.domain.fleet import ModelSpec, Source
from corral.kit.clock import SystemClock
from corral.store.pulls import StorePulls

class Deaf:
    def bring(self, source, told, stop, *, planned=None):
        time.sleep(60)

class Nobody:
    def publish(self, event):
        pass

async def main():
    pulls = StorePulls(lambda: None, Deaf(), {}, came=None, taken_up=None, publisher=Nobody(), clock=SystemClock())
    async def follow():
        async for coming in pulls.follow(PullWanted(None, ModelSpec("ada", Source(reference="hf.co/o/r")))):
            pass
    task = asyncio.create_task(follow())
    await asyncio.sleep(0.3)
    await pulls.aclose()
    print((await asyncio.gather(task, return_exceptions=True))[0].code)

asyncio.run(main())
"""


def test_a_process_ends_while_a_pull_hears_nothing() -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM], check=False, capture_output=True, timeout=15, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "shutting_down\n", "")
