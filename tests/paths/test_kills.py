"""`kill -9` of Corral, keeper and engine at every stage: nothing outlives it by more than 5 s, and all recovers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from corral.domain.fleet import Limits
from tests.corrals import Running, corral, engine_pids, fake
from tests.models import ADA, model
from tests.paths.test_chaos import keeper_pids, kill

STAGES = {
    "loading": ["--load-s", "30"],
    "idle": [],
    "streaming": ["--chunks", "500", "--delay-s", "0.05"],
    "stopping": ["--refuse-sigterm"],
    "wrapped": ["--fork-child", "session"],
}


@pytest.fixture
def state_dir() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="c"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@contextlib.asynccontextmanager
async def program(state_dir: Path, *flags: str, keep: str = "stop") -> AsyncIterator[tuple[int, httpx2.AsyncClient]]:
    """The process and a client for it; killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.corral_program", str(state_dir), keep, *flags, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        address = (await process.stdout.readline()).decode().strip()
    try:
        async with httpx2.AsyncClient(base_url=address, timeout=30) as client:
            yield process.pid, client
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        async with asyncio.timeout(20):
            await process.wait()
        process._transport.close()  # type: ignore[attr-defined]


def ask(client: httpx2.AsyncClient, model: str, **fields: Any) -> asyncio.Task[httpx2.Response]:
    return asyncio.ensure_future(client.post("/v1/chat/completions", json={"model": model, "messages": [], **fields}))


async def until(condition: Any, *, timeout_s: float = 10.0) -> float:
    began = time.monotonic()
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.02)
    return time.monotonic() - began


async def reach(stage: str, client: httpx2.AsyncClient, state_dir: Path) -> list[asyncio.Task[httpx2.Response]]:
    """Bring the Corral to the stage; what is still asked."""
    if stage in ("loading", "streaming"):
        asked = [ask(client, "a", stream=True)]
        await until(lambda: engine_pids(state_dir))
        await asyncio.sleep(0.3)
        return asked
    assert (await ask(client, "a")).status_code == 200
    if stage == "stopping":
        asked = [ask(client, "b")]
        await asyncio.sleep(0.2)
        return asked
    return []


@pytest.mark.parametrize("stage", STAGES)
async def test_no_engine_outlives_a_killed_corral(stage: str, state_dir: Path) -> None:
    async with program(state_dir, *STAGES[stage]) as (pid, client):
        asked = await reach(stage, client, state_dir)
        assert engine_pids(state_dir)
        kill(pid)
        took = await until(lambda: not engine_pids(state_dir))
        await asyncio.gather(*asked, return_exceptions=True)

    assert took < 5.0
    async with program(state_dir) as (_, client):  # the next one finds a clean house
        assert (await ask(client, "a")).json()["choices"][0]["message"]["content"] == "I am a."
    await until(lambda: not engine_pids(state_dir))
    assert [path for path in state_dir.rglob("*") if path.is_socket()] == []
    assert list((state_dir / "handles").glob("*.json")) == []


@pytest.mark.parametrize("stage", STAGES)
async def test_corral_and_keeper_killed_together_leave_nothing_to_the_next(stage: str, state_dir: Path) -> None:
    async with program(state_dir, *STAGES[stage]) as (pid, client):
        asked = await reach(stage, client, state_dir)
        keepers = [child.pid for child in psutil.Process(pid).children() if "keeper" in " ".join(child.cmdline())]
        assert keepers
        for victim in (pid, *keepers):
            kill(victim)
        await asyncio.gather(*asked, return_exceptions=True)
        if stage != "wrapped":  # a child in a session of its own, whose keeper is dead, is found by the next start
            assert await until(lambda: not engine_pids(state_dir)) < 5.0
    async with program(state_dir) as (_, client):
        assert (await ask(client, "a")).status_code == 200
        assert len(engine_pids(state_dir)) == 1
    assert engine_pids(state_dir) == []


async def test_engines_that_are_kept_serve_the_next_corral_without_a_load(state_dir: Path) -> None:
    async with program(state_dir, keep="20") as (pid, client):
        assert (await ask(client, "a")).status_code == 200
        kept = engine_pids(state_dir)
        kill(pid)
    await asyncio.sleep(0.5)
    assert engine_pids(state_dir) == kept
    async with program(state_dir, keep="20") as (_, client):
        running = (await client.get("/running")).json()["running"]
        assert [(each["model"], each["state"]) for each in running] == [("a", "ready")]
        assert (await ask(client, "a")).status_code == 200
        assert engine_pids(state_dir) == kept
    async with program(state_dir) as (_, client):  # kept over an orderly end too; this one does not keep
        assert (await ask(client, "a")).status_code == 200
        assert engine_pids(state_dir) == kept
    await until(lambda: not engine_pids(state_dir), timeout_s=5)


async def test_kept_engines_end_when_nobody_comes_back(state_dir: Path) -> None:
    async with program(state_dir, keep="1") as (pid, client):
        assert (await ask(client, "a")).status_code == 200
        kill(pid)
    assert 0.3 < await until(lambda: not engine_pids(state_dir), timeout_s=6) < 5


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("victim", ["engine", "keeper"])
async def test_a_killed_engine_or_keeper_is_answered_in_shape_and_recovered_from(victim: str, stage: str) -> None:
    limits = Limits(backoff_first_s=0.05)
    async with corral({"a": fake(*STAGES[stage]), "b": fake()}, group="swap", limits=limits) as running:
        asked = await reach(stage, running.http, running.state_dir)
        for pid in keeper_pids() if victim == "keeper" else running.engine_pids():
            kill(pid)
        for answer in await asyncio.gather(*asked):
            await judge(answer)
        await recovered(running)


async def judge(answer: httpx2.Response) -> None:
    """Right, or refused in its shape."""
    if answer.status_code == 200:
        assert ("[DONE]" in answer.text) != ('"error"' in answer.text) or answer.json()["choices"]
    else:
        assert answer.status_code in (502, 503)
        assert answer.json()["error"]["message"]


async def recovered(running: Running) -> None:
    """`b`, whose engine has no odd flags, answers again."""
    async with asyncio.timeout(10):
        while (await running.chat("b")).status_code != 200:
            await asyncio.sleep(0.05)


async def test_files_sockets_and_tasks_stay_level_over_many_starts() -> None:
    async with corral({"a": fake(), "b": fake()}, group="swap") as running:
        for name in "ab":
            await running.text(name)
        files, tasks = len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())
        keeper = psutil.Process(keeper_pids()[0])
        held = keeper.num_fds()
        for name in "abababab":
            await running.text(name)

        await asyncio.sleep(0.1)
        assert len(os.listdir("/proc/self/fd")) <= files + 1
        assert len(asyncio.all_tasks()) <= tasks + 1
        assert keeper.num_fds() <= held + 1


async def test_an_occupied_port_is_a_sentence() -> None:
    async with corral({"a": fake()}) as running:
        port = running.info.address.rsplit(":", 1)[1]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "corral", "serve", "--port", port, "--state-dir", str(running.state_dir / "other"),
            str(model(ADA)), stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(20):
            _, complaint = await process.communicate()
        process._transport.close()  # type: ignore[attr-defined]

    assert process.returncode == 1
    assert f"Cannot listen on 127.0.0.1:{port}" in complaint.decode()
    assert "Traceback" not in complaint.decode()
