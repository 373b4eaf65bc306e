"""Starting, reloading and ending a whole Corral."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import psutil
import pytest

from corral import app as corral_app
from corral import registry
from corral.app import AppInfo, Corral, serve
from corral.config.load import load
from corral.config.settings import LogSpec, Settings
from corral.domain.devices import Amount, MemorySpec
from corral.domain.errors import CorralError, PlaceFailed
from corral.domain.fleet import ModelSpec
from corral.domain.serving import ServerSpec
from corral.fakes.engine import CONTEXT, FakeProgramEngine
from corral.scheduler.instances import Instances
from tests.corrals import Running, corral, fake, fleet

GIB = 1024**3


def settings(folder: Path, *names: str, **fields: object) -> Settings:
    models = {name: fake() for name in names}
    whole = Settings(
        fleet(models), ServerSpec(port=0, drain_s=20.0), LogSpec(), str(folder / "state"), memory=MemorySpec(ram=None)
    )
    return dataclasses.replace(whole, **fields)  # type: ignore[arg-type]


async def test_who_connects_while_corral_starts_waits_and_is_served(
    short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adopt = Instances.adopt
    bound: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def slow(self: Instances, models: dict[str, ModelSpec]) -> int:
        bound.set_result(made.gateway.port)
        await asyncio.sleep(0.3)
        return await adopt(self, models)

    monkeypatch.setattr(Instances, "adopt", slow)
    made = Corral(settings(short_tmp, "a"), extra_engines={"fake": FakeProgramEngine()})
    starting = asyncio.ensure_future(made.start())
    try:
        port = await bound
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            answer = await client.post("/v1/chat/completions", json={"model": "a", "messages": []})
        assert answer.status_code == 200
    finally:
        await starting
        await made.stop()


async def test_a_reload_takes_the_new_memory_section() -> None:
    async with corral({"a": fake()}) as running:
        old = running.app.settings

        def read(ram: Amount) -> Settings:
            return dataclasses.replace(old, memory=MemorySpec(ram=ram))

        async def budget() -> object:
            status = await running.app.control.status()
            memory = status["memory"]
            assert isinstance(memory, dict)
            return memory["budget_bytes"]

        await running.app.reload(lambda: read(4 * GIB))
        assert await budget() == 4 * GIB
        await running.app.reload(lambda: read("auto"))
        limit = await budget()
        assert isinstance(limit, int)
        assert limit > 0


async def test_reloads_follow_one_another_and_the_newest_wins() -> None:
    async with corral({"a": fake()}) as running:
        old = running.app.settings
        both = dataclasses.replace(old, fleet=fleet({"a": old.fleet.models["a"], "b": old.fleet.models["a"]}))

        def slowly() -> Settings:
            time.sleep(0.1)
            return old

        await asyncio.gather(running.app.reload(slowly), running.app.reload(lambda: both))
        assert [view.model for view in running.app.scheduler.views()] == ["a", "b"]


async def test_a_bad_config_changes_nothing_and_what_needs_a_restart_is_said(caplog: pytest.LogCaptureFixture) -> None:
    def bad() -> Settings:
        raise CorralError("line 3 is wrong")

    async with corral({"a": fake()}) as running:
        old = running.app.settings
        with pytest.raises(CorralError, match="line 3"):
            await running.app.reload(bad)
        assert await running.text("a") == "I am a."
        await running.app.reload(lambda: dataclasses.replace(old, server=ServerSpec(port=1), keep_engines_s=5.0))
        assert running.app.settings.server == old.server
        assert running.app.settings.keep_engines_s is None
        assert "only after a restart: server, on_exit and keep_for" in caplog.text


@contextlib.asynccontextmanager
async def served(made: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[AppInfo, asyncio.Task[int]]]:
    """`app.serve` with the fake engine, until it has ended."""
    engines = registry.engines
    monkeypatch.setattr(corral_app, "engines", lambda hidden: {**engines(hidden), "fake": FakeProgramEngine()})
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    started: asyncio.Future[AppInfo] = asyncio.get_running_loop().create_future()
    ended = asyncio.Event()
    task = asyncio.ensure_future(serve(made, ready=started.set_result, until=ended))
    try:
        yield await started, task
    finally:
        ended.set()
        await task
        for number, handler in handlers.items():
            signal.signal(number, handler)


async def test_the_second_signal_cuts_what_the_first_lets_end(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(settings(short_tmp, "a"), monkeypatch) as (info, task):
        async with httpx2.AsyncClient(base_url=info.address, timeout=10) as client:
            body = {"model": "a", "messages": [], "stream": True, "fake": {"chunks": 1000, "delay_s": 0.02}}
            async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
                lines = answer.aiter_lines()
                await anext(lines)
                os.kill(os.getpid(), signal.SIGTERM)
                await asyncio.sleep(0.2)
                refused = await client.post("/v1/chat/completions", json={"model": "a", "messages": []})
                assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
                assert not task.done()
                began = time.monotonic()
                os.kill(os.getpid(), signal.SIGTERM)
                rest = [line async for line in lines]
            assert sum('"error"' in line for line in rest) == 1
            async with asyncio.timeout(10):
                assert await task == 0
            assert time.monotonic() - began < 5


async def test_a_state_folder_that_cannot_be_is_a_sentence(short_tmp: Path) -> None:
    (short_tmp / "file").write_text("")
    made = Corral(settings(short_tmp, state_dir=str(short_tmp / "file")))
    with pytest.raises(PlaceFailed, match="cannot be made a folder"):
        await made.start()
    await made.stop()


async def test_beyond_loopback_without_keys_is_refused_before_anything_starts(short_tmp: Path) -> None:
    made = Corral(settings(short_tmp, "a", server=ServerSpec(host="0.0.0.0", port=0)))
    with pytest.raises(PlaceFailed, match="no keys are configured"):
        await made.start()
    await made.stop()


@pytest.mark.parametrize(
    ("host", "port", "told"),
    [("127.0.0.1", -1, "Is another Corral running"), ("192.0.2.1", 0, "no such address"), ("no.invalid", 0, "Correct")],
)
async def test_addresses_that_cannot_be(short_tmp: Path, host: str, port: int, told: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wanted = taken.getsockname()[1] if port < 0 else port
        made = Corral(settings(short_tmp, server=ServerSpec(host=host, port=wanted, open=True)))
        with pytest.raises(PlaceFailed) as caught:
            await made.start()
        await made.stop()

    assert told in caught.value.sentence()


async def test_the_servers_own_secrets_reach_no_engine(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEAM", "sk-0123456789abcdef0123")  # a name that does not look like a secret
    config = short_tmp / "corral.yaml"
    config.write_text('server: {keys: [{name: team, key: "${env.TEAM}"}]}\n')
    loaded = load(str(config), engines=registry.engines(), env=os.environ)
    assert loaded.hidden_env == {"TEAM"}
    async with corral({"a": fake()}, hidden_env=loaded.hidden_env) as running:
        await running.text("a")
        (pid,) = running.engine_pids()
        assert "TEAM" not in psutil.Process(pid).environ()


async def test_the_context_of_a_loaded_model_is_what_its_engine_says() -> None:
    async def context(running: Running) -> object:
        return (await running.http.get("/v1/models/a")).json().get("context_length")

    async with corral({"a": fake()}) as running:
        before = await context(running)
        await running.text("a")
        assert (before, await context(running)) == (None, CONTEXT)
