"""
What a swap costs beyond the engine's own stop and load: `python -m tests.bench.swap [--binary PATH] [--times 15]`.

First the engine alone: started with the same arguments, ready by its own /health, one answer, SIGTERM, gone. Then the
same through a whole Corral, two Models taking turns. Prints the medians in milliseconds and the difference.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import os
import shutil
import signal
import statistics
import tempfile
import time
from pathlib import Path

import uvloop

from corral.domain.fleet import ModelSpec
from corral.domain.launch import LaunchPlan, Place
from corral.engines.llamacpp import LlamaCppEngine
from corral.kit.localhttp import LocalConnection, NotHttp
from tests.corrals import corral, gguf
from tests.models import ADA, BEN, model

POLL_S = 0.001


async def alone(engine: LlamaCppEngine, spec: ModelSpec) -> tuple[float, float]:
    """Seconds to load and to stop, without Corral."""
    folder = tempfile.mkdtemp(prefix="c")
    try:
        plan = await engine.plan(spec, Place("bench", folder, socket=f"{folder}/b.sock"))
        assert isinstance(plan, LaunchPlan)
        for name, text in plan.files.items():
            (Path(folder) / name).write_text(text)
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            *plan.argv, env={**os.environ, **plan.env, **plan.secret_env},
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        async with LocalConnection(socket=f"{folder}/b.sock") as link, asyncio.timeout(30):
            while True:
                try:
                    if (await link.get("/health", timeout_s=1)).status == 200:
                        break
                except (OSError, NotHttp, TimeoutError):
                    pass
                await asyncio.sleep(POLL_S)
        loaded = time.perf_counter()
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            await process.wait()
        return loaded - began, time.perf_counter() - loaded
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def main(binary: str, times: int) -> None:
    """Both, and the difference."""
    specs = {name: gguf(model(spec), binary=binary) for name, spec in (("ada", ADA), ("ben", BEN))}
    engine = LlamaCppEngine()
    single = [await alone(engine, dataclasses.replace(specs["ada"], name="ada")) for _ in range(times)]
    load = statistics.median(each[0] for each in single)
    stop = statistics.median(each[1] for each in single)
    async with corral(specs, group="swap") as running:
        await running.text("ada")
        warm = []
        for _ in range(times):
            began = time.perf_counter()
            await running.text("ada")
            warm.append(time.perf_counter() - began)
        swaps = []
        for number in range(times):
            began = time.perf_counter()
            await running.text(("ben", "ada")[number % 2])
            swaps.append(time.perf_counter() - began)
    answer, swap = statistics.median(warm), statistics.median(swaps)
    print(f"engine alone: load {load * 1000:.1f} ms, stop {stop * 1000:.1f} ms; answer {answer * 1000:.1f} ms")
    print(f"swap and answer through Corral: {swap * 1000:.1f} ms")
    print(f"beyond the engine: {(swap - load - stop - answer) * 1000:.1f} ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", default=os.environ.get("CORRAL_TEST_LLAMA_SERVER", ""))
    parser.add_argument("--times", type=int, default=15)
    args = parser.parse_args()
    uvloop.run(main(args.binary, args.times))
