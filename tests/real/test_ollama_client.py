"""The official `ollama` client against the real llama.cpp, embedded and as a program, through a whole Corral."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncIterator
from typing import Any

import ollama
import pytest
from ollama import AsyncClient

from tests.corrals import Running, corral, gguf
from tests.models import ADA, BEN, EMBED, ENDLESS, OBEY, THINKER, model
from tests.real.engines import ENGINES, binary_of

SMALL_CONTEXT = 512
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def get_weather(city: str, days: int = 1) -> str:
    """The weather in a city.

    Args:
        city: Where.
        days: How many days.
    """
    return f"{city} {days}: fine"


@contextlib.asynccontextmanager
async def served(engine: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Running, AsyncClient]]:
    binary = binary_of(engine, monkeypatch)
    models = {
        "ada": gguf(model(ADA), binary=binary),
        "ben:latest": gguf(model(BEN), binary=binary, capabilities=("chat", "completion")),
        "thinker": gguf(model(THINKER), binary=binary),
        "endless": gguf(model(ENDLESS), binary=binary),
        "obey": gguf(model(OBEY), binary=binary),
        "embed": gguf(
            model(EMBED), binary=binary, options={"embeddings": True, "ctx_size": SMALL_CONTEXT, "parallel": 1}
        ),
    }
    async with corral(models) as running:
        client = AsyncClient(host=running.info.address)
        try:
            yield running, client
        finally:
            await client._client.aclose()


def hello(text: str = "hello") -> Any:
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize("engine", ENGINES)
async def test_the_inference_surface(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One Corral for all, because each start of six engines costs seconds; each part says what it checks."""
    async with served(engine, monkeypatch) as (running, client):
        await check_load_and_unload(running, client)
        await check_chat(client)
        await check_streaming(client)
        await check_thinking(client)
        await check_tools(client)
        await check_structured_output(client)
        await check_logprobs(client)
        await check_generate(client)
        await check_context(client)
        await check_embed(client)
        await check_long_texts(client)
        await check_refusals(client)
        await check_departure(running, client)


async def check_load_and_unload(running: Running, client: AsyncClient) -> None:
    """`ollama run m` sends no prompt first, and `ollama stop m` a keep_alive of 0."""
    loaded = await client.generate(model="ada")
    assert (loaded.done, loaded.done_reason, loaded.response) == (True, "load", "")
    assert running.state("ada") == "ready"
    gone = await client.generate(model="ada", keep_alive=0)
    assert (gone.done, gone.done_reason) == (True, "unload")
    await running.until("ada", "stopped")
    again = await client.chat(model="Ada:latest", messages=[])
    assert (again.done_reason, again.message.content) == ("load", "") and running.state("ada") == "ready"


async def check_chat(client: AsyncClient) -> None:
    answer = await client.chat(model="ada", messages=hello())
    assert answer.message.content == ADA.sentence and answer.message.role == "assistant"
    assert (answer.done, answer.done_reason, answer.model) == (True, "stop", "ada")
    assert answer.prompt_eval_count and answer.eval_count and answer.eval_count > 3
    assert answer.total_duration and answer.prompt_eval_duration and answer.eval_duration
    assert answer.total_duration >= answer.eval_duration
    other = await client.chat(model="registry.ollama.ai/library/BEN", messages=hello())
    assert other.message.content == BEN.sentence
    options = {"num_predict": 2, "temperature": 0, "seed": 7, "tfs_z": 1.0}
    short = await client.chat(model="ada", messages=hello(), options=options, keep_alive="5m")
    assert (short.done_reason, short.eval_count) == ("length", 2)
    stopped = await client.chat(model="ada", messages=hello(), options={"stop": ["whatever"]})
    assert stopped.message.content == ADA.sentence.partition("whatever")[0] and stopped.done_reason == "stop"
    everywhere = await client.chat(model="ada", messages=hello(), options={"repeat_last_n": -1, "repeat_penalty": 1.0})
    assert everywhere.message.content == ADA.sentence
    turns = [*hello(), {"role": "assistant", "content": ADA.sentence}, *hello("again")]
    assert (await client.chat(model="ada", messages=turns)).message.content == ADA.sentence
    begun = [*hello(), {"role": "assistant", "content": "I am"}]  # gone on after, and not said once more
    assert (await client.chat(model="ada", messages=begun)).message.content == ADA.sentence


async def check_streaming(client: AsyncClient) -> None:
    parts = [part async for part in await client.chat(model="ben", messages=hello(), stream=True)]
    assert "".join(part.message.content or "" for part in parts) == BEN.sentence
    assert len(parts) > 3 and [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].eval_count and parts[-1].eval_duration and parts[-1].done_reason == "stop"


async def check_thinking(client: AsyncClient) -> None:
    for think in (None, True):
        answer = await client.chat(model="thinker", messages=hello(), think=think)
        assert answer.message.content == THINKER.sentence
        assert (answer.message.thinking or "").strip() == THINKER.thought
    assert (await client.chat(model="thinker", messages=hello(), think="low")).message.content == THINKER.sentence
    parts = [part async for part in await client.generate(model="thinker", prompt="hello", stream=True, think=True)]
    assert "".join(part.response or "" for part in parts) == THINKER.sentence
    assert "".join(part.thinking or "" for part in parts).strip() == THINKER.thought
    with pytest.raises(ollama.ResponseError) as refused:
        await client.chat(model="ada", messages=hello(), think=True)
    assert (refused.value.status_code, refused.value.error) == (400, '"ada" does not support thinking')
    assert (await client.chat(model="ada", messages=hello(), think=False)).message.content == ADA.sentence


async def check_tools(client: AsyncClient) -> None:
    answer = await client.chat(model="obey", messages=hello("weather?"), tools=[get_weather])
    calls = answer.message.tool_calls
    assert calls and calls[0].function.name == "get_weather" and isinstance(calls[0].function.arguments, dict)
    assert answer.done_reason == "stop"
    parts = [p async for p in await client.chat(model="obey", messages=hello("w?"), tools=[get_weather], stream=True)]
    told = [part for part in parts if part.message.tool_calls]
    assert len(told) == 1 and not told[0].done and parts[-1].done
    turns = [*hello("w?"), answer.message, {"role": "tool", "tool_name": "get_weather", "content": "fine"}]
    assert (await client.chat(model="obey", messages=turns)).message.content
    with pytest.raises(ollama.ResponseError) as refused:
        await client.chat(model="ben", messages=hello(), tools=[get_weather])
    assert refused.value.error == '"ben" does not support tools'


async def check_structured_output(client: AsyncClient) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    person = json.loads((await client.chat(model="obey", messages=hello(), format=schema)).message.content or "")
    assert sorted(person) == ["age", "name"] and isinstance(person["age"], int)
    made = json.loads((await client.generate(model="obey", prompt="hello", format=schema)).response or "")
    assert sorted(made) == ["age", "name"]
    raw = json.loads((await client.generate(model="obey", prompt="hello", raw=True, format=schema)).response or "")
    assert sorted(raw) == ["age", "name"]


async def check_logprobs(client: AsyncClient) -> None:
    chat = await client.chat(model="ada", messages=hello(), logprobs=True, top_logprobs=2)
    assert chat.logprobs and len(chat.logprobs[0].top_logprobs or ()) == 2
    assert "".join(each.token for each in chat.logprobs).startswith(ADA.sentence[:10])
    raw = await client.generate(model="ada", prompt="x", raw=True, logprobs=True, options={"num_predict": 3})
    assert raw.logprobs and len(raw.logprobs) == 3 and raw.logprobs[0].logprob <= 0


async def check_generate(client: AsyncClient) -> None:
    answer = await client.generate(model="ada", prompt="hello", system="Be brief.")
    assert answer.response == ADA.sentence and answer.done_reason == "stop" and answer.eval_count
    parts = [part async for part in await client.generate(model="ada", prompt="hello", stream=True)]
    assert "".join(part.response or "" for part in parts) == ADA.sentence and parts[-1].done
    template = "{{ if .System }}{{ .System }} {{ end }}{{ .Prompt }}{{ .Response }}!"
    options = {"num_predict": 4}
    written = await client.generate(model="ada", prompt="b", system="a", template=template, options=options)
    raw = await client.generate(model="ada", prompt="a b", raw=True, options=options)
    assert written.response == raw.response and written.prompt_eval_count == raw.prompt_eval_count
    assert raw.done_reason == "length"
    streamed = [p async for p in await client.generate(model="ada", prompt="a b", raw=True, stream=True,
                options=options)]  # fmt: skip
    assert "".join(part.response or "" for part in streamed) == raw.response
    between = await client.generate(model="ada", prompt="def f(", suffix="return 1", options=options)
    assert between.response and between.eval_count == 4
    assert streamed[-1].eval_count == 4 and streamed[-1].prompt_eval_count == raw.prompt_eval_count


async def check_context(client: AsyncClient) -> None:
    """A conversation by `context` is the same prompt as by messages."""
    first = await client.generate(model="ada", prompt="hello", system="Be brief.")
    parts = [p async for p in await client.generate(model="ada", prompt="again", context=first.context, stream=True)]
    said = [("system", "Be brief."), ("user", "hello"), ("assistant", ADA.sentence), ("user", "again")]
    chat = await client.chat(model="ada", messages=[{"role": role, "content": text} for role, text in said])
    assert parts[-1].prompt_eval_count == chat.prompt_eval_count != first.prompt_eval_count
    assert "".join(part.response or "" for part in parts) == ADA.sentence and parts[-1].context
    with pytest.raises(ollama.ResponseError, match="none that was given here"):
        await client.generate(model="ada", prompt="again", context=[128000, 15339])


async def check_embed(client: AsyncClient) -> None:
    answer = await client.embed(model="embed", input=["one text", "one text", "another"])
    first, same, other = answer.embeddings
    assert math.hypot(*first) == pytest.approx(1, abs=1e-4) and first == pytest.approx(same, abs=1e-3)
    assert first != pytest.approx(other, abs=1e-3)
    assert answer.prompt_eval_count and answer.total_duration
    alone = await client.embed(model="embed", input="one text", dimensions=4)
    assert len(alone.embeddings[0]) == 4 and math.hypot(*alone.embeddings[0]) == pytest.approx(1, abs=1e-6)
    old = await client.embeddings(model="embed", prompt="one text")
    assert list(old.embedding) == pytest.approx(list(first), abs=1e-2)
    assert list((await client.embed(model="embed", input=[])).embeddings) == []


async def check_long_texts(client: AsyncClient) -> None:
    long = "word " * 3 * SMALL_CONTEXT
    cut = await client.embed(model="embed", input=["short", long, "short too"])
    whole = await client.embed(model="embed", input=["short", "short too"])
    assert cut.embeddings[0] == pytest.approx(whole.embeddings[0], abs=1e-3)
    assert cut.embeddings[2] == pytest.approx(whole.embeddings[1], abs=1e-3)
    assert math.hypot(*cut.embeddings[1]) == pytest.approx(1, abs=1e-4)
    with pytest.raises(ollama.ResponseError) as refused:
        await client.embed(model="embed", input=long, truncate=False)
    assert refused.value.status_code == 400
    assert refused.value.error == "the input length exceeds the context length"
    with pytest.raises(ollama.ResponseError) as refused:
        await client.chat(model="ada", messages=hello("word " * 9000))
    assert refused.value.status_code == 400
    assert refused.value.error.startswith("the input length exceeds the context length")
    turns = [{"role": role, "content": "word " * 150} for _ in range(9) for role in ("user", "assistant")]
    told = await client.chat(model="ada", messages=[*turns, *hello()])
    assert told.message.content == ADA.sentence and (told.prompt_eval_count or 0) < 2048, "its beginning is forgotten"
    parts = [part async for part in await client.chat(model="ada", messages=[*turns, *hello()], stream=True)]
    assert "".join(part.message.content or "" for part in parts) == ADA.sentence


async def check_refusals(client: AsyncClient) -> None:
    async def refused(call: Any) -> tuple[int, str]:
        with pytest.raises(ollama.ResponseError) as error:
            await call
        return error.value.status_code, error.value.error

    assert await refused(client.chat(model="nobody", messages=hello())) == (404, "model 'nobody' not found")
    assert await refused(client.generate(model="nobody", prompt="x")) == (404, "model 'nobody' not found")
    assert await refused(client.embed(model="nobody", input="x")) == (
        404,
        'model "nobody" not found, try pulling it first',
    )
    assert await refused(client.embed(model="ada", input="x")) == (400, '"ada" does not support embeddings')
    assert await refused(client.chat(model="embed", messages=hello())) == (400, '"embed" does not support chat')
    assert await refused(client.generate(model="embed", prompt="x")) == (400, '"embed" does not support generate')
    assert await refused(client.generate(model="ben", prompt="x", suffix="y")) == (
        400,
        '"ben" does not support insert',
    )
    picture = [{"role": "user", "content": "what is this?", "images": [PNG]}]
    assert await refused(client.chat(model="ada", messages=picture)) == (400, '"ada" does not support vision')
    wrong = client.chat(model="ada", messages=hello(), options={"temperature": "hot"})
    assert await refused(wrong) == (400, 'option "temperature" must be of type float32')
    status, words = await refused(client.chat(model="ada", messages=hello(), keep_alive="10"))
    assert status == 400 and "keep_alive" in words


async def check_departure(running: Running, client: AsyncClient) -> None:
    stream = await client.chat(model="endless", messages=hello(), stream=True)
    async for _ in stream:
        break
    await stream.aclose()  # type: ignore[attr-defined]
    async with asyncio.timeout(2):
        while running.app.scheduler.view("endless").leases:  # type: ignore[union-attr]
            await asyncio.sleep(0.005)
