"""The official `openai` client against the real llama.cpp, embedded and as a program, through a whole Corral."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from tests.corrals import Running, corral, gguf
from tests.models import ADA, BEN, EMBED, ENDLESS, OBEY, RERANK, THINKER, model
from tests.real.engines import ENGINES, binary_of

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Rome", "Oslo"]}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}


@contextlib.asynccontextmanager
async def served(engine: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Running, AsyncOpenAI]]:
    binary = binary_of(engine, monkeypatch)
    models = {
        "ada": gguf(model(ADA), binary=binary, aliases=("gpt-4o-mini",)),
        "ben": gguf(model(BEN), binary=binary),
        "thinker": gguf(model(THINKER), binary=binary),
        "endless": gguf(model(ENDLESS), binary=binary),
        "obey": gguf(model(OBEY), binary=binary),
        "embed": gguf(model(EMBED), binary=binary, options={"embeddings": True}),
        "rerank": gguf(model(RERANK), binary=binary, options={"rerank": True}),
    }
    async with corral(models) as running:
        await running.app.surveyed()  # it serves before it has looked at all files
        async with AsyncOpenAI(base_url=f"{running.info.address}/v1", api_key="none", max_retries=0) as client:
            yield running, client


def hello(text: str = "hello") -> Any:
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize("engine", ENGINES)
async def test_the_whole_surface(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One Corral for all, because each start of seven engines costs seconds; each part says what it checks."""
    async with served(engine, monkeypatch) as (running, client):
        await check_model_list(client)
        await check_chat(client)
        await check_streaming(client)
        await check_thinking(client)
        await check_tools(client)
        await check_structured_output(client)
        await check_embeddings(client)
        await check_completions(client)
        await check_responses(client)
        await check_rerank(running)
        await check_errors(client)
        await check_departure(running, client)


async def check_model_list(client: AsyncOpenAI) -> None:
    listed = [each.id async for each in client.models.list()]
    assert listed == ["ada", "ben", "thinker", "endless", "obey", "embed", "rerank"]
    ada: Any = await client.models.retrieve("gpt-4o-mini")
    assert ada.id in ("ada", "gpt-4o-mini")
    assert (ada.name, ada.context_length, ada.task) == ("Ada", 2048, "chat")
    assert ada.meta["n_ctx_train"] == ADA.context and ada.meta["ftype"] == "F32" and ada.meta["n_params"] > 1000
    assert ada.capabilities[:2] == ["chat", "completion"] and ada.architecture["input_modalities"] == ["text"]
    facts: dict[str, Any] = {each.id: each async for each in client.models.list()}
    assert facts["embed"].capabilities == ["embeddings"] and facts["rerank"].task == "rerank"
    assert "reasoning" in facts["thinker"].capabilities and "tools" in facts["obey"].capabilities
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("nobody")


async def check_chat(client: AsyncOpenAI) -> None:
    for temperature in (0.0, 1.0, 2.0):
        answer = await client.chat.completions.create(model="ada", messages=hello(), temperature=temperature)
        assert answer.choices[0].message.content == ADA.sentence
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage is not None and answer.usage.completion_tokens > 3
    by_alias = await client.chat.completions.create(model="gpt-4o-mini", messages=hello())
    assert by_alias.choices[0].message.content == ADA.sentence
    other = await client.chat.completions.create(model="ben", messages=hello())
    assert other.choices[0].message.content == BEN.sentence
    short = await client.chat.completions.create(model="ada", messages=hello(), max_tokens=2)
    assert short.choices[0].finish_reason == "length"


async def check_streaming(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="ben", messages=hello(), stream=True, stream_options={"include_usage": True}
    )
    text, usage = "", None
    async for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
    assert text == BEN.sentence
    assert usage is not None and usage.prompt_tokens > 0


async def check_thinking(client: AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="thinker", messages=hello())
    message = answer.choices[0].message
    assert message.content == THINKER.sentence
    assert message.model_extra is not None
    assert message.model_extra["reasoning_content"].strip() == THINKER.thought


async def check_tools(client: AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="obey", messages=hello("weather?"), tools=[WEATHER], tool_choice="required"
    )
    calls = answer.choices[0].message.tool_calls
    assert calls
    assert calls[0].type == "function"
    assert calls[0].function.name == "get_weather"
    assert json.loads(calls[0].function.arguments)["city"] in ("Rome", "Oslo")
    assert answer.choices[0].finish_reason == "tool_calls"
    stream = await client.chat.completions.create(
        model="obey", messages=hello("weather?"), tools=[WEATHER], tool_choice="required", stream=True
    )
    name, arguments = "", ""
    async for chunk in stream:
        for choice in chunk.choices:
            for call in choice.delta.tool_calls or ():
                assert call.function is not None
                name += call.function.name or ""
                arguments += call.function.arguments or ""
    assert name == "get_weather"
    assert json.loads(arguments)["city"] in ("Rome", "Oslo")


async def check_structured_output(client: AsyncOpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 20},
            "age": {"type": "integer"},
            "ok": {"type": "boolean"},
        },
        "required": ["name", "age", "ok"],
        "additionalProperties": False,
    }
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema, "strict": True}}
    answer = await client.chat.completions.create(model="obey", messages=hello(), response_format=wanted)
    person = json.loads(answer.choices[0].message.content or "")
    assert sorted(person) == ["age", "name", "ok"]
    assert isinstance(person["age"], int)


async def check_embeddings(client: AsyncOpenAI) -> None:
    answer = await client.embeddings.create(model="embed", input=["one text", "one text", "another"])
    first, same, other = (each.embedding for each in answer.data)
    assert len(first) > 8
    assert first == pytest.approx(same, abs=1e-3)
    assert first != pytest.approx(other, abs=1e-3)
    floats = await client.embeddings.create(model="embed", input="one text", encoding_format="float")
    assert floats.data[0].embedding == pytest.approx(first, abs=1e-2)


async def check_completions(client: AsyncOpenAI) -> None:
    answer = await client.completions.create(model="ada", prompt="hello", max_tokens=4)
    assert answer.usage is not None and answer.usage.completion_tokens == 4
    parts = [part.choices[0].text async for part in await client.completions.create(
        model="ada", prompt="hello", max_tokens=4, stream=True) if part.choices]  # fmt: skip
    assert "".join(parts) == answer.choices[0].text


async def check_responses(client: AsyncOpenAI) -> None:
    answer = await client.responses.create(model="ada", input="hello")
    assert answer.output_text == ADA.sentence


async def check_rerank(running: Running) -> None:
    body = {"model": "rerank", "query": "a", "documents": ["one", "two", "three"]}
    answer = await running.http.post("/v1/rerank", json=body)
    assert answer.status_code == 200, answer.text
    assert sorted(each["index"] for each in answer.json()["results"]) == [0, 1, 2]


async def check_errors(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        await client.chat.completions.create(model="adda", messages=hello())
    assert unknown.value.code == "model_not_found"
    assert "'ada'" in unknown.value.message
    with pytest.raises(openai.BadRequestError):  # the engine's own error, passed on
        await client.chat.completions.create(model="ada", messages=[{"role": "user", "content": 7}])  # type: ignore[misc, list-item]
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Ro'}}
    result = {"role": "tool", "tool_call_id": "c1", "content": "?"}
    broken: Any = [*hello(), {"role": "assistant", "content": None, "tool_calls": [call]}, result]
    items: Any = [
        *hello(),
        {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": '{"city": "Ro'},
        {"type": "function_call_output", "call_id": "c1", "output": "?"},
    ]
    for stream in (False, True):  # llama-server says 500 to these, which clients ask again and again
        with pytest.raises(openai.BadRequestError, match="tool call arguments"):
            await client.chat.completions.create(model="ada", messages=broken, stream=stream)
        with pytest.raises(openai.BadRequestError, match="tool call arguments") as said:
            await client.responses.create(model="ada", input=items, stream=stream)
        assert said.value.type == "invalid_request_error"
        with pytest.raises(openai.BadRequestError, match="logits"):
            await client.chat.completions.create(model="embed", messages=hello(), stream=stream)
    with pytest.raises(openai.APIStatusError) as wrong_task:
        await client.embeddings.create(model="ada", input="x")
    assert wrong_task.value.status_code == 501


async def check_departure(running: Running, client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(model="endless", messages=hello(), stream=True)
    async for _ in stream:
        break
    await stream.close()
    async with asyncio.timeout(2):
        while running.app.scheduler.view("endless").leases:  # type: ignore[union-attr]
            await asyncio.sleep(0.005)
