"""The relay between dialects: what a client of /api/chat gets of an OpenAI stream, whole, cut, broken and refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.paths.relay_kit import SSE_HEAD, chunk, say, stage, write

ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


def event(**fields: Any) -> bytes:
    return b"data: %b\n\n" % json.dumps(fields).encode()


def piece(**delta: Any) -> bytes:
    return event(choices=[{"index": 0, "delta": delta, "finish_reason": None}])


END = [
    event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]),
    event(
        choices=[],
        usage={"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}},
        timings={"prompt_ms": 1.5, "predicted_ms": 2.25},
    ),
    b"data: [DONE]\n\n",
]
CALL = [
    piece(tool_calls=[{"index": 0, "id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a":'}}]),
    piece(tool_calls=[{"index": 0, "function": {"arguments": " 1}"}}]),
]
ANSWER = [piece(role="assistant", content=None), piece(reasoning_content="Hm"), piece(content="Grüß "), *CALL, *END]


def lines(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in body.decode().splitlines()]


def told(body: bytes) -> tuple[str, str, list[Any], dict[str, Any]]:
    """Text, thoughts, calls and the last line."""
    found = lines(body)
    text = "".join(each["message"]["content"] for each in found)
    thoughts = "".join(each["message"].get("thinking", "") for each in found)
    calls = [call for each in found for call in each["message"].get("tool_calls", [])]
    assert [each["done"] for each in found] == [False] * (len(found) - 1) + [True]
    return text, thoughts, calls, found[-1]


async def test_a_stream() -> None:
    async with stage(write(SSE_HEAD, *map(chunk, ANSWER), b"0\r\n\r\n")) as scene:
        got = await scene.post("/api/chat", ASKED)
        assert (got.status, got.headers["content-type"]) == (200, "application/x-ndjson")
        assert got.headers["x-corral-source"] == "engine" and got.headers["x-request-id"]
        text, thoughts, calls, last = told(got.body)
        assert (text, thoughts) == ("Grüß ", "Hm")
        assert calls == [{"id": "c1", "function": {"index": 0, "name": "add", "arguments": {"a": 1}}}]
        assert (last["prompt_eval_count"], last["eval_count"]) == (7, 3)
        assert (last["prompt_eval_duration"], last["eval_duration"]) == (1_500_000, 2_250_000)
        assert last["done_reason"] == "stop" and last["total_duration"] > 0
        sent = json.loads(scene.upstream.heard[0].body)
        assert scene.upstream.heard[0].line == "POST /v1/chat/completions HTTP/1.1"
        assert sent == {**ASKED, "stream": True, "stream_options": {"include_usage": True}}
        record = await scene.record.one()
        assert (record.route, record.status, record.outcome) == ("/api/chat", 200, "ok")
        assert (record.prompt_tokens, record.completion_tokens, record.cached_tokens) == (7, 3, 2)
        assert record.ttft_s is not None and record.stream
        assert scene.at_rest()


async def test_a_whole_answer() -> None:
    message = {"role": "assistant", "content": "Hi", "reasoning_content": "Hm"}
    said = {
        "choices": [{"index": 0, "message": message, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3},
    }
    async with stage(say(said)) as scene:
        got = await scene.post("/api/chat", {**ASKED, "stream": False})
        assert got.headers["content-type"] == "application/json"
        body = got.json()
        assert body["message"] == {"role": "assistant", "content": "Hi", "thinking": "Hm"}
        assert (body["done"], body["done_reason"], body["eval_count"]) == (True, "length", 3)
        assert "stream" not in json.loads(scene.upstream.heard[0].body)
        assert (await scene.record.one()).completion_tokens == 3


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"model": 1}', b'{"model": "m", "messages": 3}', b"\xff"])
async def test_a_body_that_is_wrong_costs_no_lease(body: bytes) -> None:
    async with stage() as scene:
        got = await scene.post("/api/chat", body)
        assert got.status == 400 and got.json()["source"] == "corral" and not scene.upstream.heard
        assert (await scene.post("/api/chat", {**ASKED, "model": "nobody"})).status == 404


MESSAGES = b'"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}]'
NO_UTF8 = {
    "/v1/messages": b'{%b,"tools":[{"name":"t","input_schema":{"title":"\xff"}}]}' % MESSAGES,
    "/v1/messages/count_tokens": b'{%b,"tools":[{"name":"t","input_schema":{"title":"\xff"}}]}' % MESSAGES,
    "/v1/responses": b'{"model":"m","input":"x","tools":[{"type":"function","name":"t","parameters":{"a":"\xff"}}]}',
    "/v1/responses/input_tokens": b'{"model":"m","input":"x","text":{"format":{"type":"json_schema","name":"n",'
    b'"schema":{"title":"\xff"}}}}',
    "/api/chat": b'{%b,"format":{"title":"\xff"}}' % MESSAGES,
    "/api/generate": b'{"model":"m","prompt":"x","format":{"title":"\xff"}}',
    "/api/embed": b'{"model":"m","input":["\xff"]}',
    "/api/embeddings": b'{"model":"m","prompt":"x","unknown":"\xff"}',
}
"""Bodies whose bad bytes are where nobody looks inside: schemas and fields that go on, or away, as they came."""


@pytest.mark.parametrize("path", NO_UTF8)
async def test_bytes_that_are_no_utf8_reach_no_engine(path: str) -> None:
    async with stage(say({})) as scene:
        got = await scene.post(path, NO_UTF8[path])
        assert got.status == 400 and "not valid JSON" in got.body.decode()
        assert not scene.upstream.heard and not scene.leases.callers
