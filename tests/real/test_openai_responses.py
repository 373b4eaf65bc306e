"""The official `openai` client's responses against the real llama.cpp, embedded and as a program, through Corral."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel

from tests.models import ADA, OBEY, THINKER
from tests.real.engines import ENGINES, talkers

CITY: Any = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Rome", "Oslo"]}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER: Any = {"type": "function", "name": "get_weather", "description": "w", "parameters": CITY, "strict": True}
TIME: Any = {"type": "function", "name": "get_time", "description": "t", "parameters": CITY, "strict": True}


class Person(BaseModel):
    """What `parse` is asked for."""

    name: str
    ok: bool


@pytest.mark.parametrize("engine", ENGINES)
async def test_the_whole_surface(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One Corral for all, because each start of an engine costs seconds; each part says what it checks."""
    async with talkers(engine, monkeypatch) as client:
        await check_answers(client)
        await check_streams(client)
        await check_thinking(client)
        await check_tools(client)
        await check_formats(client)
        await check_conversations(client)
        await check_counting(client)
        await check_refusals(client)


async def check_answers(client: AsyncOpenAI) -> None:
    answer = await client.responses.create(model="ada", input="hello", instructions="Be short.", metadata={"a": "b"})
    assert (answer.output_text, answer.status, answer.model) == (ADA.sentence, "completed", "ada")
    assert answer.usage is not None and answer.usage.total_tokens > answer.usage.input_tokens > 5
    assert answer.usage.output_tokens_details.reasoning_tokens == 0 and answer.metadata == {"a": "b"}
    assert (answer.instructions, answer.tools, answer.tool_choice) == ("Be short.", [], "auto")
    short = await client.responses.create(model="ada", input="hello", max_output_tokens=2, store=True)
    assert (short.status, short.output_text) == ("incomplete", "I am Ada.")
    assert short.incomplete_details is not None and short.incomplete_details.reason == "max_output_tokens"
    told = await client.responses.create(
        model="ada", input="hello", include=["message.output_text.logprobs"], top_logprobs=2
    )
    part: Any = told.output[0]
    assert part.content[0].logprobs[0].token == "I am" and len(part.content[0].logprobs[0].top_logprobs) == 2


async def check_streams(client: AsyncOpenAI) -> None:
    events = [each async for each in await client.responses.create(model="ada", input="hello", stream=True)]
    assert [each.sequence_number for each in events] == list(range(len(events)))
    kinds = [each.type.removeprefix("response.") for each in events]
    assert kinds[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert kinds[-4:] == ["output_text.done", "content_part.done", "output_item.done", "completed"]
    assert set(kinds[4:-4]) == {"output_text.delta"}
    async with client.responses.stream(model="ada", input="hello") as helper:
        text = "".join([each.delta async for each in helper if each.type == "response.output_text.delta"])
        assert text == (await helper.get_final_response()).output_text == ADA.sentence
    stream = await client.responses.create(model="ada", input="hello", max_output_tokens=3, stream=True)
    *_, last = [each async for each in stream]
    assert last.type == "response.incomplete" and last.response.output_text == "I am Ada. I"
    assert last.response.usage is not None and last.response.usage.output_tokens == 3
    assert last.model_extra is not None and last.model_extra["timings"]["predicted_n"] == 3


async def check_thinking(client: AsyncOpenAI) -> None:
    answer: Any = await client.responses.create(model="thinker", input="hello", reasoning={"effort": "high"})
    assert [item.type for item in answer.output] == ["reasoning", "message"]
    assert answer.output[0].content[0].text == THINKER.thought and answer.output_text == THINKER.sentence
    silent = await client.responses.create(model="thinker", input="hello", reasoning={"effort": "none"})
    assert [item.type for item in silent.output] == ["message"] and silent.output_text == THINKER.sentence
    async with client.responses.stream(model="thinker", input="hello") as stream:
        thought = "".join([each.delta async for each in stream if each.type == "response.reasoning_text.delta"])
        last: Any = await stream.get_final_response()
    assert thought == last.output[0].content[0].text == THINKER.thought and last.output_text == THINKER.sentence


async def check_tools(client: AsyncOpenAI) -> None:
    for choice, name in (("required", None), ({"type": "function", "name": "get_time"}, "get_time")):
        given: Any = choice
        answer: Any = await client.responses.create(
            model="obey", input="w?", tools=[WEATHER, TIME], tool_choice=given, parallel_tool_calls=False
        )
        call = answer.output[-1]
        assert call.type == "function_call" and call.name == (name or call.name) and call.status == "completed"
        assert json.loads(call.arguments)["city"] in ("Rome", "Oslo") and call.call_id
    allowed: Any = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "get_time"}]}
    async with client.responses.stream(model="obey", input="w?", tools=[WEATHER, TIME], tool_choice=allowed) as stream:
        pieces = [each.delta async for each in stream if each.type == "response.function_call_arguments.delta"]
        last: Any = await stream.get_final_response()
    call = last.output[-1]
    assert call.name == "get_time" and "".join(pieces) == call.arguments and call.parsed_arguments["city"]
    turns: Any = [
        {"role": "user", "content": "w?"},
        *[item.model_dump(exclude={"parsed_arguments"}) for item in last.output],
        {"type": "function_call_output", "call_id": call.call_id, "output": "noon"},
    ]
    after = await client.responses.create(model="obey", input=turns, tools=[WEATHER, TIME], tool_choice="none")
    assert after.output_text == OBEY.sentence
    await check_namespaces(client)


async def check_namespaces(client: AsyncOpenAI) -> None:
    inner = {name: value for name, value in TIME.items() if name != "type"}
    clock: Any = {"type": "namespace", "name": "clock", "description": "c", "tools": [{"type": "function", **inner}]}
    answer: Any = await client.responses.create(model="obey", input="w?", tools=[clock], tool_choice="required")
    call = answer.output[-1]
    assert (call.namespace, call.name) == ("clock", "get_time") and answer.tools[0].tools[0].name == "get_time"
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "noon"}
    turns: Any = [{"role": "user", "content": "w?"}, call.model_dump(), result]
    after = await client.responses.create(model="obey", input=turns, tools=[clock], tool_choice="none")
    assert after.output_text == OBEY.sentence


async def check_formats(client: AsyncOpenAI) -> None:
    parsed = await client.responses.parse(model="obey", input="hi", text_format=Person)
    assert parsed.output_parsed is not None and isinstance(parsed.output_parsed.ok, bool)
    anything = await client.responses.create(
        model="obey", input="hi", text={"format": {"type": "json_object"}}, max_output_tokens=60
    )
    assert anything.output_text.startswith("{")


async def check_conversations(client: AsyncOpenAI) -> None:
    """What an answer was goes back as it came, thoughts among it."""
    first: Any = await client.responses.create(model="thinker", input="hello")
    turns: Any = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": [{"type": "input_text", "text": "hello"}]},
        *first.output,
        {"role": "user", "content": "and?"},
    ]
    second = await client.responses.create(model="thinker", input=turns, instructions="Be short.")
    assert second.output_text == THINKER.sentence
    thought = first.output[0].model_dump()
    sealed: Any = [*turns[:2], {**thought, "content": None}, *turns[3:]]  # as some clients keep it
    without: Any = [*turns[:2], *turns[3:]]
    counts = [
        (await client.responses.input_tokens.count(model="thinker", input=each)).input_tokens
        for each in (turns, sealed, without)
    ]
    assert counts[0] == counts[1] > counts[2]


async def check_counting(client: AsyncOpenAI) -> None:
    counted = await client.responses.input_tokens.count(model="ada", input="hello", instructions="Be short.")
    asked = await client.responses.create(model="ada", input="hello", instructions="Be short.")
    assert counted.object == "response.input_tokens"
    assert asked.usage is not None and counted.input_tokens == asked.usage.input_tokens


async def check_refusals(client: AsyncOpenAI) -> None:
    image: Any = [{"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]}]
    wrong: list[dict[str, Any]] = [
        {"input": "x", "previous_response_id": "resp_1"},
        {"input": []},
        {"input": "x", "tools": [{"type": "web_search"}], "tool_choice": "required"},
        {"input": [{"type": "function_call_output", "call_id": "nobody", "output": "x"}]},
        {"input": image},  # the engine's own words: this Model has no eyes
    ]
    for fields in wrong:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.responses.create(model="ada", **fields)
        assert refused.value.message
    with pytest.raises(openai.NotFoundError):
        await client.responses.create(model="nobody", input="x")
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve("resp_1")
