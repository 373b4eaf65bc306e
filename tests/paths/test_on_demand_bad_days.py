"""Fetching on demand when something goes wrong in the middle: nobody waits for ever, and what has come is used."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from corral.config.settings import Settings
from corral.scheduler.fetching import AT_ONCE
from tests.corrals import Running, corral, fleet
from tests.file_server import FileServer, Reply
from tests.hub_server import HubServer, sha256
from tests.models import ADA, model
from tests.paths.shell_kit import WAIT_S, Shell, shell
from tests.paths.test_on_demand import DATA, LARGE, hub, slow, store, until_fetching, wanting

__all__ = ["hub", "shell"]  # fixtures

FOLDER = "store/hf/org/tiny-GGUF"


def with_models(running: Running, **models: Any) -> Callable[[], Settings]:
    """What a config says after it was edited."""
    marked = {name: dataclasses.replace(each, env=mark(running)) for name, each in models.items()}
    return lambda: dataclasses.replace(running.app.settings, fleet=fleet(marked))


def mark(running: Running) -> tuple[tuple[str, str], ...]:
    return (("CORRAL_TEST_STATE", str(running.state_dir)),)


async def test_another_source_while_the_old_one_comes(hub: HubServer, tmp_path: Path) -> None:
    slow(hub)
    hub.repo("org/other-GGUF", {"other-Q4_K_M.gguf": DATA})
    async with corral({"a": wanting()}, store=store(hub, tmp_path)) as running:
        waiting = asyncio.ensure_future(running.text("a"))
        await until_fetching(running, "a")
        await running.app.reload(with_models(running, a=wanting("hf.co/org/other-GGUF")))
        hub.pause_s = 0
        assert await waiting, "who waited is served, from the new source"
        source = running.app.directory.models["a"].source
        assert source.path.endswith("/hf/org/other-GGUF/other-Q4_K_M.gguf")
        assert not (tmp_path / FOLDER / "tiny-Q4_K_M.gguf").exists(), "the old one was ended"
        assert (tmp_path / FOLDER / ".tiny-Q4_K_M.gguf.part").exists(), "and what has come of it is kept"


async def test_an_edit_that_leaves_the_source_alone_leaves_the_fetch_alone(hub: HubServer, tmp_path: Path) -> None:
    slow(hub)
    async with corral({"a": wanting()}, store=store(hub, tmp_path)) as running:
        waiting = asyncio.ensure_future(running.text("a"))
        await until_fetching(running, "a")
        await running.app.reload(with_models(running, a=wanting(ttl_s=99.0), b=wanting()))
        hub.pause_s = 0
        assert await waiting
        assert running.app.directory.models["a"].ttl_s == 99
        assert (await running.http.get("/metrics")).text.count('outcome="ended"} 1') == 0


async def test_a_model_that_leaves_the_config_serves_who_waits_for_its_files(hub: HubServer, tmp_path: Path) -> None:
    slow(hub)
    async with corral({"a": wanting()}, store=store(hub, tmp_path)) as running:
        waiting = asyncio.ensure_future(running.text("a"))
        await until_fetching(running, "a")
        await running.app.reload(with_models(running, b=wanting()))
        hub.pause_s = 0
        assert await waiting
        assert (await running.chat("a")).status_code == 404


async def test_a_disk_that_gets_full_meanwhile_is_told_and_the_rest_comes_later(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow(hub)
    written = os.pwrite

    def full(fd: int, data: Any, offset: int) -> int:
        if offset >= 1_000_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return written(fd, data, offset)

    async with corral({"a": wanting()}, store=store(hub, tmp_path)) as running:
        with monkeypatch.context() as disk:
            disk.setattr(os, "pwrite", full)
            hub.pause_s = 0.01
            refused = await running.chat("a")
            assert refused.status_code in (503, 507)
            error = refused.json()["error"]
            assert error["code"] == "no_space" and "No space left" in error["message"]
            assert "Free some space" in error["message"]
            assert running.state("a") == "failed"
            assert not (tmp_path / FOLDER / "tiny-Q4_K_M.gguf").exists()
        hub.asked.clear()
        loaded = await running.http.post("/api/corral/load", json={"model": "a"})
        assert loaded.status_code == 200, "who has made room need not wait for the back-off"
        ranges = [each.headers.get("range", "") for each in hub.asked if each.where == "storage"]
        assert ranges and not any(each.startswith("bytes=0-") for each in ranges), "what fitted is not fetched again"
        assert (tmp_path / FOLDER / "tiny-Q4_K_M.gguf").read_bytes() == LARGE


async def test_servers_that_hang_keep_no_model_of_another_server_waiting(hub: HubServer, tmp_path: Path) -> None:
    with FileServer(lambda ask: Reply(200, {}, DATA, cut=1000, hang=True)) as deaf:
        spec = dataclasses.replace(store(hub, tmp_path), trusted=frozenset({*hub.trusted, deaf.origin}))
        models = {f"h{number}": wanting(f"{deaf.origin}/m{number}.gguf") for number in range(AT_ONCE)}
        async with corral({**models, "good": wanting()}, store=spec) as running:
            waiting = [asyncio.ensure_future(running.chat(name)) for name in models]
            async with asyncio.timeout(20):
                while len({ask.path for ask in deaf.asked}) < AT_ONCE:
                    await asyncio.sleep(0.01)
                assert await running.text("good")
            assert not any(each.done() for each in waiting)
            for each in waiting:
                each.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)


async def test_the_back_off_of_a_failed_fetch_bothers_no_hub(hub: HubServer, tmp_path: Path) -> None:
    async with corral({"a": wanting("hf.co/org/none-GGUF")}, store=store(hub, tmp_path)) as running:
        await running.chat("a")
        asked = len(hub.asked)
        answers = await asyncio.gather(*(running.chat("a") for _ in range(10)))
        assert {each.json()["error"]["code"] for each in answers} == {"not_there"}
        assert len(hub.asked) == asked
        hub.repo("org/none-GGUF", {"none-Q4_K_M.gguf": DATA})
        assert (await running.http.post("/api/corral/load", json={"model": "a"})).status_code == 200


async def test_a_hash_that_never_comes_out_right_keeps_the_model_away(hub: HubServer, tmp_path: Path) -> None:
    spec = wanting(hub.file("/x.gguf", DATA), sha256=sha256(LARGE))
    async with corral({"a": spec}, store=store(hub, tmp_path)) as running:
        refused = await running.chat("a")
        assert refused.json()["error"]["code"] == "wrong_content", refused.text
        assert running.state("a") == "failed"
        assert not list((tmp_path / "store").glob("**/*.gguf")), "nothing that could be taken for the model"


def test_a_server_that_ends_in_the_middle_of_a_fetch_goes_on_with_it_when_it_is_back(
    shell: Shell, hub: HubServer
) -> None:
    hub.repo("org/ada-GGUF", {"ada-Q8_0.gguf": model(ADA).read_bytes() + bytes(3 * 1024**2)})
    hub.pause_s = 0.15
    shell.env |= {"HF_ENDPOINT": hub.endpoint, "CORRAL_STORE__TRUSTED": hub.storage}
    (shell.home / "corral.yaml").write_text("models: {ada: {source: hf.co/org/ada-GGUF}}\n")
    part = shell.home / ".local/share/corral/models/hf/org/ada-GGUF/.ada-Q8_0.gguf.part"
    with shell.serving() as server:
        load = subprocess.Popen(
            shell.argv("load", "ada"), env=shell.env, cwd=shell.home, stderr=subprocess.PIPE, text=True
        )
        until(lambda: part.exists() and part.stat().st_blocks * 512 > 512 * 1024)
        began = time.monotonic()
        server.terminate()
        server.communicate(timeout=WAIT_S)
        took_s = time.monotonic() - began
        assert server.returncode == 0
        assert took_s < 2, f"a shutdown waited {took_s:.1f} s for a fetch"
        load.communicate(timeout=WAIT_S)
        assert load.returncode == 1
    have = part.stat().st_blocks * 512
    hub.pause_s = 0
    hub.asked.clear()
    with shell.serving():
        ran = shell.run("run", "ada", "hello")
        assert ran.stdout == f"{ADA.sentence}\n", ran.stderr
    spans = [each.headers["range"][6:].split("-") for each in hub.asked if each.where == "storage"]
    fetched = sum(int(last) - int(first) + 1 for first, last in spans)
    assert have // 2 < hub_size(hub) - fetched, "what had come was not used"


def test_a_server_that_is_killed_in_the_middle_of_a_fetch_goes_on_with_it(shell: Shell, hub: HubServer) -> None:
    hub.repo("org/ada-GGUF", {"ada-Q8_0.gguf": model(ADA).read_bytes() + bytes(3 * 1024**2)})
    hub.pause_s = 0.15
    shell.env |= {"HF_ENDPOINT": hub.endpoint, "CORRAL_STORE__TRUSTED": hub.storage}
    (shell.home / "corral.yaml").write_text("models: {ada: {source: hf.co/org/ada-GGUF}}\n")
    folder = shell.home / ".local/share/corral/models/hf/org/ada-GGUF"
    part, place = folder / ".ada-Q8_0.gguf.part", folder / "ada-Q8_0.gguf"
    with shell.serving() as server:
        load = subprocess.Popen(
            shell.argv("load", "ada"), env=shell.env, cwd=shell.home, stderr=subprocess.PIPE, text=True
        )
        until(lambda: part.exists() and part.stat().st_blocks * 512 > 1024**2)
        server.kill()
        assert server.wait(WAIT_S) == -signal.SIGKILL
        load.communicate(timeout=WAIT_S)
    assert load.returncode == 1 and not place.exists()
    came = part.stat().st_blocks * 512
    hub.pause_s = 0
    hub.asked.clear()
    with shell.serving():
        ran = shell.run("run", "ada", "hello")
        assert ran.stdout == f"{ADA.sentence}\n", ran.stderr
    assert place.read_bytes() == hub.repos["org/ada-GGUF"].files["ada-Q8_0.gguf"]
    assert sorted(each.name for each in folder.iterdir()) == [".ada-Q8_0.gguf.origin.json", "ada-Q8_0.gguf"]
    spans = [each.headers["range"][6:].split("-") for each in hub.asked if each.where == "storage"]
    again = sum(int(last) - int(first) + 1 for first, last in spans)
    assert came + again < 1.5 * hub_size(hub), "what had come was not used"


def test_a_hub_that_says_nothing_does_not_hold_up_the_end(shell: Shell, hub: HubServer) -> None:
    hub.repo("org/ada-GGUF", {"ada-Q8_0.gguf": model(ADA).read_bytes()})
    hub.pause_s = 15
    shell.env |= {"HF_ENDPOINT": hub.endpoint, "CORRAL_STORE__TRUSTED": hub.storage}
    (shell.home / "corral.yaml").write_text("models: {ada: {source: hf.co/org/ada-GGUF, pin: true}}\n")
    with shell.serving() as server:
        until(lambda: bool(hub.asked))
        began = time.monotonic()
        server.terminate()
        server.communicate(timeout=WAIT_S)
        took_s = time.monotonic() - began
        hub.pause_s = 0
        assert (server.returncode, took_s < 2) == (0, True), f"a shutdown waited {took_s:.1f} s for a hub"


def hub_size(hub: HubServer) -> int:
    return len(hub.repos["org/ada-GGUF"].files["ada-Q8_0.gguf"])


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)
