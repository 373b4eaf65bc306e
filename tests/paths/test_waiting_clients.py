"""
The official clients while a Model loads slowly: heartbeats are no part of what they read, thoughts are thoughts, and a
load that fails is their error.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from anthropic import APIStatusError, AsyncAnthropic
from ollama import AsyncClient, ResponseError
from openai import APIError, AsyncOpenAI

from corral.domain.fleet import ModelSpec, Timeouts
from tests.corrals import corral, fake

HELLO: Any = [{"role": "user", "content": "hello"}]
LOADS_S = "0.5"  # beyond the first sign
QUICK = Timeouts(heartbeat_s=0.2)
TOLD = "m is being loaded: 37 %"
Read = tuple[str, str]
"""(text, thoughts)"""
Heard = Callable[[str], None]
"""Is given all thoughts so far."""


async def by_openai(address: str, heard: Heard) -> Read:
    text = thoughts = ""
    async with AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        async with client.chat.completions.stream(model="m", messages=HELLO) as stream:
            async for event in stream:
                if event.type == "chunk" and event.chunk.choices:
                    thoughts += getattr(event.chunk.choices[0].delta, "reasoning_content", None) or ""
                    heard(thoughts)
            final = await stream.get_final_completion()
            text = final.choices[0].message.content or ""
            assert final.choices[0].message.role == "assistant"
    return text, thoughts


async def by_responses(address: str, heard: Heard) -> Read:
    async with AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        async with client.responses.stream(model="m", input="hello") as stream:
            async for _ in stream:
                pass
            return (await stream.get_final_response()).output_text, ""


async def by_anthropic(address: str, heard: Heard) -> Read:
    async with AsyncAnthropic(base_url=address, api_key="none", max_retries=0) as client:
        async with client.messages.stream(model="m", messages=HELLO, max_tokens=50) as stream:
            async for event in stream:
                if event.type == "thinking":
                    heard(event.snapshot)
            message = await stream.get_final_message()
    blocks = message.content
    assert [each.type for each in blocks] in (["text"], ["thinking", "text"])
    assert message.usage.output_tokens > 0 and message.usage.input_tokens > 0
    return blocks[-1].text, blocks[0].thinking if len(blocks) == 2 else ""  # type: ignore[union-attr]


async def by_ollama(address: str, heard: Heard) -> Read:
    text = thoughts = ""
    async with AsyncClient(address) as client:
        async for part in await client.chat("m", HELLO, stream=True):
            text += part.message.content or ""
            thoughts += part.message.thinking or ""
            heard(thoughts)
    return text, thoughts


async def by_generate(address: str, heard: Heard) -> Read:
    text = thoughts = ""
    async with AsyncClient(address) as client:
        async for part in await client.generate("m", "hello", stream=True):
            text += part.response or ""
            thoughts += part.thinking or ""
            heard(thoughts)
    return text, thoughts


CLIENTS = [by_openai, by_responses, by_anthropic, by_ollama, by_generate]


async def served(*flags: str, loading_state: str) -> AsyncIterator[str]:
    model: ModelSpec = fake("--load-s", LOADS_S, *flags, loading_state=loading_state, timeouts=QUICK)
    async with corral({"m": model}) as running:
        yield running.info.address


@pytest.mark.parametrize("loading_state", ["comment", "reasoning", "off"])
@pytest.mark.parametrize("read", CLIENTS)
async def test_a_slow_load(read: Callable[[str, Heard], Any], loading_state: str, tmp_path: Path) -> None:
    told = loading_state == "reasoning" and read is not by_responses
    gate = tmp_path / "loading"
    if told:  # it loads until its client has heard of it
        gate.touch()

    def heard(thoughts: str) -> None:
        if TOLD in thoughts:
            gate.unlink(missing_ok=True)

    flags = ("--log-text", "progress: 37 %", "--load-while", str(gate))
    async for address in served(*flags, loading_state=loading_state):
        text, thoughts = await read(address, heard)
        again, none = await read(address, heard)  # it is loaded now
        assert text == again and text and none == ""
        assert (TOLD in thoughts) is told and bool(thoughts) is told


@pytest.mark.parametrize("loading_state", ["comment", "reasoning"])
@pytest.mark.parametrize("read", CLIENTS)
async def test_a_load_that_fails(read: Callable[[str, Heard], Any], loading_state: str) -> None:
    async for address in served("--exit-while-loading", "3", loading_state=loading_state):
        with pytest.raises((APIError, APIStatusError, ResponseError)) as caught:
            await read(address, lambda thoughts: None)
        assert "did not start" in str(caught.value)
