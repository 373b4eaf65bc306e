"""A last message of the model's own: llama.cpp goes on after it and says it once more, which no client wants."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from tests.messages import message
from tests.paths.relay_kit import SSE_HEAD, Got, chunk, say, stage, write

LLAMA = ("anthropic", "responses", "llama.cpp")
TURNS = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "I am"}]
CALLED = {"role": "assistant", "content": "I am", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
ASKED: dict[str, dict[str, Any]] = {
    "/api/chat": {"model": "m", "messages": TURNS},
    "/v1/responses": {"model": "m", "input": TURNS},
    "/v1/messages": {"model": "m", "max_tokens": 9, "messages": TURNS},
}
CASES = [
    (LLAMA, ["I am Ada.", " I am"], " Ada. I am"),
    (LLAMA, ["I am", " Ada."], " Ada."),
    (LLAMA, ["Ada. ", "I am"], "Ada. I am"),
    ((), ["I am Ada."], "I am Ada."),
]


def event(**fields: Any) -> bytes:
    return b"data: %b\n\n" % json.dumps(fields).encode()


def pieces(said: list[str]) -> list[bytes]:
    found = [event(choices=[{"index": 0, "delta": {"content": text}, "finish_reason": None}]) for text in said]
    return [*found, event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]), b"data: [DONE]\n\n"]


def told(path: str, got: Got, *, stream: bool) -> str:
    """The text of the answer."""
    if path == "/api/chat":
        return "".join(json.loads(line)["message"]["content"] for line in got.body.decode().splitlines())
    if path == "/v1/messages":
        return str((message(got.body) if stream else got.json())["content"][0]["text"])
    last = json.loads(got.body.decode().split("data: ")[-1])["response"] if stream else got.json()
    return str(last["output"][0]["content"][0]["text"])


async def ask(path: str, body: dict[str, Any], speaks: tuple[str, ...], said: list[str], *, stream: bool) -> str:
    whole = {"choices": [{"index": 0, "message": {"content": "".join(said)}, "finish_reason": "stop"}]}
    script = write(SSE_HEAD, *map(chunk, pieces(said)), b"0\r\n\r\n") if stream else say(whole)
    async with stage(script) as scene:
        scene.leases.move("m", dataclasses.replace(scene.upstream.endpoint, speaks=speaks))
        got = await scene.post(path, {**body, "stream": stream})
        assert got.status == 200, got.body
        return told(path, got, stream=stream)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize(("speaks", "said", "text"), CASES)
async def test_an_answer_is_what_was_added(
    path: str, speaks: tuple[str, ...], said: list[str], text: str, stream: bool
) -> None:
    assert await ask(path, ASKED[path], speaks, said, stream=stream) == text


@pytest.mark.parametrize("last", [CALLED, {"role": "user", "content": "I am"}])
async def test_an_answer_that_begins_like_what_was_said_before_is_left_alone(last: dict[str, Any]) -> None:
    body = {"model": "m", "messages": [TURNS[0], last]}
    assert await ask("/api/chat", body, LLAMA, ["I am Ada."], stream=True) == "I am Ada."
