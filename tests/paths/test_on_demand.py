"""Models whose files are somewhere else: fetched when somebody asks for them, shown while they come."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from corral.domain.fleet import ModelSpec, Source, Timeouts
from corral.domain.references import parse
from corral.domain.storage import StoreSpec
from corral.store.fetches import StoreFetches
from tests.corrals import Running, corral, fake
from tests.hub_server import HubServer, sha256
from tests.models import ADA, SPLIT, model

DATA = model(ADA).read_bytes()
SIZE = len(DATA)


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as hub:
        hub.repo("org/tiny-GGUF", {"tiny-Q4_K_M.gguf": DATA})
        yield hub


def store(hub: HubServer, folder: Path, **fields: Any) -> StoreSpec:
    return StoreSpec(str(folder / "store"), endpoint=hub.endpoint, trusted=frozenset(hub.trusted), **fields)


def wanting(reference: str = "hf.co/org/tiny-GGUF", /, **fields: Any) -> ModelSpec:
    more = {name: fields.pop(name) for name in ("place", "sha256", "auto_download", "pictures") if name in fields}
    return fake(source=Source(reference=reference, **more), **fields)


def view_of(running: Running, name: str) -> dict[str, Any]:
    view = running.app.scheduler.view(name)
    assert view is not None
    return view.row(0.0, None)


async def until_fetching(running: Running, name: str) -> dict[str, Any]:
    """Wait until some of it is here."""
    async with asyncio.timeout(10):
        while True:
            fetching: Any = view_of(running, name)["fetching"]
            if fetching and fetching["done_bytes"]:
                return dict(fetching)
            await asyncio.sleep(0.01)


async def test_the_first_request_fetches_the_model_and_is_answered(
    hub: HubServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with corral({"a": wanting()}, store=store(hub, tmp_path)) as running:
        assert running.state("a") == "stopped"
        assert hub.asked == [], "nothing is asked before somebody wants it"
        answers = await asyncio.gather(*(running.text("a") for _ in range(4)))
        assert len(set(answers)) == 1
        place = tmp_path / "store/hf/org/tiny-GGUF/tiny-Q4_K_M.gguf"
        assert place.read_bytes() == DATA
        facts = running.app.directory.facts_of("a")
        assert facts.parameters, "what its file says is shown from now on"
        metrics = (await running.http.get("/metrics")).text
        assert f'corral_fetched_bytes_total{{model="a"}} {float(SIZE)}' in metrics
        assert 'corral_fetches_total{model="a",outcome="fetched"} 1.0' in metrics
    said = [record.getMessage() for record in caplog.records if record.name == "corral.scheduler.fetching"]
    assert said[0] == "[a] Downloading model from hf.co/org/tiny-GGUF"
    assert said[-1].startswith(f"[a] Model downloaded successfully to {place} (")
    asked = len(hub.asked)
    async with corral({"a": wanting()}, store=store(hub, tmp_path)) as running:
        assert await running.text("a")
    assert len(hub.asked) == asked, "what is here needs no hub"


async def test_several_models_of_one_file_fetch_it_once(hub: HubServer, tmp_path: Path) -> None:
    models = {"a": wanting(), "b": wanting(), "c": wanting("hf.co/org/tiny-GGUF:Q4_K_M")}
    async with corral(models, store=store(hub, tmp_path)) as running:
        await asyncio.gather(*(running.text(name) for name in models))
        metrics = (await running.http.get("/metrics")).text
        counts = [
            line.rsplit(" ", 1) for line in metrics.splitlines() if line.startswith("corral_fetched_bytes_total{")
        ]
        assert sum(float(count) for _, count in counts) == SIZE


async def test_a_stream_hears_how_far_it_is(hub: HubServer, tmp_path: Path) -> None:
    slow(hub)
    spec = wanting(loading_state="reasoning", timeouts=Timeouts(heartbeat_s=0.2))
    async with corral({"a": spec}, store=store(hub, tmp_path)) as running:
        body = {"model": "a", "messages": [{"role": "user", "content": "x"}], "stream": True}
        answer = await running.http.post("/v1/chat/completions", json=body)
        events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
        thoughts = "".join(event["choices"][0]["delta"].get("reasoning_content") or "" for event in events)
        assert "a is being fetched" in thoughts
        assert " MiB of " in thoughts
        assert answer.text.rstrip().endswith("data: [DONE]")


async def test_who_has_waited_as_long_as_he_may_is_told_when_to_come_again(hub: HubServer, tmp_path: Path) -> None:
    slow(hub)
    hub.pause_s = 0.5
    async with corral({"a": wanting(timeouts=Timeouts(queue_s=0.5))}, store=store(hub, tmp_path)) as running:
        first = asyncio.ensure_future(running.chat("a"))
        await until_fetching(running, "a")  # the refusal can name sizes from here on, however long the look took
        refused = await running.chat("a")
        assert refused.status_code == (await first).status_code == 503
        assert refused.json()["error"]["code"] == "fetching"
        assert "are being fetched" in refused.json()["error"]["message"]
        assert int(refused.headers["retry-after"]) >= 1
        fetching = await until_fetching(running, "a")
        assert fetching["total_bytes"] == len(LARGE)
        (card,) = (await running.http.get("/v1/models")).json()["data"]
        assert (card["id"], card["state"]) == ("a", "starting")
        assert card["fetching"].keys() == fetching.keys() and 0 < card["fetching"]["progress"] < 1
        assert (await running.http.get("/api/ps")).json() == {"models": []}, (
            "what is not loaded is not there for Ollama"
        )
        hub.pause_s = 0
        await running.until("a", "stopped")
        assert (await running.chat("a")).status_code == 200


async def test_unload_ends_a_fetch_and_the_next_request_goes_on_with_it(hub: HubServer, tmp_path: Path) -> None:
    slow(hub)
    async with corral({"a": wanting()}, store=store(hub, tmp_path)) as running:
        waiting = asyncio.ensure_future(running.chat("a"))
        await until_fetching(running, "a")
        gone = await running.http.post("/api/corral/unload", json={"model": "a"})
        assert gone.status_code == 200, gone.text
        assert gone.json() == {"unloaded": [], "fetches_ended": ["a"]}
        assert (await waiting).json()["error"]["code"] == "model_unloaded"
        assert running.state("a") == "stopped"
        assert list((tmp_path / "store/hf/org/tiny-GGUF").glob(".*.part")), "what has come is kept"
        hub.pause_s = 0
        assert await running.text("a")


async def test_a_failed_fetch_is_told_and_mended(hub: HubServer, tmp_path: Path) -> None:
    async with corral({"a": wanting("hf.co/org/other-GGUF")}, store=store(hub, tmp_path)) as running:
        refused = await running.chat("a")
        assert refused.status_code in (404, 503)
        assert refused.json()["error"]["code"] == "not_there"
        assert running.state("a") == "failed"
        hub.repo("org/other-GGUF", {"tiny-Q8_0.gguf": DATA})
        async with asyncio.timeout(10):
            while (await running.chat("a")).status_code != 200:
                await asyncio.sleep(0.1)


async def test_without_leave_nothing_is_fetched(hub: HubServer, tmp_path: Path) -> None:
    async with corral({"a": wanting(auto_download=False)}, store=store(hub, tmp_path)) as running:
        refused = (await running.chat("a")).json()["error"]
        assert refused["code"] == "fetch_refused"
        assert "corral models pull hf.co/org/tiny-GGUF" in refused["message"]
        assert hub.asked == []


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/api/chat"])
async def test_who_cannot_help_it_is_not_asked_to_come_back_and_it_heals(
    hub: HubServer, tmp_path: Path, path: str
) -> None:
    spec = store(hub, tmp_path)
    async with corral({"a": wanting(auto_download=False)}, store=spec) as running:
        body = {"model": "a", "max_tokens": 5, "stream": False, "messages": [{"role": "user", "content": "hi"}]}
        for _ in range(2):  # what failed, and the answer of its back-off
            refused = await running.http.post(path, json=body)
            assert refused.status_code == 503
            assert "retry-after" not in refused.headers and refused.headers["x-should-retry"] == "false"
            assert "`corral models pull hf.co/org/tiny-GGUF`" in refused.text
        fetches = StoreFetches(spec, {}, insecure=True, private=True)
        await asyncio.to_thread(lambda: fetches.fetch(fetches.plan(parse("hf.co/org/tiny-GGUF"))))
        async with asyncio.timeout(10):
            while (await running.http.post(path, json=body)).status_code != 200:
                await asyncio.sleep(0.1)


async def test_a_pinned_model_without_leave_is_no_line_a_second(
    hub: HubServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with corral({"a": wanting(auto_download=False, pin=True)}, store=store(hub, tmp_path)) as running:
        await asyncio.sleep(2.5)
        metrics = (await running.http.get("/metrics")).text
    assert 'corral_fetches_total{model="a",outcome="failed"} 2.0' in metrics, "at once, and after a second"
    assert sum("Failed to download" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize("here", [False, True])
async def test_a_file_of_another_hash_than_the_config_has_is_not_served(
    hub: HubServer, tmp_path: Path, here: bool
) -> None:
    url = hub.file("/files/x.gguf", DATA)
    if here:
        async with corral({"a": wanting(url)}, store=store(hub, tmp_path)) as running:
            assert await running.text("a")
    async with corral({"a": wanting(url, sha256="0" * 64)}, store=store(hub, tmp_path)) as running:
        refused = await running.chat("a")
        assert refused.status_code >= 400
        assert "SHA-256" in refused.json()["error"]["message"]
        assert running.state("a") == "failed"


async def test_load_fetches_too(hub: HubServer, tmp_path: Path) -> None:
    async with corral({"a": wanting()}, store=store(hub, tmp_path)) as running:
        loaded = await running.http.post("/api/corral/load", json={"model": "a"})
        assert loaded.status_code == 200, loaded.text
        await running.until("a", "ready")
        assert (tmp_path / "store/hf/org/tiny-GGUF/tiny-Q4_K_M.gguf").read_bytes() == DATA


async def test_the_operator_says_where_it_is_put(hub: HubServer, tmp_path: Path) -> None:
    url = hub.file("/files/x.gguf", DATA)
    place = tmp_path / "models" / "mine.gguf"
    spec = wanting(url, place=str(place), sha256=sha256(DATA))
    async with corral({"a": spec}, store=store(hub, tmp_path)) as running:
        assert await running.text("a")
        assert place.read_bytes() == DATA
    hub.files.clear()
    async with corral({"a": spec}, store=store(hub, tmp_path)) as running:
        assert await running.text("a")


async def test_all_parts_and_the_projector_come_along(hub: HubServer, tmp_path: Path) -> None:
    first = model(SPLIT)
    parts = {each.name: each.read_bytes() for each in sorted(first.parent.glob(f"{first.name[:-20]}-*.gguf"))}
    hub.repo("org/split-GGUF", {**parts, "mmproj-F16.gguf": DATA})
    models = {"a": wanting("hf.co/org/split-GGUF"), "b": wanting("hf.co/org/split-GGUF", pictures=False)}
    async with corral(models, store=store(hub, tmp_path)) as running:
        assert await running.text("b")
        folder = tmp_path / "store/hf/org/split-GGUF"
        assert {each.name for each in folder.iterdir() if each.name[0] != "."} == set(parts)
        await running.text("a")
        source = running.app.directory.models["a"].source
        assert source.path == str(folder / min(parts))


async def test_a_pinned_model_comes_by_itself_and_a_shutdown_does_not_wait_for_it(
    hub: HubServer, tmp_path: Path
) -> None:
    slow(hub)
    async with corral({"a": dataclasses.replace(wanting(), pin=True)}, store=store(hub, tmp_path)) as running:
        await until_fetching(running, "a")
        ready = await running.http.get("/ready")
        assert ready.json()["missing"] == {"a": "starting"}
        began = time.monotonic()
    assert time.monotonic() - began < 3


async def test_a_file_that_is_taken_away_is_fetched_again(hub: HubServer, tmp_path: Path) -> None:
    async with corral({"a": wanting(ttl_s=0)}, store=store(hub, tmp_path)) as running:
        assert await running.text("a")
        await running.until("a", "stopped")
        shutil.rmtree(tmp_path / "store")
    async with corral({"a": wanting(ttl_s=0)}, store=store(hub, tmp_path)) as running:
        assert await running.text("a")
        assert (tmp_path / "store/hf/org/tiny-GGUF/tiny-Q4_K_M.gguf").exists()


LARGE = DATA + bytes(2 * 1024**2)


def slow(hub: HubServer) -> None:
    """About two seconds for the file."""
    hub.repo("org/tiny-GGUF", {"tiny-Q4_K_M.gguf": LARGE})
    hub.pause_s = 0.15
