"""Ollama's clients pull models through a Corral, from a hub and a registry of our own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import ollama
import pytest

from corral import registry
from corral.app import Corral
from corral.config.files import read_file
from corral.config.load import load_document
from corral.config.settings import Settings
from corral.fakes.engine import FakeProgramEngine
from corral.store.pulls import AT_ONCE
from corral.store.shelf.serving import stored_models
from tests.file_server import FileServer, Reply
from tests.hub_server import HubServer, sha256
from tests.models import ADA, BEN, model
from tests.unit.store.shelf import kit

ENGINES = {**registry.engines(), "fake": FakeProgramEngine()}
DATA, OTHER = model(ADA).read_bytes(), model(BEN).read_bytes()
BOSS, USER = "sk-boss-0123456789", "sk-user-0123456789"
KEYS = f"server: {{keys: [{{name: boss, key: {BOSS}, scopes: [admin]}}, {{name: user, key: {USER}}}]}}\n"


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="c"))
    monkeypatch.setenv("HOME", str(path))
    for name in ("HF_HOME", "HF_HUB_CACHE", "LLAMA_CACHE", "OLLAMA_MODELS", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as hub:
        hub.repo("org/tiny-GGUF", {"tiny-Q4_K_M.gguf": DATA, "tiny-Q8_0.gguf": OTHER})
        hub.model("tiny", {"model": DATA, "license": b"Do as you like. " * 10})
        yield hub


def name(hub: HubServer, model: str = "tiny", tag: str = "latest") -> str:
    """Of a model of our own registry."""
    return f"{hub.host}/library/{model}:{tag}"


class Served:
    """A Corral, and how to ask it."""

    def __init__(
        self, corral: Corral, http: httpx2.AsyncClient, address: str, store: Path, read: Callable[[], Settings]
    ) -> None:
        self.corral, self.http, self.address, self.store, self.read = corral, http, address, store, read

    async def pull(self, model: str, **fields: Any) -> list[dict[str, Any]]:
        """All lines of a stream."""
        answer = await self.http.post(f"{self.address}/api/pull", json={"model": model, **fields})
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("application/x-ndjson")
        return [json.loads(line) for line in answer.text.splitlines()]

    async def refused(self, model: str, **fields: Any) -> tuple[int, str]:
        """Status and message."""
        answer = await self.http.post("/api/pull", json={"model": model, **fields})
        return answer.status_code, answer.json()["error"]

    async def tags(self) -> list[str]:
        return [each["name"] for each in (await self.http.get("/api/tags")).json()["models"]]


@contextlib.asynccontextmanager
async def served(
    home: Path, hub: HubServer, more: str = "", *, store: str = "serve: true", endpoint: str = "", also: str = ""
) -> AsyncIterator[Served]:
    """A Corral over a store of its own."""
    origins = json.dumps([*hub.trusted, *(each for each in (endpoint, also) if each)])
    (home / "corral.yaml").write_text(
        f"store: {{path: store, endpoint: '{endpoint or hub.endpoint}', trusted: {origins}, {store}}}\n{more}"
    )
    over = {"server.port": 0, "state_dir": str(home / "state")}
    env = {"HOME": str(home)}

    def read() -> Settings:
        document = read_file(str(home / "corral.yaml"))
        loaded = load_document(
            document, engines=ENGINES, env=env, command_line=over, cwd=str(home), stored=stored_models
        )
        return loaded.settings

    running = Corral(read(), extra_engines={"fake": FakeProgramEngine()}, reread=read)
    async with running.running() as info, httpx2.AsyncClient(base_url=info.address, timeout=30) as http:
        yield Served(running, http, info.address, home / "store", read)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.01)


def parts(store: Path) -> list[Path]:
    return list(store.rglob(".*.part"))


def begun(store: Path) -> bool:
    """Whether some of a model is on the disk."""
    return any(path.stat().st_blocks * 512 >= 128 * 1024 for path in parts(store))


def threads_done(corral: Served) -> bool:
    return len(corral.corral._pulls._tasks) == 0


async def test_the_official_client_pulls_and_the_model_is_there_at_once(home: Path, hub: HubServer) -> None:
    async with served(home, hub) as corral:
        client = ollama.AsyncClient(host=corral.address)
        lines = [line async for line in await client.pull(name(hub), stream=True)]
        said = [line.status for line in lines]
        assert said[0] == "pulling manifest"
        assert said[-3:] == ["verifying sha256 digest", "writing manifest", "success"]
        short = sha256(DATA)[:12]
        last = [line for line in lines if line.status == f"pulling {short}"][-1]
        assert (last.digest, last.total, last.completed) == (f"sha256:{sha256(DATA)}", len(DATA), len(DATA))
        assert any(line.digest == f"sha256:{sha256(b'Do as you like. ' * 10)}" for line in lines)
        assert [each.model for each in (await client.list()).models] == [name(hub)]
        shown = await client.show(name(hub))
        assert shown.modelinfo and shown.modelinfo["general.architecture"] == "llama"
        await client._client.aclose()
    assert parts(corral.store) == []


async def test_without_a_stream_there_is_one_answer(home: Path, hub: HubServer) -> None:
    async with served(home, hub) as corral:
        answer = await corral.http.post("/api/pull", json={"name": name(hub), "stream": False})
        assert (answer.status_code, answer.json()) == (200, {"status": "success"})
        assert answer.headers["content-type"] == "application/json"
        assert await corral.tags() == [name(hub)]


@pytest.mark.parametrize("asked", ["hf.co/org/tiny-GGUF:Q8_0", "https://huggingface.co/org/tiny-GGUF:q8_0"])
async def test_the_hub_by_quantisation(home: Path, hub: HubServer, asked: str) -> None:
    async with served(home, hub) as corral:
        lines = await corral.pull(asked)
        assert lines[-1] == {"status": "success"}
        assert (corral.store / "hf/org/tiny-GGUF/tiny-Q8_0.gguf").read_bytes() == OTHER
        assert await corral.tags() == ["hf.co/org/tiny-GGUF:Q8_0"]
        assert (await corral.http.post("/api/show", json={"model": asked})).status_code == 200


async def test_the_hub_without_a_quantisation(home: Path, hub: HubServer) -> None:
    async with served(home, hub) as corral:
        await corral.pull("hf.co/org/tiny-GGUF:Q8_0")
        assert (await corral.http.post("/api/show", json={"model": "hf.co/org/tiny-GGUF"})).status_code == 200
        await corral.pull("hf.co/org/tiny-GGUF")
        place = corral.store / "hf/org/tiny-GGUF/tiny-Q4_K_M.gguf"
        assert place.read_bytes() == DATA, "what is usual, not what is here"
        assert await corral.tags() == ["hf.co/org/tiny-GGUF:Q4_K_M", "hf.co/org/tiny-GGUF:Q8_0"]
        _, meant = corral.corral.directory.meant(("hf.co/org/tiny-GGUF",))
        assert meant.source.path.endswith("tiny-Q4_K_M.gguf")


async def test_a_model_of_the_config_by_its_name(home: Path, hub: HubServer) -> None:
    more = "models:\n  mine: {source: {ref: hf.co/org/tiny-GGUF, quant: Q8_0, auto_download: false}, engine: fake}\n"
    async with served(home, hub, more, store="serve: false") as corral:
        assert (await corral.http.get("/api/tags")).json()["models"][0]["size"] == 0
        lines = await corral.pull("mine:latest")
        assert f"pulling {sha256(OTHER)[:12]}" in [line["status"] for line in lines]
        assert lines[-1] == {"status": "success"}
        (tag,) = (await corral.http.get("/api/tags")).json()["models"]
        assert (tag["name"], tag["size"]) == ("mine", len(OTHER))
        asked = len(hub.asked)
        assert [line["status"] for line in await corral.pull("mine")][-1] == "success"
        assert len(hub.asked) == asked, "what is here is here"
        body = {"model": "mine", "messages": [{"role": "user", "content": "x"}], "stream": False}
        assert (await corral.http.post("/api/chat", json=body)).status_code == 200


async def test_what_a_model_of_the_config_is_served_from_is_that_model_by_its_other_name(
    home: Path, hub: HubServer
) -> None:
    more = "models:\n  mine: {source: 'hf.co/org/tiny-GGUF:Q8_0', engine: fake}\n"
    async with served(home, hub, more) as corral:
        assert (await corral.pull("hf.co/org/tiny-GGUF:Q8_0"))[-1] == {"status": "success"}
        assert await corral.tags() == ["mine"]
        body = {"model": "hf.co/org/tiny-GGUF:Q8_0", "messages": [{"role": "user", "content": "x"}], "stream": False}
        assert (await corral.http.post("/api/chat", json=body)).status_code == 200


async def test_settings_are_those_of_the_last_reload(home: Path, hub: HubServer) -> None:
    async with served(home, hub, store="serve: false") as corral:
        assert (await corral.refused(name(hub)))[0] == 409
        text = (home / "corral.yaml").read_text()
        (home / "corral.yaml").write_text(text.replace("serve: false", "serve: true"))
        await corral.corral.reload(corral.read)
        assert (await corral.pull(name(hub)))[-1] == {"status": "success"}
        (home / "corral.yaml").write_text(text.replace("serve: false", "serve: true, api_pull: false"))
        await corral.corral.reload(corral.read)
        assert (await corral.refused(name(hub, tag="other")))[0] == 403


async def test_two_clients_follow_one_download(home: Path, hub: HubServer) -> None:
    hub.pause_s = 0.1
    async with served(home, hub) as corral:
        first, second = await asyncio.gather(corral.pull(name(hub)), corral.pull(name(hub)))
        assert first[-1] == second[-1] == {"status": "success"}
        blobs = [path for path in hub.paths("hub") if path.endswith(sha256(DATA))]
        assert len(blobs) == 1, "one download"
        sizes = {line["completed"] for line in second if line.get("digest") == f"sha256:{sha256(DATA)}"}
        assert len(sizes) > 2, "who came second sees it come, too"


async def test_one_of_two_who_leaves_takes_nothing_away(home: Path, hub: HubServer) -> None:
    hub.pause_s = 0.1
    async with served(home, hub) as corral:
        leaving = asyncio.ensure_future(corral.pull(name(hub)))
        staying = asyncio.ensure_future(corral.pull(name(hub)))
        await until(lambda: begun(corral.store))
        leaving.cancel()
        assert (await staying)[-1] == {"status": "success"}


@pytest.mark.parametrize("stream", [True, False])
async def test_who_leaves_alone_ends_it_and_the_next_goes_on(home: Path, hub: HubServer, stream: bool) -> None:
    hub.pause_s = 0.1
    async with served(home, hub) as corral:
        task = asyncio.ensure_future(corral.http.post("/api/pull", json={"model": name(hub), "stream": stream}))
        await until(lambda: begun(corral.store))
        task.cancel()
        await until(lambda: threads_done(corral))
        (part,) = parts(corral.store)
        assert part.with_name(f"{part.name}.json").exists() and await corral.tags() == []
        hub.pause_s = 0
        lines = await corral.pull(name(hub))
        assert lines[-1] == {"status": "success"}
        spans = [each.headers["range"] for each in hub.asked if each.where == "storage" and "range" in each.headers]
        assert any(not span.startswith("bytes=0-") for span in spans), "what had come was not fetched again"
        assert parts(corral.store) == []


async def test_who_comes_while_it_is_being_ended_gets_all_of_it(home: Path, hub: HubServer) -> None:
    hub.pause_s = 0.1
    async with served(home, hub) as corral:
        for _ in range(3):
            task = asyncio.ensure_future(corral.pull(name(hub)))
            await until(lambda: begun(corral.store))
            task.cancel()
        hub.pause_s = 0.01
        assert (await corral.pull(name(hub)))[-1] == {"status": "success"}


async def test_registries_that_hang_keep_no_pull_from_another_waiting(home: Path, hub: HubServer) -> None:
    with FileServer(lambda ask: Reply(200, {}, bytes(200), cut=100, hang=True)) as deaf:
        async with served(home, hub, also=deaf.origin) as corral:
            address = deaf.origin.partition("//")[2]
            hanging = [asyncio.ensure_future(corral.pull(f"{address}/x/m{n}")) for n in range(AT_ONCE)]
            await until(lambda: len(deaf.asked) >= AT_ONCE)
            async with asyncio.timeout(15):
                assert (await corral.pull(name(hub)))[-1] == {"status": "success"}
            assert not any(each.done() for each in hanging)
            for each in hanging:
                each.cancel()
            await asyncio.gather(*hanging, return_exceptions=True)
            await until(lambda: threads_done(corral))


async def test_corral_that_ends_tells_who_follows(home: Path, hub: HubServer) -> None:
    hub.pause_s = 0.2
    async with httpx2.AsyncClient(timeout=30) as http:
        async with served(home, hub) as corral:
            corral.http = http
            task = asyncio.ensure_future(corral.pull(name(hub)))
            await until(lambda: begun(corral.store))
        assert (await task)[-1]["code"] == "shutting_down"
    assert len(parts(home / "store")) == 1


async def test_a_model_that_has_changed_is_fetched_anew(home: Path, hub: HubServer) -> None:
    async with served(home, hub) as corral:
        await corral.pull(name(hub))
        assert (await corral.pull(name(hub).upper()))[-1] == {"status": "success"}
        assert hub.paths("storage").count(f"/blobs/{sha256(DATA)}") == 1, "it has not changed"
        hub.model("tiny", {"model": OTHER})
        await corral.pull(name(hub))
        (path,) = corral.store.rglob("model.gguf")
        assert path.read_bytes() == OTHER


async def test_a_name_of_the_store_that_came_from_elsewhere_asks_nobody(home: Path, hub: HubServer) -> None:
    shutil.copy(model(ADA), home / "ada.gguf")
    async with served(home, hub, "models: {m: {source: ada.gguf}}\n") as corral:
        for asked in ("m", "m:latest"):
            assert (await corral.pull(asked))[-1] == {"status": "success"}
        (corral.store / "import").mkdir(parents=True)
        shutil.copy(model(BEN), corral.store / "import/ben.gguf")
        async with asyncio.timeout(10):
            while "ben" not in await corral.tags():
                await asyncio.sleep(0.1)
        assert (await corral.pull("ben"))[-1] == {"status": "success"}
    assert hub.asked == []


async def runs(corral: Served, asked: str) -> bool:
    """What `ollama run` asks for, after a pull."""
    return (await corral.http.post("/api/show", json={"model": asked})).status_code == 200


SPELLINGS = {
    "q8_0": OTHER, "Q8_0.gguf": OTHER, "q8_0.GGUF": OTHER, "Q80": OTHER, "q8-0": OTHER, "tiny-Q8_0.gguf": OTHER,
    "TINY-q8_0.Gguf": OTHER, "q4_k_m": DATA, "Q4KM": DATA, "q4-k-m.gguf": DATA, "latest": DATA, "LATEST": DATA,
}  # fmt: skip


@pytest.mark.parametrize("tag", SPELLINGS)
async def test_a_quantisation_in_any_spelling_is_the_model_by_that_name(home: Path, hub: HubServer, tag: str) -> None:
    asked = f"hf.co/org/tiny-GGUF:{tag}"
    async with served(home, hub) as corral:
        assert (await corral.pull(asked))[-1] == {"status": "success"}
        assert [path.read_bytes() for path in corral.store.rglob("*.gguf")] == [SPELLINGS[tag]]
        assert await runs(corral, asked)
        listed = await corral.tags()
        assert listed == [f"hf.co/org/tiny-GGUF:{'Q8_0' if SPELLINGS[tag] == OTHER else 'Q4_K_M'}"], "in its usual one"
        assert (await corral.pull(asked))[-1] == {"status": "success"} and await runs(corral, listed[0])
    async with served(home, hub) as corral:
        assert await runs(corral, asked), "the next Corral knows it, too"


NO_MODELS = {
    "q6_k": "has no Q6_K", "Q6_K.gguf": "has no Q6_K", "banana": "has no BANANA", "banana.gguf": "has no file banana",
    "main": "has no MAIN",
}  # fmt: skip


@pytest.mark.parametrize("tag", NO_MODELS)
async def test_what_a_repository_does_not_have_is_answered_with_what_it_has(
    home: Path, hub: HubServer, tag: str
) -> None:
    async with served(home, hub) as corral:
        status, error = await corral.refused(f"hf.co/org/tiny-GGUF:{tag}", stream=False)
        assert status == 404 and NO_MODELS[tag] in error
        assert "There is: tiny-Q4_K_M.gguf" in error and "tiny-Q8_0.gguf" in error
        assert (await corral.pull(f"hf.co/org/tiny-GGUF:{tag}"))[-1]["error"] == error
        assert hub.paths("storage") == []


async def test_two_models_of_one_quantisation_are_told_apart_by_their_files(home: Path, hub: HubServer) -> None:
    hub.repo("org/two-GGUF", {"a-Q8_0.gguf": DATA, "b-Q8_0.gguf": OTHER})
    async with served(home, hub) as corral:
        _, error = await corral.refused("hf.co/org/two-GGUF:q8_0", stream=False)
        assert "a-Q8_0.gguf" in error and "b-Q8_0.gguf" in error and "hf.co/ORG/REPO:NAME" in error
        for name in ("a", "b"):
            asked = f"hf.co/org/two-GGUF:{name}-Q8_0.gguf"
            assert (await corral.pull(asked))[-1] == {"status": "success"} and await runs(corral, asked)


@pytest.mark.parametrize(("file", "is_a"), [("mmproj-F16.gguf", "a projector"), ("tiny-lora-F16.gguf", "an adapter")])
async def test_what_goes_with_a_model_is_no_model(home: Path, hub: HubServer, file: str, is_a: str) -> None:
    hub.repo("org/tiny-GGUF", {"tiny-Q4_K_M.gguf": DATA, file: OTHER})
    async with served(home, hub) as corral:
        status, error = await corral.refused(f"hf.co/org/tiny-GGUF:{file}", stream=False)
        assert status == 404 and f"{file} is {is_a}" in error
        assert hub.paths("storage") == [], "not a byte of it has come"


# --- where nobody can be asked ----------------------------------------------------------------------------------------

CACHED: dict[str, tuple[str, Callable[[Path], object]]] = {
    "hugging face": ("hf.co/org/ada-GGUF:Q8_0", lambda home: kit.hub(
        home / ".cache/huggingface/hub", "org/ada-GGUF", "ada-Q8_0.gguf", model(ADA))),
    "llama.cpp": ("hf.co/org/ada-GGUF:ada-Q8_0.gguf", lambda home: kit.flat(
        home / ".cache/llama.cpp", "org/ada-GGUF", "ada-Q8_0.gguf", model(ADA))),
    "ollama": ("ada:1b", lambda home: kit.ollama(
        home / ".ollama/models", "library/ada/1b", [("model", model(ADA))])),
}  # fmt: skip


@pytest.mark.parametrize("program", CACHED)
async def test_offline_what_another_program_has_is_pulled_from_there(home: Path, hub: HubServer, program: str) -> None:
    asked, put = CACHED[program]
    put(home)
    async with served(home, hub, store="serve: true, offline: true") as corral:
        assert (await corral.pull(asked))[-1] == {"status": "success"}
        assert await runs(corral, asked)
        assert (await corral.pull(asked))[-1] == {"status": "success"}, "and again"
        (path,) = corral.store.rglob("*.gguf")
        assert path.stat().st_nlink == 2, "without a copy"
    assert hub.asked == []


async def test_offline_a_model_of_the_config_is_pulled_from_there_too(home: Path, hub: HubServer) -> None:
    asked, put = CACHED["hugging face"]
    put(home)
    more = f"models: {{mine: {{source: '{asked}', engine: fake}}, other: {{source: 'hf.co/org/x', engine: fake}}}}\n"
    async with served(home, hub, more, store="serve: false, offline: true") as corral:
        assert (await corral.pull("mine"))[-1] == {"status": "success"}
        body = {"model": "mine", "messages": [{"role": "user", "content": "x"}], "stream": False}
        assert (await corral.http.post("/api/chat", json=body)).status_code == 200
        status, error = await corral.refused("other", stream=False)
        assert status == 503 and "Corral is offline" in error
    assert hub.asked == []


async def test_with_a_hub_that_does_not_answer_too(home: Path, hub: HubServer) -> None:
    asked, put = CACHED["hugging face"]
    put(home)
    async with served(home, hub) as corral:
        await corral.pull("hf.co/org/tiny-GGUF:Q8_0")
    async with served(home, hub, endpoint="http://127.0.0.1:9") as corral:
        assert (await corral.pull(asked))[-1] == {"status": "success"} and await runs(corral, asked)
        assert (await corral.pull("hf.co/org/tiny-GGUF:Q8_0"))[-1] == {"status": "success"}, "it is here"
        status, error = await corral.refused("hf.co/org/tiny-GGUF:Q4_K_M", stream=False)
        assert status == 503 and "127.0.0.1 port 9 cannot be reached" in error


async def test_offline_what_nobody_has_is_refused_in_words(home: Path, hub: HubServer) -> None:
    async with served(home, hub, store="serve: true, offline: true") as corral:
        answer = await corral.http.post("/api/pull", json={"model": name(hub), "stream": False})
        assert answer.status_code == 503 and "Corral is offline" in answer.json()["error"]
        assert "store.offline" in answer.json()["error"]
        assert "retry-after" not in answer.headers and answer.headers["x-should-retry"] == "false"
        lines = await corral.pull(name(hub))
        assert [line.get("status") for line in lines] == ["pulling manifest", None]
        assert lines[-1]["error"] == answer.json()["error"]
        client = ollama.AsyncClient(host=corral.address)
        with pytest.raises(ollama.ResponseError, match="Corral is offline"):
            async for _ in await client.pull(name(hub), stream=True):
                pass
        with pytest.raises(ollama.ResponseError, match="Corral is offline"):
            await client.pull(name(hub))
        await client._client.aclose()
    assert hub.asked == [] and not (home / "store").exists()


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["nobody", "tiny:7b"])
async def test_what_nobody_has(home: Path, hub: HubServer, asked: str) -> None:
    async with served(home, hub) as corral:
        full = f"{hub.host}/library/{asked}"
        lines = await corral.pull(full)
        assert lines[0] == {"status": "pulling manifest"}
        assert lines[-1]["error"].startswith("pull model manifest: file does not exist (")
        status, error = await corral.refused(full, stream=False)
        assert status == 404 and error == lines[-1]["error"]
        client = ollama.AsyncClient(host=corral.address)
        with pytest.raises(ollama.ResponseError, match="file does not exist"):
            await client.pull(full)
        status, error = await corral.refused("hf.co/org/tiny-GGUF:Q2_K", stream=False)
        assert status == 404 and "There is: tiny-Q4_K_M.gguf" in error
        await client._client.aclose()


NO_NAMES = (
    "", " tiny", "tiny ", "a//b", "../x", "a/../b", "/tiny", "a/b/c/d", "hf.co/org", "hf.co/a/b/c", "hf.co/a/b@c",
    "tiny:", ":x", "tiny:a:b", "é", "x\n", "x\u0000", "http://", "file:/etc/passwd", "m" * 100_000,
)  # fmt: skip


async def test_names_that_are_none(home: Path, hub: HubServer) -> None:
    async with served(home, hub) as corral:
        for asked in NO_NAMES:
            for stream in (True, False):
                status, error = await corral.refused(asked, stream=stream)
                assert status == 400 and len(error) < 300, asked
    assert hub.asked == []


async def test_it_takes_the_scope_admin(home: Path, hub: HubServer) -> None:
    async with served(home, hub, KEYS) as corral:
        user, boss = ({"Authorization": f"Bearer {key}"} for key in (USER, BOSS))

        async def status(model: str, headers: dict[str, str]) -> int:
            body = {"model": model, "stream": False}
            return (await corral.http.post("/api/pull", json=body, headers=headers)).status_code

        assert [await status(name(hub), {}), await status(name(hub), user)] == [401, 403]
        assert hub.asked == []
        assert await status(name(hub), boss) == 200
        asked = len(hub.asked)
        assert await status(name(hub), user) == 200 and len(hub.asked) == asked, "it is here"


async def test_without_keys_a_proxy_is_no_administrator(home: Path, hub: HubServer) -> None:
    async with served(home, hub) as corral:
        body, forwarded = {"model": name(hub)}, {"X-Forwarded-For": "198.51.100.7"}
        answer = await corral.http.post("/api/pull", json=body, headers=forwarded)
        assert answer.status_code == 403 and hub.asked == []


@pytest.mark.parametrize(
    ("store", "status", "says"),
    [
        ("serve: true, api_pull: false", 403, "store.api_pull"),
        ("serve: false", 409, "store.serve"),
    ],
)
async def test_settings_that_refuse(home: Path, hub: HubServer, store: str, status: int, says: str) -> None:
    async with served(home, hub, store=store) as corral:
        for stream in (True, False):
            got, error = await corral.refused(name(hub), stream=stream)
            assert got == status and says in error
    assert hub.asked == [] and not (home / "store").exists()


@pytest.mark.parametrize("store", ["serve: true, api_pull: false", "serve: true, offline: true"])
async def test_what_is_here_is_pulled_whatever_refuses_the_rest(home: Path, hub: HubServer, store: str) -> None:
    async with served(home, hub) as corral:
        await corral.pull(name(hub))
    asked = len(hub.asked)
    async with served(home, hub, store=store) as corral:
        assert (await corral.pull(name(hub)))[-1] == {"status": "success"}
    assert len(hub.asked) == asked


async def test_insecure_is_the_operators_to_allow(home: Path, hub: HubServer) -> None:
    async with served(home, hub) as corral:
        assert (await corral.pull(name(hub), insecure=True))[-1] == {"status": "success"}, "store.trusted has it"
        for asked, fields in (
            ("127.0.0.1:9/library/tiny", {"insecure": True}),
            ("http://127.0.0.1:9/library/tiny", {}),
        ):
            status, error = await corral.refused(asked, **fields)
            assert status == 403 and "http://127.0.0.1:9 into store.trusted" in error
        lines = await corral.pull("hf.co/org/tiny-GGUF", insecure=True)
        assert lines[-1] == {"status": "success"}, "there is nothing to allow: the hub is asked as ever"


async def test_private_addresses_are_not_asked(home: Path, hub: HubServer) -> None:
    async with served(home, hub) as corral:
        lines = await corral.pull("10.1.2.3/library/tiny")
        assert lines[-1]["code"] == "fetch_refused" and "store.trusted" in lines[-1]["error"]
        assert (await corral.refused("10.1.2.3/library/tiny", stream=False))[0] == 503


async def test_a_disk_that_is_too_small(home: Path, hub: HubServer) -> None:
    async with served(home, hub) as corral:
        layer = hub.manifests["library/tiny/latest"]["layers"][0]
        layer["size"] = 1 << 60
        lines = await corral.pull(name(hub))
        assert lines[-1]["code"] == "no_space" and "1048576.0 TiB more" in lines[-1]["error"]
        assert (await corral.refused(name(hub), stream=False))[0] == 507
        assert f"/blobs/{sha256(DATA)}" not in hub.paths("storage")


async def test_bytes_that_are_not_what_was_promised(home: Path, hub: HubServer) -> None:
    hub.blobs[sha256(DATA)] = DATA[:-1] + bytes([DATA[-1] ^ 1])
    async with served(home, hub) as corral:
        lines = await corral.pull(name(hub))
        assert lines[-1]["code"] == "wrong_content"
        assert await corral.tags() == [] and not list(corral.store.rglob("model.gguf"))


async def test_a_file_that_no_engine_can_serve_is_said_to_be_none(home: Path, hub: HubServer) -> None:
    hub.model("notes", {"model": b"GGUF" + b"These are notes. " * 20})
    async with served(home, hub) as corral:
        lines = await corral.pull(name(hub, "notes"))
        assert "nothing can be served" in lines[-1]["error"] and "corral models list" in lines[-1]["error"]


async def test_a_config_that_is_broken_meanwhile(home: Path, hub: HubServer) -> None:
    async with served(home, hub) as corral:
        good = (home / "corral.yaml").read_text()
        (home / "corral.yaml").write_text(good + "nonsense: 1\n")
        lines = await corral.pull(name(hub))
        assert lines[-1]["code"] == "config_error" and "nonsense" in lines[-1]["error"]
        (home / "corral.yaml").write_text(good)
        assert (await corral.pull(name(hub)))[-1] == {"status": "success"}


async def test_pulls_of_clients_are_counted(home: Path, hub: HubServer) -> None:
    async with served(home, hub) as corral:
        await corral.pull(name(hub))
        await corral.pull(name(hub))
        await corral.pull(name(hub, tag="nowhere"))
        metrics = (await corral.http.get("/metrics")).text
    rows = {
        row.rpartition(" ")[0]: float(row.rpartition(" ")[2])
        for row in metrics.splitlines()
        if row.startswith("corral_fetche")
    }
    fetched = [key for key in rows if key.startswith("corral_fetches_total") and 'outcome="fetched"' in key]
    assert len(fetched) == 1 and rows[fetched[0]] == 1 and "tiny" in fetched[0]
    assert sum(rows[key] for key in rows if 'outcome="there"' in key) == 1
    assert rows['corral_fetches_total{model="",outcome="failed"}'] == 1, "a name of a client's own is no label"
    assert sum(value for key, value in rows.items() if key.startswith("corral_fetched_bytes_total")) >= len(DATA)
