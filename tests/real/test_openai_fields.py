"""The fields of a chat, one by one, by the official `openai` client: what the real llama.cpp makes of each."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from tests.models import ADA, OBEY, THINKER
from tests.real.engines import ENGINES, talkers

NAMES = ("alpha", "beta", "gamma")
TOOLS: Any = [
    {"type": "function", "function": {"name": name, "description": name, "parameters": {
        "type": "object", "properties": {"city": {"type": "string", "enum": ["Rome", "Oslo"]}}, "required": ["city"]}}}
    for name in NAMES
]  # fmt: skip
SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}


async def asked(client: AsyncOpenAI, name: str, **fields: Any) -> Any:
    """The whole answer."""
    messages = fields.pop("messages", [{"role": "user", "content": "hello"}])
    return await client.chat.completions.create(model=name, messages=messages, **fields)


@pytest.mark.parametrize("engine", ENGINES)
async def test_every_field(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One Corral for all, because each start of an engine costs seconds; each part says what it checks."""
    async with talkers(engine, monkeypatch) as client:
        await check_choices(client)
        await check_logprobs(client)
        await check_lengths_and_roles(client)
        await check_what_changes_nothing(client)
        await check_usage_of_streams(client)
        await check_schemas(client)
        await check_tool_choice(client)
        await check_thoughts(client)
        await check_less_thinking(client)
        await check_refusals(client)


async def check_choices(client: AsyncOpenAI) -> None:
    both = await asked(client, "ada", n=2)
    assert [(each.index, each.message.content) for each in both.choices] == [(0, ADA.sentence), (1, ADA.sentence)]
    texts = {0: "", 1: ""}
    async for each in await asked(client, "ada", n=2, stream=True):
        for choice in each.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == {0: ADA.sentence, 1: ADA.sentence}
    with pytest.raises(openai.BadRequestError, match="4 slots"):
        await asked(client, "ada", n=5)


async def check_logprobs(client: AsyncOpenAI) -> None:
    answer = await asked(client, "ada", logprobs=True, top_logprobs=2, max_tokens=2)
    first = answer.choices[0].logprobs.content[0]
    assert (first.token, bytes(first.bytes)) == ("I am", b"I am") and len(first.top_logprobs) == 2
    tokens = []
    async for each in await asked(client, "ada", logprobs=True, max_tokens=2, stream=True):
        for choice in each.choices:
            tokens += [told.token for told in choice.logprobs.content] if choice.logprobs else []
    assert tokens == ["I am", " Ada."]
    completion: Any = await client.completions.create(model="ada", prompt="hello", logprobs=2, max_tokens=1)
    assert completion.choices[0].logprobs.content[0]["token"] == "I am"  # a chat's shape, the engine's own


async def check_lengths_and_roles(client: AsyncOpenAI) -> None:
    short = await asked(client, "ada", max_completion_tokens=2)
    assert (short.choices[0].finish_reason, short.usage.completion_tokens) == ("length", 2)
    stopped = await asked(client, "ada", stop=["say"])
    assert (stopped.choices[0].finish_reason, stopped.choices[0].message.content) == ("stop", "I am Ada. I ")
    turns = [{"role": "developer", "content": "Be short."}, {"role": "user", "content": "hello"}]
    developed = await asked(client, "ada", messages=turns)
    plain = await asked(client, "ada")
    assert developed.usage.prompt_tokens > plain.usage.prompt_tokens


async def check_what_changes_nothing(client: AsyncOpenAI) -> None:
    more: Any = {"metadata": {"a": "b"}, "nonsense": {"deep": [1]}, "safety_identifier": "x", "verbosity": "low"}
    answer = await asked(
        client, "ada", store=True, user="u", seed=2**40, service_tier="auto", modalities=["text"], extra_body=more
    )
    assert answer.choices[0].message.content == ADA.sentence
    nothing = dict.fromkeys(
        ("max_tokens", "temperature", "stop", "tools", "tool_choice", "response_format", "logit_bias", "n", "seed",
         "logprobs", "stream_options", "reasoning_effort", "parallel_tool_calls")
    )  # fmt: skip
    answer = await asked(client, "ada", **nothing)
    assert answer.choices[0].message.content == ADA.sentence


async def check_usage_of_streams(client: AsyncOpenAI) -> None:
    for options, count in (({"include_usage": True}, 1), (None, 0)):
        chunks = [each async for each in await asked(client, "ada", stream=True, stream_options=options)]
        counted = [each.usage for each in chunks if each.usage is not None]
        assert len(counted) == count and all(each.total_tokens > each.prompt_tokens > 0 for each in counted)


async def check_schemas(client: AsyncOpenAI) -> None:
    for wanted in (
        {"type": "json_schema", "json_schema": {"name": "p", "schema": SCHEMA, "strict": True}},
        {"type": "json_schema", "schema": SCHEMA},
        {"type": "json_object", "schema": SCHEMA},
    ):
        answer = await asked(client, "obey", response_format=wanted, max_tokens=40)
        assert isinstance(json.loads(answer.choices[0].message.content)["ok"], bool), wanted
    answer = await asked(client, "obey", response_format={"type": "text"})
    assert answer.choices[0].message.content == OBEY.sentence


async def check_tool_choice(client: AsyncOpenAI) -> None:
    for name in NAMES:
        named = {"type": "function", "function": {"name": name}}
        allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [named]}}
        for choice in (named, allowed):
            answer = await asked(client, "obey", tools=TOOLS, tool_choice=choice)
            (call,) = answer.choices[0].message.tool_calls
            assert call.function.name == name and json.loads(call.function.arguments)["city"]
    free = await asked(client, "obey", tools=TOOLS, tool_choice="none")
    assert free.choices[0].message.tool_calls is None


async def check_thoughts(client: AsyncOpenAI) -> None:
    message = (await asked(client, "thinker")).choices[0].message
    assert message.reasoning == message.reasoning_content == THINKER.thought
    assert message.content == THINKER.sentence
    told = {"reasoning": "", "reasoning_content": ""}
    async for each in await asked(client, "thinker", stream=True):
        for choice in each.choices:
            for name in told:
                told[name] += getattr(choice.delta, name, None) or ""
    assert told == dict.fromkeys(told, THINKER.thought)


async def check_less_thinking(client: AsyncOpenAI) -> None:
    for fields in (
        {"reasoning_effort": "none"}, {"extra_body": {"reasoning": {"effort": "none"}}},
        {"extra_body": {"reasoning": {"enabled": False}}}, {"extra_body": {"thinking": {"type": "disabled"}}},
        {"extra_body": {"enable_thinking": False}},
        {"extra_body": {"chat_template_kwargs": {"enable_thinking": False}}},
    ):  # fmt: skip
        message = (await asked(client, "thinker", **fields)).choices[0].message
        assert message.content == THINKER.sentence and getattr(message, "reasoning", None) is None, fields
    for more in ({"thinking": {"type": "enabled", "budget_tokens": 2}}, {"reasoning": {"max_tokens": 2}}):
        message = (await asked(client, "thinker", extra_body=more)).choices[0].message
        assert message.reasoning == "Let me" and message.content == THINKER.sentence
    for effort in ("minimal", "low", "high"):
        assert (await asked(client, "thinker", reasoning_effort=effort)).choices[0].message.reasoning


async def check_refusals(client: AsyncOpenAI) -> None:
    """The engine's own error shape: its `code` is a number and `param` is not there, which the client bears."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    for fields in (
        {"messages": "hello"}, {"tools": TOOLS, "tool_choice": "any"}, {"response_format": {"type": "grammar"}},
        {"top_logprobs": 2}, {"stream": "yes"}, {"messages": [{"role": "user", "content": [{"type": "huh"}]}]},
        {"messages": [{"role": "user", "content": [image]}]}, {"tools": [{"type": "custom", "custom": {"name": "x"}}]},
    ):  # fmt: skip
        with pytest.raises(openai.BadRequestError) as refused:
            await asked(client, "ada", **fields)
        assert refused.value.type == "invalid_request_error" and refused.value.message, fields
    with pytest.raises(openai.BadRequestError, match="context"):
        await asked(client, "ada", messages=[{"role": "user", "content": "x " * 20_000}], stream=True)
