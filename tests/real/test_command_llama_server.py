"""The real llama-server as a command Model: the way for any program that Corral has no engine for."""

from __future__ import annotations

import os
from typing import Any

import openai
import pytest

from corral.domain.fleet import ModelSpec, Source
from tests.corrals import corral, gguf
from tests.models import ADA, BEN, model
from tests.paths.command_kit import command

pytestmark = pytest.mark.llama_server
HELLO: Any = [{"role": "user", "content": "hello"}]


def by_command(*where: str, **options: Any) -> ModelSpec:
    return command(
        os.environ["CORRAL_TEST_LLAMA_SERVER"], *where, "-m", "{source}", "-c", "1024", "-np", "2",
        "--api-key-file", "{key_file}", "-t", "1", source=Source(str(model(ADA))), slots=2, **options,
    )  # fmt: skip


@pytest.mark.parametrize("where", [("--host", "{socket}"), ("--host", "127.0.0.1", "--port", "{port}")])
async def test_the_official_client_and_a_swap(where: tuple[str, ...]) -> None:
    models = {"ada": by_command(*where, ready_pattern="listening"), "ben": gguf(model(BEN), options={"parallel": 2})}
    async with (
        corral(models, group="swap") as running,
        openai.AsyncOpenAI(base_url=f"{running.info.address}/v1", api_key="none", max_retries=0) as client,
    ):
        for _ in range(2):
            answer = await client.chat.completions.create(model="ada", messages=HELLO)
            assert str(answer.choices[0].message.content).startswith("I am Ada.")
            text = ""
            async for chunk in await client.chat.completions.create(model="ada", messages=HELLO, stream=True):
                text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
            assert text.startswith("I am Ada.")
            answer = await client.chat.completions.create(model="ben", messages=HELLO)
            assert str(answer.choices[0].message.content).startswith("I am Ben.")
            assert running.state("ada") == "stopped"


async def test_one_that_is_said_to_be_a_llama_server_is_spoken_to_as_one() -> None:
    where = ("--host", "{socket}")
    async with corral({"ada": by_command(*where, speaks="llama.cpp"), "plain": by_command(*where)}) as running:
        asked = {"messages": HELLO, "max_tokens": 50, "stop_sequences": ["Ada"]}
        words = {}
        for name in ("ada", "plain"):
            answer = (await running.http.post("/v1/messages", json={"model": name, **asked})).json()
            words[name] = answer["content"][0]["text"].strip(), answer["stop_sequence"]
        assert words == {"ada": ("I am", "Ada"), "plain": ("I am", None)}, "only llama.cpp tells which word it was"
        answers = {
            name: await running.http.post("/completion", json={"model": name, "prompt": "x", "n_discard": -1})
            for name in words
        }
        assert answers["ada"].status_code == 400
        assert answers["ada"].json()["error"]["message"].startswith("n_discard must be from 0")
        sources = {name: answer.headers["x-corral-source"] for name, answer in answers.items()}
        assert sources == {"ada": "corral", "plain": "engine"}, "nobody knows that the other is one"


async def test_its_end_is_prompt_and_its_failure_a_sentence() -> None:
    wrong = command(os.environ["CORRAL_TEST_LLAMA_SERVER"], "--port", "{port}", "-m", "/no/such.gguf", health="/health")
    async with corral({"ada": by_command("--host", "{socket}"), "wrong": wrong}) as running:
        assert (await running.text("ada")).startswith("I am Ada.")
        await running.app.control.unload("ada", force=False, timeout_s=10)
        assert running.engine_pids() == []
        answer = await running.chat("wrong")
        assert answer.status_code == 503
        assert "ended with code 1 before it was ready" in answer.json()["error"]["message"]
        assert any("/no/such.gguf" in line for line in answer.json()["error"]["log_tail"])
