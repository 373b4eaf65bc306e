"""The official `anthropic` client against the real llama.cpp, embedded and as a program, through a whole Corral."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import struct
import zlib
from collections.abc import AsyncIterator
from typing import Any, Literal

import anthropic
import pydantic
import pytest
from anthropic import AsyncAnthropic

from tests.corrals import Running, corral, gguf
from tests.models import ADA, ENDLESS, OBEY, THINKER, model
from tests.real.engines import ENGINES, binary_of

WEATHER: Any = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Rome", "Oslo"]}},
        "required": ["city"],
    },
    "cache_control": {"type": "ephemeral"},
}
ADD: Any = {
    "name": "add",
    "input_schema": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
}
SAMPLING = {"temperature": 0.5, "top_k": 40, "top_p": 0.9}
"""The client has no arguments for them any more."""
LONG = "Be kind. " * 40


@contextlib.asynccontextmanager
async def served(engine: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Running, AsyncAnthropic]]:
    binary = binary_of(engine, monkeypatch)
    models = {
        "ada": gguf(model(ADA), binary=binary, aliases=("claude-at-home",), options={"parallel": 1}),
        "thinker": gguf(model(THINKER), binary=binary),
        "endless": gguf(model(ENDLESS), binary=binary),
        "obey": gguf(model(OBEY), binary=binary),
    }
    async with corral(models) as running:
        async with AsyncAnthropic(base_url=running.info.address, api_key="none", max_retries=0) as client:
            yield running, client


def hello(text: str = "hello") -> Any:
    return [{"role": "user", "content": text}]


def text_of(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


@pytest.mark.parametrize("engine", ENGINES)
async def test_the_whole_surface(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One Corral for all, because each start of four engines costs seconds; each part says what it checks."""
    async with served(engine, monkeypatch) as (running, client):
        await check_models(client)
        await check_chat(running, client)
        await check_streaming(client)
        await check_ends(client)
        await check_an_answer_that_was_begun(client)
        await check_thinking(client)
        await check_tool_choices(client)
        await check_tool_turns(client)
        await check_structured_output(client)
        await check_the_clients_helpers(client)
        await check_counting(client)
        await check_documents(client)
        await check_the_billing_line(client)
        await check_errors(client)
        await check_departure(running, client)


async def check_models(client: AsyncAnthropic) -> None:
    listed = [each async for each in client.models.list(limit=2)]  # two pages
    assert [each.id for each in listed] == ["ada", "thinker", "endless", "obey"]
    assert (listed[0].type, listed[0].display_name, listed[0].max_input_tokens) == ("model", "Ada", 2048)
    assert listed[0].created_at.year > 2000
    assert (await client.models.retrieve("claude-at-home")).display_name == "Ada"
    with pytest.raises(anthropic.NotFoundError):
        await client.models.retrieve("nobody")


async def check_chat(running: Running, client: AsyncAnthropic) -> None:
    """The same text as through OpenAI's routes for the same conversation, and all that a message has."""
    system: Any = [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}]
    for messages in (hello(), [*hello(), {"role": "assistant", "content": "Hi"}, *hello("who?")]):
        answer = await client.messages.create(
            model="ada", max_tokens=50, messages=messages, system=system,

            metadata={"user_id": "u"}, extra_body=SAMPLING, extra_headers={"anthropic-beta": "some-beta-2026-01-01"},
        )  # fmt: skip
        said = {"model": "ada", "messages": [{"role": "system", "content": "Be kind."}, *messages]}
        by_openai = (await running.http.post("/v1/chat/completions", json=said)).json()
        assert text_of(answer) == by_openai["choices"][0]["message"]["content"] == ADA.sentence
        usage = answer.usage
        assert usage.input_tokens + (usage.cache_read_input_tokens or 0) == by_openai["usage"]["prompt_tokens"]
        assert usage.output_tokens == by_openai["usage"]["completion_tokens"]
        assert (answer.type, answer.role, answer.model) == ("message", "assistant", "ada")
        assert (answer.stop_reason, answer.stop_sequence) == ("end_turn", None) and answer.id.startswith("msg_")
    by_alias = await client.messages.create(model="claude-at-home", max_tokens=50, messages=hello())
    assert (text_of(by_alias), by_alias.model) == (ADA.sentence, "claude-at-home")
    raw = await client.messages.with_raw_response.create(model="ada", max_tokens=5, messages=hello())
    assert raw.request_id and raw.headers["request-id"] == raw.headers["x-request-id"] == raw.request_id


async def check_streaming(client: AsyncAnthropic) -> None:
    async with client.messages.stream(model="ada", max_tokens=50, messages=hello()) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        final: Any = await stream.get_final_message()
    assert text == text_of(final) == ADA.sentence
    assert final.stop_reason == "end_turn" and final.usage.output_tokens > 3
    kinds, began = [], None
    async for event in await client.messages.create(model="ada", max_tokens=50, messages=hello(), stream=True):
        kinds.append(event.type)
        if event.type == "message_start":
            began = event.message.usage
    assert kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"]
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 1
    assert began is not None
    assert began.input_tokens + (began.cache_read_input_tokens or 0) > 10  # llama.cpp says so at once


async def check_ends(client: AsyncAnthropic) -> None:
    for stream in (False, True):

        async def ask(**more: Any) -> Any:
            asked: dict[str, Any] = {"model": "ada", "max_tokens": 50, "messages": hello(), **more}
            if not stream:  # noqa: B023
                return await client.messages.create(**asked)
            async with client.messages.stream(**asked) as events:
                return await events.get_final_message()

        stopped = await ask(stop_sequences=["zzz", "sentence"])
        assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "sentence")
        assert text_of(stopped) == ADA.sentence.partition("sentence")[0]
        not_met = await ask(stop_sequences=["zzz"])
        assert (not_met.stop_reason, not_met.stop_sequence) == ("end_turn", None)
        short = await ask(max_tokens=2)
        assert (short.stop_reason, short.usage.output_tokens) == ("max_tokens", 2)
        nothing = await ask(max_tokens=0)
        assert (nothing.content, nothing.stop_reason, nothing.usage.output_tokens) == ([], "max_tokens", 0)


async def check_an_answer_that_was_begun(client: AsyncAnthropic) -> None:
    """It is not said once more. (This model says its sentence from the beginning whatever came before.)"""
    begun: Any = [*hello(), {"role": "assistant", "content": "I am Ada. I say"}]
    whole = await client.messages.create(model="ada", max_tokens=50, messages=begun)
    async with client.messages.stream(model="ada", max_tokens=50, messages=begun) as stream:
        assert text_of(await stream.get_final_message()) == text_of(whole) == ADA.sentence


async def check_thinking(client: AsyncAnthropic) -> None:
    modes: list[tuple[Any, str]] = [
        ({"type": "enabled", "budget_tokens": 1024}, THINKER.thought),
        ({"type": "enabled", "budget_tokens": 3}, "Let me see"),
        ({"type": "adaptive"}, THINKER.thought),
        ({"type": "disabled"}, ""),
    ]
    for mode, thought in modes:
        asked: dict[str, Any] = {"model": "thinker", "max_tokens": 50, "messages": hello(), "thinking": mode}
        whole: Any = await client.messages.create(**asked)
        async with client.messages.stream(**asked) as stream:
            final: Any = await stream.get_final_message()
        for answer in (whole, final):
            thoughts = [block for block in answer.content if block.type == "thinking"]
            assert "".join(block.thinking for block in thoughts).strip() == thought, mode
            assert all(block.signature for block in thoughts)
            assert text_of(answer).strip() == THINKER.sentence
        assert [block.type for block in whole.content] == [block.type for block in final.content]
        again: Any = [
            *hello(),
            {"role": "assistant", "content": whole.content},
            *hello("more"),
        ]  # as clients send it back
        more = await client.messages.create(**{**asked, "messages": again})
        assert text_of(more).strip() == THINKER.sentence


async def check_tool_choices(client: AsyncAnthropic) -> None:
    names: dict[str, set[str]] = {}
    choices: dict[str, Any] = {
        "any": {"type": "any"},
        "any, one": {"type": "any", "disable_parallel_tool_use": True},
        "weather": {"type": "tool", "name": "get_weather"},
        "add": {"type": "tool", "name": "add", "disable_parallel_tool_use": True},
        "auto": {"type": "auto"},
        "none": {"type": "none"},
    }
    for name, choice in choices.items():
        asked: dict[str, Any] = {
            "model": "obey", "max_tokens": 200, "messages": hello("weather?"), "tools": [WEATHER, ADD],
            "tool_choice": choice,
        }  # fmt: skip
        async with client.messages.stream(**asked) as stream:
            final: Any = await stream.get_final_message()
        for answer in (await client.messages.create(**asked), final):
            calls = [block for block in answer.content if block.type == "tool_use"]
            names[name] = {call.name for call in calls}
            assert (answer.stop_reason == "tool_use") is bool(calls)
            for call in calls:
                assert call.id and isinstance(call.input, dict)
                field = "city" if call.name == "get_weather" else "n"
                assert list(call.input) == [field]
            if name in ("any, one", "add"):
                assert len(calls) == 1
    assert names["any"] and names["any, one"] and names["auto"]
    assert (names["weather"], names["add"], names["none"]) == ({"get_weather"}, {"add"}, set())


async def check_tool_turns(client: AsyncAnthropic) -> None:
    """What came of a call goes back, as text, blocks, images or an error."""
    call = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Rome"}}
    results: list[dict[str, Any]] = [
        {"content": "sunny"},
        {"content": [{"type": "text", "text": "sunny"}]},
        {},
        {"content": "gone", "is_error": True},
    ]
    for result in results:
        block = {"type": "tool_result", "tool_use_id": "toolu_1", "cache_control": {"type": "ephemeral"}, **result}
        turns: Any = [
            *hello("weather?"),
            {"role": "assistant", "content": [{"type": "text", "text": "I look."}, call]},
            {"role": "user", "content": [block, {"type": "text", "text": "And?"}]},
        ]
        answer = await client.messages.create(model="ada", max_tokens=50, messages=turns)
        assert text_of(answer) == ADA.sentence


async def check_structured_output(client: AsyncAnthropic) -> None:
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    output: Any = {"format": {"type": "json_schema", "schema": schema}}
    answer = await client.messages.create(model="obey", max_tokens=100, messages=hello(), output_config=output)
    assert isinstance(json.loads(text_of(answer))["age"], int)


async def check_counting(client: AsyncAnthropic) -> None:
    """The number is the one that the message then has."""
    system: Any = [{"type": "text", "text": "Be kind."}]
    for tools in ([], [WEATHER, ADD]):
        asked: dict[str, Any] = {"model": "obey", "messages": hello(), "system": system, "tools": tools}
        counted = (await client.messages.count_tokens(**asked)).input_tokens
        usage = (await client.messages.create(**asked, max_tokens=1)).usage
        assert counted == usage.input_tokens + (usage.cache_read_input_tokens or 0)


async def check_documents(client: AsyncAnthropic) -> None:
    """Their text is part of the prompt; llama-server's own route leaves it out."""
    source = {"type": "text", "media_type": "text/plain", "data": "One two three four five six seven."}
    block = {"type": "document", "source": source, "title": "Numbers", "citations": {"enabled": True}}
    with_it: Any = [{"role": "user", "content": [block, {"type": "text", "text": "hello"}]}]
    counts = [(await client.messages.count_tokens(model="ada", messages=m)).input_tokens for m in (hello(), with_it)]
    assert counts[1] > counts[0] + 7


async def check_the_billing_line(client: AsyncAnthropic) -> None:
    """It is another one in each request, and yet the whole prompt of the second is found in the cache."""
    cached = []
    for number in (1, 2):
        line = f"x-anthropic-billing-header: cc_version=2.1.{number}; cc_entrypoint=cli; cch={number:05x};"
        system: Any = [{"type": "text", "text": line}, {"type": "text", "text": LONG}]
        answer = await client.messages.create(model="ada", max_tokens=2, messages=hello(), system=system)
        usage = answer.usage
        cached.append((usage.cache_read_input_tokens or 0, usage.input_tokens))
        as_text = await client.messages.create(model="ada", max_tokens=2, messages=hello(), system=f"{line}\n{LONG}")
        assert as_text.usage.input_tokens <= 2
    (first, _), (second, left) = cached
    assert second > 100 > first
    assert left <= 2


def png() -> str:
    """A red pixel."""

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    data = part(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)) + part(b"IDAT", zlib.compress(b"\0\xff\0\0"))
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + data + part(b"IEND", b"")).decode()


class City(pydantic.BaseModel):
    """What an answer is parsed into."""

    city: Literal["Rome", "Oslo"]


async def check_the_clients_helpers(client: AsyncAnthropic) -> None:
    """Beta features by header, answers parsed into a class, and tools that the client calls itself."""
    betas: Any = ["interleaved-thinking-2025-05-14", "context-1m-2025-08-07", "made-up-2030-01-01"]
    edits: Any = {"edits": [{"type": "clear_tool_uses_20250919"}]}
    beta = await client.beta.messages.create(
        model="ada", max_tokens=4, messages=hello(), betas=betas, context_management=edits
    )
    plain = await client.messages.create(model="ada", max_tokens=4, messages=hello())
    assert text_of(beta) == text_of(plain) and beta.stop_reason == "max_tokens"
    async with client.beta.messages.stream(model="ada", max_tokens=4, messages=hello(), betas=betas) as stream:
        assert text_of(await stream.get_final_message()) == text_of(plain)
    counted = [
        await counts.count_tokens(model="ada", messages=hello()) for counts in (client.messages, client.beta.messages)
    ]
    assert len({count.input_tokens for count in counted}) == 1

    for parsing in (client.messages, client.beta.messages):
        parsed = await parsing.parse(model="obey", max_tokens=200, messages=hello("JSON"), output_format=City)
        assert isinstance(parsed.parsed_output, City)

    asked = []

    @anthropic.beta_async_tool
    async def get_weather(city: Literal["Rome", "Oslo"]) -> str:
        """The weather in a city."""
        asked.append(city)
        return "Sunny."

    runner = client.beta.messages.tool_runner(
        model="obey", max_tokens=200, messages=hello("use the tools"), tools=[get_weather], max_iterations=2
    )
    said = [message async for message in runner]  # it begins with a thread, and goes on without
    assert asked and set(asked) <= {"Rome", "Oslo"}
    assert (len(said), said[0].stop_reason) == (2, "tool_use")


async def check_errors(client: AsyncAnthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as unknown:
        await client.messages.create(model="adda", max_tokens=5, messages=hello())
    assert unknown.value.request_id
    assert "'ada'" in unknown.value.message
    body: Any = unknown.value.body
    assert (body["error"]["type"], body["request_id"]) == ("not_found_error", unknown.value.request_id)
    with pytest.raises(anthropic.BadRequestError):
        await client.messages.create(model="ada", max_tokens=5, messages=[])
    for stream in (False, True):
        with pytest.raises(anthropic.BadRequestError, match="prompt is too long") as too_long:
            await client.messages.create(model="ada", max_tokens=5, messages=hello("hello " * 9000), stream=stream)
        assert "invalid_request_error" in str(too_long.value.body) and too_long.value.request_id
        source = {"type": "base64", "media_type": "image/png", "data": png()}
        look: Any = [{"role": "user", "content": [{"type": "image", "source": source}]}]
        with pytest.raises(anthropic.BadRequestError, match="image input is not supported"):
            await client.messages.create(model="ada", max_tokens=5, messages=look, stream=stream)


async def check_departure(running: Running, client: AsyncAnthropic) -> None:
    async with client.messages.stream(model="endless", max_tokens=100_000, messages=hello()) as stream:
        async for _ in stream.text_stream:
            break
    async with asyncio.timeout(2):
        while running.app.scheduler.view("endless").leases:  # type: ignore[union-attr]
            await asyncio.sleep(0.005)
