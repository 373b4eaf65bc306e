"""Any program as a Model: requests reach it, with its own names for things, and it comes and goes like any other."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from pathlib import Path

import openai
import pytest

from corral.domain.fleet import Source
from tests.corrals import corral, fake
from tests.paths.command_kit import command, script, server

FAKE = (sys.executable, "-m", "corral.fakes.engine_program", "--name", "{model}", "--key-env", "KEY")
KEY = (("KEY", "{key}"),)


@pytest.mark.parametrize("where", [("--port", "{port}"), ("--socket", "{socket}")], ids=["port", "socket"])
async def test_a_program_answers_and_streams(where: tuple[str, str]) -> None:
    async with corral({"a": command(*FAKE, *where, env=KEY)}) as running:
        assert await running.text("a") == "I am a."
        assert await running.stream("a") == ("I am a.", True)
        await running.app.control.unload("a", force=False, timeout_s=30)
        assert running.state("a") == "stopped" and running.engine_pids() == []
        assert await running.text("a") == "I am a."


async def test_the_official_client_speaks_to_a_plain_server(tmp_path: Path) -> None:
    async with (
        corral({"small": script(tmp_path, aliases=("fast",))}) as running,
        openai.AsyncOpenAI(base_url=f"{running.info.address}/v1", api_key="unused") as client,
    ):
        for name in ("small", "fast"):
            answer = await client.chat.completions.create(model=name, messages=[{"role": "user", "content": "hi"}])
            assert answer.choices[0].message.content == "I am small with no key"


async def test_a_program_that_insists_on_its_own_name_and_path(tmp_path: Path) -> None:
    flags = ("--name", "Org/Real-Name", "--prefix", "/v3")
    models = {
        "a": script(tmp_path, *flags, model_name="Org/Real-Name", base_path="/v3", api_key="fixed"),
        "b": script(tmp_path, *flags, model_name="", base_path="/v3"),
    }
    async with corral(models) as running:
        answer = await running.chat("a", big=12345678901234567890123)
        assert answer.json()["choices"][0]["message"]["content"] == "I am Org/Real-Name with Bearer fixed"
        assert '"big":12345678901234567890123' in answer.json()["raw"].replace(" ", "")
        answer = await running.chat("b")
        assert answer.status_code == 404 and "The model does not exist: b" in answer.text
        assert answer.headers["x-corral-source"] == "engine"
        raw = await running.http.post("/upstream/a/v3/chat/completions", json={"model": "as-it-is"})
        assert "The model does not exist: as-it-is" in raw.text, "raw requests are not touched"


async def test_a_form_keeps_its_file_byte_for_byte(tmp_path: Path) -> None:
    audio = bytes(range(256)) * 100
    async with corral({"ear": script(tmp_path, aliases=("whisper-1",))}) as running:
        answer = await running.http.post(
            "/v1/audio/transcriptions", data={"model": "whisper-1"}, files={"file": ("a.wav", audio, "audio/wav")}
        )
        form = answer.json()["text"].encode("latin-1")
        assert audio in form and b"\r\n\r\near\r\n" in form and b"whisper-1" not in form


@pytest.mark.parametrize("route", ["/v1/images/generations", "/v1/audio/speech"])
async def test_images_and_speech_are_routed_by_model(route: str, tmp_path: Path) -> None:
    async with corral({"a": script(tmp_path), "b": script(tmp_path)}) as running:
        answer = await running.http.post(route, json={"model": "b", "prompt": "a horse", "input": "neigh"})
        assert answer.status_code == 200 and json.loads(answer.json()["raw"])["model"] == "b"


async def test_an_asgi_app_under_uvicorn(tmp_path: Path) -> None:
    (tmp_path / "web.py").write_text(
        "from starlette.applications import Starlette\n"
        "from starlette.responses import JSONResponse\n"
        "from starlette.routing import Route\n"
        "async def chat(request):\n"
        "    body = await request.json()\n"
        "    return JSONResponse({'choices': [{'message': {'content': 'asgi ' + body['model']}}]})\n"
        "async def ok(request):\n"
        "    return JSONResponse({})\n"
        "app = Starlette(routes=[Route('/v1/chat/completions', chat, methods=['POST']), Route('/health', ok)])\n"
    )
    model = command(sys.executable, "-m", "uvicorn", "web:app", "--uds", "{socket}", cwd=str(tmp_path))
    async with corral({"web": model}) as running:
        assert await asyncio.gather(*(running.text("web") for _ in range(20))) == ["asgi web"] * 20


async def test_it_swaps_with_another_engine(tmp_path: Path) -> None:
    async with corral({"a": script(tmp_path), "b": fake()}, group="swap") as running:
        for _ in range(2):
            assert await running.text("a") == "I am a with no key"
            assert (running.state("a"), running.state("b")) == ("ready", "stopped")
            assert await running.text("b") == "I am b."
            assert (running.state("a"), running.state("b")) == ("stopped", "ready")


async def test_a_source_and_arguments_reach_it(tmp_path: Path) -> None:
    (tmp_path / "m.bin").write_text("not a GGUF file")
    model = dataclasses.replace(
        command(sys.executable, server(tmp_path), "--say", "{source}", "--say", "{scratch}"),
        source=Source(str(tmp_path / "m.bin")),
        args=(("port", "{port}"), ("name", "{model}")),
    )
    async with corral({"a": model}) as running:
        assert await running.text("a") == "I am a with no key"
        log = (await running.http.get("/api/corral/logs", params={"model": "a"})).text
        assert str(tmp_path / "m.bin") in log and f"{running.state_dir}/scratch/" in log


async def test_declared_memory_is_counted(tmp_path: Path) -> None:
    gib = 1024**3
    models = {"a": script(tmp_path, memory=(f"ram={2 * gib}",)), "b": script(tmp_path, memory=(f"ram={9 * gib}",))}
    async with corral(models, ram=4 * gib) as running:
        assert await running.text("a")
        view = running.app.scheduler.view("a")
        assert view is not None and view.ram_bytes == 2 * gib
        refused = await running.chat("b")
        assert refused.status_code == 503 and refused.json()["error"]["code"] == "no_memory"


async def test_what_a_program_says_of_failure_passes(tmp_path: Path) -> None:
    async with corral({"a": script(tmp_path, "--status", "500")}) as running:
        for _ in range(3):
            answer = await running.chat("a")
            assert answer.status_code == 500 and "the program failed" in answer.text
        assert running.state("a") == "ready"


async def test_a_program_that_crashes_is_started_again(tmp_path: Path) -> None:
    async with corral({"a": script(tmp_path)}) as running:
        await running.text("a")
        first = running.engine_pids()
        await running.http.post("/upstream/a/stop", json={})
        await running.until("a", "failed")
        assert await running.text("a") == "I am a with no key"
        assert running.engine_pids() != first
