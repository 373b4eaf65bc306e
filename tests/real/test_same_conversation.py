"""
The same conversation through every dialect, by the official clients, against the real llama.cpp: the same text,
thoughts, calls, token counts and ends, streamed or not.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

import pytest
from anthropic import AsyncAnthropic
from ollama import AsyncClient
from openai import AsyncOpenAI

from tests.clients import CLIENTS, Told
from tests.corrals import corral, gguf
from tests.models import ADA, OBEY, THINKER, model
from tests.real.engines import ENGINES, binary_of

SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Rome", "Oslo"]}},
    "required": ["city"],
    "additionalProperties": False,
}
PARAMETERS: Final = {name: value for name, value in SCHEMA.items() if name != "additionalProperties"}
"""As much of it as Ollama's client passes on."""
NAME, WORDS, CALL_ID, ARGUMENTS, RESULT = "get_weather", "The weather in a city.", "call0000A", {"city": "Rome"}, "fine"


@dataclass(frozen=True)
class Talk:
    """What is said before the answer, in nobody's dialect. `called`: a tool was called in the second turn."""

    model: str
    system: str = "Be short."
    turns: tuple[str, ...] = ("hello",)
    called: bool = False
    tool: bool = False
    think: bool | None = None
    schema: bool = False
    stop: str = ""
    max_tokens: int = 200


TALKS: Final = {
    "one turn": Talk("ada"),
    "no system prompt": Talk("ada", system=""),
    "three turns": Talk("ada", turns=("hello", ADA.sentence, "Gr\u00fc\u00df Gott \U0001f999")),
    "cut": Talk("ada", max_tokens=3),
    "stopped": Talk("ada", stop="whatever"),
    "thoughts": Talk("thinker", think=True),
    "no thoughts": Talk("thinker", think=False),
    "a tool": Talk("obey", tool=True),
    "a tool's result": Talk("obey", tool=True, called=True),
    "structured": Talk("obey", schema=True),
}


def openai_messages(talk: Talk) -> list[Any]:
    said = [{"role": "system", "content": talk.system}] if talk.system else []
    said += [{"role": "assistant" if place % 2 else "user", "content": text} for place, text in enumerate(talk.turns)]
    return said


async def chat(client: AsyncOpenAI, talk: Talk, stream: bool) -> Told:
    said = openai_messages(talk)
    if talk.called:
        call = {"id": CALL_ID, "type": "function", "function": {"name": NAME, "arguments": json.dumps(ARGUMENTS)}}
        said.append({"role": "assistant", "content": "", "tool_calls": [call]})
        said.append({"role": "tool", "tool_call_id": CALL_ID, "content": RESULT})
    asked: dict[str, Any] = {"model": talk.model, "messages": said, "max_tokens": talk.max_tokens, "temperature": 0}
    if talk.tool:
        function = {"name": NAME, "description": WORDS, "parameters": PARAMETERS}
        asked["tools"] = [{"type": "function", "function": function}]
    if talk.think is not None:
        asked["extra_body"] = {"chat_template_kwargs": {"enable_thinking": talk.think}}
    if talk.schema:
        asked["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}
    if talk.stop:
        asked["stop"] = [talk.stop]
    reader = CLIENTS["/v1/chat/completions"]
    if not stream:
        answer = await client.chat.completions.create(**asked)
        return reader.whole(answer.model_dump())
    asked |= {"stream": True, "stream_options": {"include_usage": True}}
    body = b""
    async for chunk in await client.chat.completions.create(**asked):
        body += b"data: %b\n\n" % chunk.model_dump_json(exclude_unset=True).encode()
    return reader.answer(body + b"data: [DONE]\n\n", stream=True)


async def responses(client: AsyncOpenAI, talk: Talk, stream: bool) -> Told:
    said: list[Any] = openai_messages(Talk(talk.model, system="", turns=talk.turns))
    if talk.called:
        call = {"type": "function_call", "call_id": CALL_ID, "name": NAME, "arguments": json.dumps(ARGUMENTS)}
        said += [call, {"type": "function_call_output", "call_id": CALL_ID, "output": RESULT}]
    asked: dict[str, Any] = {
        "model": talk.model, "input": said, "max_output_tokens": talk.max_tokens, "temperature": 0,
    }  # fmt: skip
    if talk.system:
        asked["instructions"] = talk.system
    if talk.tool:
        asked["tools"] = [{"type": "function", "name": NAME, "description": WORDS, "parameters": PARAMETERS}]
    if talk.think is not None:
        asked["reasoning"] = {"effort": "high" if talk.think else "none"}
    if talk.schema:
        asked["text"] = {"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA}}
    reader = CLIENTS["/v1/responses"]
    if not stream:
        return reader.whole((await client.responses.create(**asked)).model_dump())
    body = b""
    async for event in await client.responses.create(**asked, stream=True):
        body += b"event: %b\ndata: %b\n\n" % (event.type.encode(), event.model_dump_json(exclude_unset=True).encode())
    return reader.answer(body, stream=True)


async def messages(client: AsyncAnthropic, talk: Talk, stream: bool) -> Told:
    said: list[Any] = openai_messages(Talk(talk.model, system="", turns=talk.turns))
    if talk.called:
        call = {"type": "tool_use", "id": CALL_ID, "name": NAME, "input": ARGUMENTS}
        said.append({"role": "assistant", "content": [call]})
        result = {"type": "tool_result", "tool_use_id": CALL_ID, "content": RESULT}
        said.append({"role": "user", "content": [result]})
    asked: dict[str, Any] = {
        "model": talk.model, "messages": said, "max_tokens": talk.max_tokens, "extra_body": {"temperature": 0},
    }  # fmt: skip
    if talk.system:
        asked["system"] = talk.system
    if talk.tool:
        asked["tools"] = [{"name": NAME, "description": WORDS, "input_schema": PARAMETERS}]
    if talk.think is not None:
        asked["thinking"] = {"type": "adaptive"} if talk.think else {"type": "disabled"}
    if talk.schema:
        asked["output_config"] = {"format": {"type": "json_schema", "schema": SCHEMA}}
    if talk.stop:
        asked["stop_sequences"] = [talk.stop]
    if stream:
        async with client.messages.stream(**asked) as events:
            answer = await events.get_final_message()
    else:
        answer = await client.messages.create(**asked)
    return CLIENTS["/v1/messages"].whole(answer.model_dump())


async def ollama(client: AsyncClient, talk: Talk, stream: bool) -> Told:
    said = openai_messages(talk)
    if talk.called:
        said.append({"role": "assistant", "tool_calls": [{"function": {"name": NAME, "arguments": ARGUMENTS}}]})
        said.append({"role": "tool", "tool_name": NAME, "content": RESULT})
    options: dict[str, Any] = {"num_predict": talk.max_tokens, "temperature": 0}
    if talk.stop:
        options["stop"] = [talk.stop]
    function = {"name": NAME, "description": WORDS, "parameters": PARAMETERS}
    asked: dict[str, Any] = {
        "model": talk.model, "messages": said, "options": options, "think": talk.think,
        "format": SCHEMA if talk.schema else None,
        "tools": [{"type": "function", "function": function}] if talk.tool else None,
    }  # fmt: skip
    reader = CLIENTS["/api/chat"]
    if not stream:
        return reader.whole((await client.chat(**asked)).model_dump(exclude_none=True))
    body = b""
    async for part in await client.chat(**asked, stream=True):
        body += part.model_dump_json(exclude_none=True).encode() + b"\n"
    return reader.answer(body, stream=True)


Ask = Callable[[Talk, bool], Coroutine[Any, Any, Told]]


@contextlib.asynccontextmanager
async def asking(engine: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[dict[str, Ask]]:
    """How to ask in each dialect. One slot for each Model, so that nothing of one request touches another."""
    binary = binary_of(engine, monkeypatch)
    specs = {"ada": ADA, "thinker": THINKER, "obey": OBEY}
    models = {name: gguf(model(spec), slots=1, binary=binary) for name, spec in specs.items()}
    async with corral(models) as running, contextlib.AsyncExitStack() as stack:
        address = running.info.address
        of_openai = await stack.enter_async_context(
            AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        )
        of_anthropic = await stack.enter_async_context(AsyncAnthropic(base_url=address, api_key="none", max_retries=0))
        of_ollama = AsyncClient(host=address)
        stack.push_async_callback(of_ollama._client.aclose)
        yield {
            "chat": lambda talk, stream: chat(of_openai, talk, stream),
            "responses": lambda talk, stream: responses(of_openai, talk, stream),
            "messages": lambda talk, stream: messages(of_anthropic, talk, stream),
            "ollama": lambda talk, stream: ollama(of_ollama, talk, stream),
        }


@pytest.mark.parametrize("engine", ENGINES)
async def test_every_dialect_gives_the_same(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One Corral for all, because each start of three engines costs seconds."""
    found: dict[str, Told] = {}
    async with asking(engine, monkeypatch) as dialects:
        for name, talk in TALKS.items():
            found[name] = reference = await dialects["chat"](talk, False)
            for dialect, ask in dialects.items():
                if talk.stop and dialect == "responses":
                    continue  # it has no such field
                for stream in (False, True):
                    assert await ask(talk, stream) == reference, (name, dialect, stream)
    assert found["one turn"].text == found["three turns"].text == ADA.sentence
    assert (found["one turn"].reason, found["cut"].reason, found["cut"].completion) == ("stop", "length", 3)
    assert found["three turns"].prompt > found["one turn"].prompt > found["no system prompt"].prompt  # type: ignore[operator]
    assert found["stopped"].text == ADA.sentence.partition("whatever")[0] and found["stopped"].reason == "stop"
    assert found["thoughts"].thoughts.strip() == THINKER.thought and found["no thoughts"].thoughts == ""
    assert found["thoughts"].text.strip() == found["no thoughts"].text.strip() == THINKER.sentence
    assert found["a tool"].reason == "tool_calls" and found["a tool"].calls[0][0] == NAME
    assert found["a tool"].calls[0][1]["city"] in ("Rome", "Oslo")
    assert json.loads(found["structured"].text)["city"] in ("Rome", "Oslo")
