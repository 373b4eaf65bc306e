"""Requests that say how their Model is loaded, and for how long: /api/chat through a whole Corral over fake engines."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2

from tests.corrals import Running, corral, fake

ASKED: dict[str, Any] = {"model": "a", "stream": False, "messages": [{"role": "user", "content": "hello"}]}


async def chat(running: Running, **fields: Any) -> httpx2.Response:
    answer = await running.http.post("/api/chat", json={**ASKED, **fields})
    assert answer.status_code == 200, answer.text
    return answer


async def rows(running: Running) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await running.http.get("/running")).json()["running"]
    return found


async def test_keep_alive_goes_before_the_ttl_and_lasts() -> None:
    async with corral({"a": fake()}) as running:
        await chat(running, keep_alive="1h")
        (row,) = await rows(running)
        assert row["ttl_s"] == 3600 and 3590 < row["ttl_left_s"] <= 3600
        await chat(running)
        assert (await rows(running))[0]["ttl_s"] == 3600, "who says nothing of it changes nothing"
        await chat(running, keep_alive=-1)
        (row,) = await rows(running)
        assert (row["ttl_s"], row["ttl_left_s"]) == (None, None)
        await chat(running, keep_alive=0)
        await running.until("a", "stopped")
        await running.text("a")
        assert (await rows(running))[0]["ttl_s"] == 600


async def test_the_operators_bounds_and_pins_go_before_keep_alive() -> None:
    models = {"a": fake(keep_min_s=30.0, keep_max_s=60.0), "b": fake(pin=True)}
    async with corral(models) as running:
        await chat(running, keep_alive=0)
        await chat(running, model="b", keep_alive=0)
        found = {row["model"]: row["ttl_s"] for row in await rows(running)}
        assert found == {"a": 30, "b": None}
        await chat(running, keep_alive="24h")
        assert {row["ttl_s"] for row in await rows(running)} == {60, None}
        gone = await running.http.post("/api/chat", json={"model": "a", "messages": [], "keep_alive": 0})
        assert gone.status_code == 200
        await asyncio.sleep(0.1)
        assert running.state("a") == "ready", "not even by an empty question"


async def test_who_has_done_with_a_model_takes_it_from_nobody_who_waits() -> None:
    async with corral({"a": fake("--load-s", "0.4")}) as running:
        waits = asyncio.create_task(chat(running), name="waits")
        await running.until("a", "starting")
        gone = await running.http.post("/api/generate", json={"model": "a", "keep_alive": 0})
        assert (gone.status_code, gone.json()["done_reason"]) == (200, "unload")
        assert (await waits).status_code == 200
        await running.until("a", "stopped")


async def test_a_choice_of_options_is_loaded_once_and_shown() -> None:
    async with corral({"a": fake()}) as running:
        burst = [chat(running, options={"num_ctx": 8192, "num_thread": 3}) for _ in range(4)]
        answers = await asyncio.gather(*burst)
        assert {answer.headers["x-corral-ignored-options"] for answer in answers} == {"threads"}
        (row,) = await rows(running)
        assert (row["model"], row["options"]) == ("a", {"ctx_size": 8192})
        assert "x-corral-ignored-options" not in (await chat(running, options={"num_ctx": 8192})).headers
        assert len(running.engine_pids()) == 1
        assert (await running.http.get("/v1/models/a")).json()["context_length"] == 8192
        await running.text("a")  # as it was configured, beside it
        assert [row["options"] for row in await rows(running)] == [{}, {"ctx_size": 8192}]
        assert (await running.http.get("/v1/models/a")).json()["context_length"] == 4096
        listed = (await running.http.get("/v1/models")).json()["data"]
        assert [each["id"] for each in listed] == ["a"]
        status = await running.app.control.status()
        assert [row["context_tokens"] for row in status["models"]] == [4096, 8192]  # type: ignore[attr-defined]
        text = (await running.http.get("/metrics")).text
        assert text.count('corral_instance_state{model="a"') == 1 and 'corral_slots{model="a"} 8.0' in text
        await running.app.control.unload("a", force=False, timeout_s=10)
        assert not running.engine_pids(), "all of it"


async def test_a_reload_ends_a_choice_of_options_that_was_reckoned_from_others() -> None:
    async with corral({"a": fake()}) as running:
        await chat(running, options={"num_ctx": 8192})
        settings = running.app.settings
        old = settings.fleet.models["a"]
        changed = dataclasses.replace(old, options={**old.options, "ctx_size": 16384})
        fleet = dataclasses.replace(settings.fleet, models={"a": changed})
        await running.app.reload(lambda: dataclasses.replace(settings, fleet=fleet))
        async with asyncio.timeout(10):
            while running.engine_pids():
                await asyncio.sleep(0.01)
        await chat(running, options={"num_ctx": 8192})
        assert [row["options"] for row in await rows(running)] == [{"ctx_size": 8192}]


async def test_a_wait_for_a_choice_of_options_is_told_of_its_own_load(tmp_path: Path) -> None:
    """Not of the Model as it was configured, which is loaded and answers."""
    gate = tmp_path / "loading"
    loads = fake("--log-text", "progress: 37 %", "--load-while", str(gate), loading_state="reasoning")
    async with corral({"a": loads}) as running:
        await running.text("a")
        gate.touch()
        thoughts = ""
        body = {**ASKED, "stream": True, "options": {"num_ctx": 8192}}
        async with asyncio.timeout(10), running.http.stream("POST", "/api/chat", json=body) as answer:
            async for line in answer.aiter_lines():
                thoughts += json.loads(line)["message"].get("thinking", "")
                if "37 %" in thoughts:
                    gate.unlink(missing_ok=True)
        assert "a is being loaded: 37 %" in thoughts and "Waiting" not in thoughts


async def test_the_time_of_its_load_is_told_apart_from_the_queue() -> None:
    async with corral({"a": fake("--load-s", "0.2")}) as running:
        await running.text("a")
        await asyncio.sleep(0.3)
        told = (await chat(running, options={"num_ctx": 8192})).headers["server-timing"]
        queue, load = (float(part.partition("=")[2]) for part in told.split(", "))
        assert load > 150 > queue


async def test_ps_shows_what_each_request_has_chosen() -> None:
    async with corral({"a": fake()}) as running:
        await running.text("a")
        await chat(running, options={"num_ctx": 8192}, keep_alive=-1)
        chosen, own = (await running.http.get("/api/ps")).json()["models"]
        assert (chosen["context_length"], own["context_length"]) == (8192, 4096)
        assert datetime.fromisoformat(chosen["expires_at"]).year > 2100, "for ever, whatever its Model's ttl"
        assert datetime.fromisoformat(own["expires_at"]).year < 2100
