"""Days on which the disk, the environment or the keeper itself is against us."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from corral.domain.errors import PlaceFailed
from corral.runtimes.process import sweep
from corral.runtimes.process.client import KeeperClient
from corral.runtimes.process.link import KeeperLink
from corral.runtimes.process.places import Places
from tests.paths.keeper_kit import Home, launch, until


@pytest.fixture
def home(short_tmp: Path) -> Home:
    return Home(short_tmp)


# --- secrets


async def test_an_engine_inherits_no_secret(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TEAM_GATEWAY_KEY", "OPENAI_API_KEY", "PGPASSWORD", "TEAM", "SCRUBBED_X", "HARMLESS"):
        monkeypatch.setenv(name, f"value of {name}")
    async with home.open(hidden_env=frozenset({"TEAM"})) as runtime:
        handle = await launch(
            runtime,
            "exec sleep 1000",
            env={"GIVEN_TOKEN": "given"},
            secret_env={"LLAMA_API_KEY": "own"},
            env_scrub=("SCRUBBED_",),
        )
        # The shell's own words hold "sleep" too, and in the middle of an exec the environment reads empty.
        started = Path(f"/proc/{handle.data['pid']}")
        await until(lambda: (started / "cmdline").read_bytes().startswith(b"sleep\0"))
        await until(lambda: b"GIVEN_TOKEN" in (started / "environ").read_bytes())
        for pid in (handle.data["pid"], handle.data["keeper_pid"]):
            raw = Path(f"/proc/{pid}/environ").read_bytes().decode()
            assert "TEAM_GATEWAY_KEY" not in raw and "OPENAI_API_KEY" not in raw and "PGPASSWORD" not in raw
        seen = Path(f"/proc/{handle.data['pid']}/environ").read_bytes().decode().split("\0")
        assert not [entry for entry in seen if entry.startswith(("TEAM", "SCRUBBED_"))]
        assert {"HARMLESS=value of HARMLESS", "GIVEN_TOKEN=given", "LLAMA_API_KEY=own"} <= set(seen)


# --- the disk


async def test_files_that_cannot_be_removed_are_an_error_of_the_place(home: Home) -> None:
    async with home.open() as runtime:
        handle = await launch(runtime, "exec sleep 1000")
        path = home.state / "handles" / "one.json"
        path.unlink()
        path.mkdir()
        with pytest.raises(PlaceFailed, match="files of one cannot be removed"):
            await runtime.destroy(handle)
        path.rmdir()
        await runtime.destroy(handle)
        assert not home.alive("one")


async def test_a_keeper_log_that_cannot_be_made_is_an_error_of_the_place(home: Home) -> None:
    async with home.open() as runtime:
        await runtime.place("one")
        (home.state / "keeper.log").mkdir()
        with pytest.raises(PlaceFailed, match="keeper could not be started"):
            await launch(runtime, "exit 0")


async def test_an_end_that_cannot_be_written_leaves_no_half_file(home: Home) -> None:
    async with home.open() as runtime:
        handle = await launch(runtime, "sleep 0.2; exit 3")
        path = home.state / "handles" / "one.exit"
        path.mkdir()
        assert (await runtime.wait(handle)).code == 3
        assert sorted(os.listdir(home.state / "handles")) == ["one.exit", "one.json"]
        path.rmdir()
        await runtime.destroy(handle)


async def test_no_stop_waits_for_old_logs(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    may_end = threading.Event()
    pruned = []

    def slow(places: Places, instances: object) -> None:
        pruned.append(instances)
        may_end.wait(10)

    monkeypatch.setattr(sweep, "prune_logs", slow)
    async with home.open() as runtime:
        try:
            for instance in ("one", "two"):
                handle = await launch(runtime, "exit 0", instance)
                async with asyncio.timeout(5):
                    await runtime.destroy(handle)
            await until(lambda: pruned)
            assert len(pruned) == 1  # the second came within a minute
        finally:
            may_end.set()


# --- the keeper


async def test_a_silent_keeper_is_waited_for_once(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for asked in (KeeperClient.request, KeeperLink.ask):
        assert asked.__kwdefaults__ is not None
        monkeypatch.setitem(asked.__kwdefaults__, "timeout_s", 1.0)
    runtime = home.runtime()
    handle = await launch(runtime, "exec sleep 1000")
    os.kill(handle.data["keeper_pid"], signal.SIGSTOP)
    began = time.monotonic()
    for end in (runtime.stop(handle, grace_s=1), runtime.destroy(handle)):
        with pytest.raises(PlaceFailed, match="did not answer"):
            await end
    await runtime.close()
    assert time.monotonic() - began < 4
    assert not home.alive() and not home.keeper()


async def test_a_keeper_that_speaks_again_has_its_time_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for asked in (KeeperClient.request, KeeperLink.ask):
        assert asked.__kwdefaults__ is not None
        monkeypatch.setitem(asked.__kwdefaults__, "timeout_s", 1.0)
    async with home.open() as runtime:
        handle = await launch(runtime, "exec sleep 1000")
        keeper = handle.data["keeper_pid"]
        os.kill(keeper, signal.SIGSTOP)
        with pytest.raises(PlaceFailed, match="did not answer within 1 s"):
            await runtime.usage(handle)
        os.kill(keeper, signal.SIGCONT)
        assert await runtime.usage(handle) is not None
        assert await runtime.recover(handle) is None
