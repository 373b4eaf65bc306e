"""`copy` and `delete` of Ollama's clients: what they do to the config file, and to a Corral that serves meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from corral import registry
from corral.app import Corral
from corral.config import write
from corral.config.load import load
from corral.config.settings import Settings
from corral.domain.errors import ConfigError
from corral.fakes.engine import FakeProgramEngine
from tests.corrals import corral, fake

ENGINES = {**registry.engines(), "fake": FakeProgramEngine()}
YAML = """\
# my Models
models:
  a:  # the first
    engine: fake
    aliases: [x, y]  # both old
  b:
    engine: fake
    aliases: z  # one
  # the last
  c: {engine: fake}
groups:
  big:  # one at a time
    members: [a, b]
"""
TOML = """\
# my Models
[models.a]
engine = "fake"  # the first
aliases = ["x", "y"]

[models.b]
engine = "fake"
"""


@pytest.fixture
def home() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="c"))
    yield path
    shutil.rmtree(path)


@contextlib.asynccontextmanager
async def serving(file: Path) -> AsyncIterator[tuple[Corral, httpx2.AsyncClient]]:
    """A Corral of this config, on the fake engine."""

    def read() -> Settings:
        over = {"server.port": 0, "state_dir": str(file.parent / "state")}
        return load(str(file), engines=ENGINES, env={}, command_line=over)

    running = Corral(read(), extra_engines={"fake": FakeProgramEngine()}, reread=read)
    async with running.running() as info, httpx2.AsyncClient(base_url=info.address, timeout=30) as http:
        yield running, http


async def names(http: httpx2.AsyncClient) -> set[str]:
    """Every name that is served."""
    return {name for each in (await http.get("/v1/models")).json()["data"] for name in (each["id"], *each["aliases"])}


async def copy(http: httpx2.AsyncClient, source: str, destination: str) -> httpx2.Response:
    return await http.post("/api/copy", json={"source": source, "destination": destination})


async def delete(http: httpx2.AsyncClient, name: str) -> httpx2.Response:
    return await http.request("DELETE", "/api/delete", json={"model": name})


async def chat(http: httpx2.AsyncClient, model: str, **fields: Any) -> httpx2.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}], **fields}
    return await http.post("/v1/chat/completions", json=body)


async def test_an_alias_comes_and_goes_while_its_model_runs(home: Path) -> None:
    file = home / "corral.yaml"
    file.write_text(YAML)
    async with serving(file) as (running, http):
        assert (await chat(http, "a")).status_code == 200
        view = running.scheduler.view("a")
        assert view is not None
        assert (await copy(http, "A:latest", "mine")).status_code == 200
        assert file.read_text() == YAML.replace("[x, y]", "[x, y, mine]"), "and nothing else"
        assert (await chat(http, "mine")).status_code == 200, "served as soon as it is answered"
        for alias in ("x", "mine", "y"):
            assert (await delete(http, alias)).status_code == 200
            assert alias not in await names(http)
        assert "aliases: [" not in file.read_text() and "# my Models" in file.read_text()
        assert (await delete(http, "z")).status_code == 200
        assert await names(http) == {"a", "b", "c"}
        assert (await copy(http, "c", "new")).status_code == 200 and "new" in await names(http)
        after = running.scheduler.view("a")
        assert after is not None and after.instance == view.instance, "it ran on"


async def test_a_model_leaves_the_config_and_its_groups(home: Path) -> None:
    file = home / "corral.yaml"
    file.write_text(YAML)
    async with serving(file) as (_, http):
        assert (await delete(http, "b")).status_code == 200
        assert await names(http) == {"a", "x", "y", "c"}
        left = file.read_text()
        assert "# the last" in left and "# one at a time" in left and "members: [a]" in left
        assert (await chat(http, "b")).status_code == 404
        assert (await delete(http, "b")).status_code == 404


async def test_a_model_that_is_deleted_serves_its_waiters_first(home: Path) -> None:
    file = home / "corral.yaml"
    file.write_text(YAML)
    async with serving(file) as (running, http):
        asked = asyncio.create_task(chat(http, "c"))
        async with asyncio.timeout(10):
            while (view := running.scheduler.view("c")) is None or str(view.state) == "stopped":
                await asyncio.sleep(0.005)
        assert (await delete(http, "c")).status_code == 200
        assert (await asked).status_code == 200
        assert "c" not in await names(http)


async def test_toml_too(home: Path) -> None:
    file = home / "corral.toml"
    file.write_text(TOML)
    async with serving(file) as (_, http):
        assert (await copy(http, "a", "mine")).status_code == 200
        assert (await delete(http, "b")).status_code == 200
        assert await names(http) == {"a", "x", "y", "mine"}
        assert file.read_text().startswith("# my Models") and "# the first" in file.read_text()


async def test_a_folder_is_changed_in_the_file_where_it_stands(home: Path) -> None:
    folder = home / "conf.d"
    folder.mkdir()
    (folder / "10-models.yaml").write_text("models:\n  a: {engine: fake}  # the first\n")
    (folder / "20-more.yaml").write_text("models:\n  b: {engine: fake}\n")
    async with serving(folder) as (_, http):
        assert (await copy(http, "a", "mine")).status_code == 200
        assert (folder / "10-models.yaml").read_text() == "models:\n  a: {engine: fake, aliases: [mine]}  # the first\n"
        assert (await delete(http, "b")).status_code == 200
        assert await names(http) == {"a", "mine"}


async def test_the_last_member_of_a_group_is_not_taken_from_it(home: Path) -> None:
    file = home / "corral.yaml"
    text = "models:\n  a: {engine: fake}\ngroups:\n  g: {members: [a]}\n"
    file.write_text(text)
    async with serving(file) as (_, http):
        answer = await delete(http, "a")
        assert answer.status_code == 409 and "groups.g" in answer.json()["error"]
        assert file.read_text() == text


async def test_many_at_one_time(home: Path) -> None:
    file = home / "corral.yaml"
    file.write_text(YAML)
    async with serving(file) as (_, http):
        answers = await asyncio.gather(*(copy(http, "c", f"alias-{number}") for number in range(10)))
        assert [answer.status_code for answer in answers] == [200] * 10
        assert {f"alias-{number}" for number in range(10)} <= await names(http)


async def test_a_client_that_leaves_does_not_leave_half_a_change(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = home / "corral.yaml"
    file.write_text(YAML)
    async with serving(file) as (running, http):
        written, left, announce = asyncio.Event(), asyncio.Event(), running._announce

        async def slowly(settings: Settings) -> None:
            written.set()
            await left.wait()
            await announce(settings)

        monkeypatch.setattr(running, "_announce", slowly)
        asked = asyncio.create_task(copy(http, "c", "mine"))
        await asyncio.wait_for(written.wait(), 10)
        asked.cancel()
        async with asyncio.timeout(10):
            while running.gateway.connections:
                await asyncio.sleep(0.005)
            left.set()
            while running.directory.find("mine") is None:
                await asyncio.sleep(0.005)
        assert "mine" in file.read_text()


async def test_a_config_that_is_wrong_is_left_alone(home: Path) -> None:
    file = home / "corral.yaml"
    file.write_text(YAML)
    async with serving(file) as (_, http):
        bad = YAML + "limits: {nonsense: 1}\n"
        file.write_text(bad)
        at = file.stat().st_mtime_ns
        for answer in (await copy(http, "a", "mine"), await delete(http, "b")):
            assert answer.status_code == 409 and "nonsense" in answer.json()["error"]
        assert file.read_text() == bad and file.stat().st_mtime_ns == at, "not even for a moment"
        file.unlink()
        assert (await copy(http, "a", "mine")).status_code == 409
        assert await names(http) == {"a", "b", "c", "x", "y", "z"}


async def test_what_stands_elsewhere_is_not_changed(home: Path) -> None:
    file = home / "corral.yaml"
    text = "x-names: &names [p, q]\nmodels:\n  a: {engine: fake, aliases: *names}\n  b: {engine: fake}\n"
    file.write_text(text)
    async with serving(file) as (_, http):
        for answer in (await delete(http, "p"), await copy(http, "a", "mine")):
            assert answer.status_code == 409, answer.text
        assert file.read_text() == text


async def test_a_file_that_cannot_be_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = home / "corral.yaml"
    file.write_text(YAML)

    def refuse(path: str, before: str, after: str) -> None:
        raise ConfigError("the file cannot be written: Read-only file system", file=path)

    async with serving(file) as (_, http):
        with monkeypatch.context() as patched:
            patched.setattr(write, "replace", refuse)
            answer = await copy(http, "a", "mine")
        assert answer.status_code == 409 and "Read-only file system" in answer.json()["error"]
        assert file.read_text() == YAML and (await copy(http, "a", "mine")).status_code == 200


async def test_a_reload_that_fails_gives_the_file_back(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = home / "corral.yaml"
    file.write_text(YAML)
    async with serving(file) as (running, http):

        async def fails(settings: Settings) -> None:
            raise ConfigError("not today")

        with monkeypatch.context() as patched:
            patched.setattr(running, "_announce", fails)
            answer = await delete(http, "b")
        assert answer.status_code == 409 and "not today" in answer.json()["error"]
        assert file.read_text() == YAML and "b" in await names(http)


async def test_without_a_config_file_it_is_refused() -> None:
    async with corral({"a": fake(aliases=("x",))}) as running:
        for answer in (await copy(running.http, "a", "mine"), await delete(running.http, "x")):
            assert answer.status_code == 409 and "config file" in answer.json()["error"]


async def test_a_model_of_the_command_line_is_none_of_the_file(home: Path) -> None:
    file = home / "corral.yaml"
    file.write_text(YAML)
    async with serving(file) as (running, http):
        file.write_text(YAML.replace("  # the last\n  c: {engine: fake}\n", ""))
        answer = await copy(http, "c", "mine")
        assert answer.status_code == 409 and "not in the config file" in answer.json()["error"]
        assert os.path.exists(file) and running.directory.find("mine") is None
