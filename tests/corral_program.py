"""
A Corral with fake engines as a process of its own, to be killed: `python -m tests.corral_program STATE_DIR FLAG...`.

Serves the Models `a` and `b` in one swap group, prints its address, runs until it is killed or told to end.
"""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import sys

import uvloop

from corral.app import Corral
from corral.config.settings import LogSpec, Settings
from corral.domain.devices import MemorySpec
from corral.domain.serving import ServerSpec
from corral.fakes.engine import FakeProgramEngine
from tests.corrals import fake, fleet


async def main(state_dir: str, keep_s: float | None, flags: list[str]) -> None:
    """Serve."""
    model = fake(*flags, env=(("CORRAL_TEST_STATE", state_dir),))
    models = {"a": model, "b": dataclasses.replace(model)}
    settings = Settings(
        fleet(models, group="swap"),
        ServerSpec(port=0, drain_s=2.0),
        LogSpec(),
        state_dir,
        memory=MemorySpec(ram=None),
        keep_engines_s=keep_s,
    )
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with Corral(settings, extra_engines={"fake": FakeProgramEngine()}).running() as info:
        print(info.address, flush=True)
        await ended.wait()


if __name__ == "__main__":
    keep = float(sys.argv[2]) if sys.argv[2] != "stop" else None
    uvloop.run(main(sys.argv[1], keep, sys.argv[3:]))
