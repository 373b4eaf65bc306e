"""
Pictures and sounds in every dialect, against the real llama.cpp with a projector that the tests make.

The model says its sentence to everything, so what proves that a picture reached it are the tokens: the projector makes
sixteen of a picture and thirty of a sound, and every dialect's prompt counts the same.
"""

from __future__ import annotations

import base64
import contextlib
import io
import wave
from collections.abc import AsyncIterator
from typing import Any

import ollama
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from openai.types.responses import Response

from tests.corrals import Running, corral, gguf
from tests.models import ADA, model
from tests.real.engines import ENGINES, binary_of
from tests.second_files import projector

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
DATA_URL = f"data:image/png;base64,{PNG}"
CUT = base64.b64encode(base64.b64decode(PNG)[:30]).decode()
"""It begins as a picture, so only the engine sees that it is none."""
QUESTION = "What is this?"
THIS: Any = {"type": "text", "text": QUESTION}


def wav() -> str:
    """A tenth of a second of silence."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16000)
        out.writeframes(bytes(3200))
    return base64.b64encode(file.getvalue()).decode()


class Clients:
    """One question in every dialect; each answer is its text and the tokens of its prompt."""

    def __init__(self, running: Running) -> None:
        address = running.info.address
        self.running = running
        self.openai = AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        self.anthropic = AsyncAnthropic(base_url=address, api_key="none", max_retries=0)
        self.ollama = ollama.AsyncClient(host=address)

    async def close(self) -> None:
        """All connections."""
        await self.openai.close()
        await self.anthropic.close()
        await self.ollama._client.aclose()

    async def chat(self, *parts: Any) -> tuple[str, int]:
        """/v1/chat/completions."""
        turns: Any = [{"role": "user", "content": [THIS, *parts]}]
        answer = await self.openai.chat.completions.create(model="ada", messages=turns)
        assert answer.usage
        return str(answer.choices[0].message.content), answer.usage.prompt_tokens

    async def respond(self, *parts: Any, stream: bool = False) -> tuple[str, int]:
        """/v1/responses."""
        turns: Any = [{"role": "user", "content": [{"type": "input_text", "text": QUESTION}, *parts]}]
        answer: Response
        if stream:
            async with self.openai.responses.stream(model="ada", input=turns) as events:
                answer = await events.get_final_response()
        else:
            answer = await self.openai.responses.create(model="ada", input=turns)
        assert answer.usage
        return answer.output_text, answer.usage.input_tokens

    async def message(self, *parts: Any, stream: bool = False) -> tuple[str, int]:
        """/v1/messages."""
        asked: Any = {"model": "ada", "max_tokens": 99, "messages": [{"role": "user", "content": [THIS, *parts]}]}
        if stream:
            async with self.anthropic.messages.stream(**asked) as events:
                answer = await events.get_final_message()
        else:
            answer = await self.anthropic.messages.create(**asked)
        (block,) = answer.content
        assert block.type == "text"
        return block.text, answer.usage.input_tokens + (answer.usage.cache_read_input_tokens or 0)

    async def ask(self, *images: str) -> tuple[str, int]:
        """/api/chat."""
        turns = [{"role": "user", "content": QUESTION, "images": list(images)}]
        answer = await self.ollama.chat(model="ada", messages=turns)
        return str(answer.message.content), answer.prompt_eval_count or 0

    async def generate(self, *images: str) -> tuple[str, int]:
        """/api/generate."""
        answer = await self.ollama.generate(model="ada", prompt=QUESTION, images=list(images))
        return str(answer.response), answer.prompt_eval_count or 0


@contextlib.asynccontextmanager
async def served(engine: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Clients]:
    binary = binary_of(engine, monkeypatch)
    options = {"mmproj": str(projector(sound=True))}
    async with corral({"ada": gguf(model(ADA), binary=binary, options=options)}) as running:
        clients = Clients(running)
        try:
            yield clients
        finally:
            await clients.close()


@pytest.mark.parametrize("engine", ENGINES)
async def test_every_dialect_gives_its_model_pictures_and_sounds(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(engine, monkeypatch) as clients:
        await check_what_it_says_it_can(clients)
        await check_pictures(clients)
        await check_sounds(clients)
        await check_what_is_none(clients)


async def check_what_it_says_it_can(clients: Clients) -> None:
    shown = await clients.ollama.show("ada")
    assert {"vision", "audio"} <= set(shown.capabilities or ())
    listed = (await clients.running.http.get("/api/tags")).json()["models"]
    assert {"vision", "audio"} <= set(listed[0]["capabilities"])


async def check_pictures(clients: Clients) -> None:
    url: Any = {"type": "image_url", "image_url": {"url": DATA_URL}}
    item: Any = {"type": "input_image", "image_url": DATA_URL, "detail": "auto"}
    file: Any = {"type": "input_file", "filename": "this.png", "file_data": DATA_URL}
    block: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    blind, one, two = [await clients.chat(*[url] * number) for number in (0, 1, 2)]
    per_picture = 16  # one for each patch
    assert [one[1] - blind[1], two[1] - one[1]] == [per_picture, per_picture]
    assert blind[0] == one[0] == two[0] == ADA.sentence
    told = {
        "responses": await clients.respond(item),
        "responses, streaming": await clients.respond(item, stream=True),
        "responses, a file": await clients.respond(file),
        "messages": await clients.message(block),
        "messages, streaming": await clients.message(block, stream=True),
        "/api/chat": await clients.ask(PNG),
        "/api/generate": await clients.generate(PNG),
    }
    assert told == dict.fromkeys(told, one)
    assert (
        await clients.ask(PNG, PNG) == await clients.message(block, block) == await clients.respond(item, item) == two
    )


async def check_sounds(clients: Clients) -> None:
    """Anthropic's API knows none."""
    sound: Any = {"type": "input_audio", "input_audio": {"data": wav(), "format": "wav"}}
    deaf, heard = await clients.chat(), await clients.chat(sound)
    assert heard[1] - deaf[1] == 30 and heard[0] == ADA.sentence
    assert await clients.respond(sound) == heard
    assert await clients.ask(wav()) == await clients.generate(wav()) == heard


async def check_what_is_none(clients: Clients) -> None:
    """The engine says what it cannot read, and each dialect hands that on in its own shape."""
    url = f"data:image/png;base64,{CUT}"
    user = {"role": "user"}
    asked: dict[str, dict[str, Any]] = {
        "/v1/chat/completions": {
            "messages": [{**user, "content": [{"type": "image_url", "image_url": {"url": url}}]}]
        },
        "/v1/responses": {"input": [{**user, "content": [{"type": "input_image", "image_url": url}]}]},
        "/v1/messages": {"max_tokens": 9, "messages": [{**user, "content": [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": CUT}}]}]},
        "/api/chat": {"messages": [{**user, "content": "", "images": [CUT]}]},
        "/api/generate": {"prompt": "what?", "images": [CUT]},
    }  # fmt: skip
    for path, body in asked.items():
        answer = await clients.running.http.post(path, json={"model": "ada", **body})
        error = answer.json()["error"]
        words = error if isinstance(error, str) else error["message"]
        assert (path, answer.status_code) == (path, 400) and "Failed to load image" in words, (path, answer.text)
    broken: list[dict[str, Any]] = [  # what llama-server takes for failures of its own
        {"type": "input_audio", "input_audio": {"data": "!!!", "format": "wav"}},
        {"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/nobody.png"}},
        {"type": "image_url", "image_url": {"url": "http://"}},
    ]
    for part in broken:
        body = {"model": "ada", "messages": [{**user, "content": [part]}]}
        answer = await clients.running.http.post("/v1/chat/completions", json=body)
        assert answer.status_code == 400 and answer.json()["error"]["type"] == "invalid_request_error", answer.text
