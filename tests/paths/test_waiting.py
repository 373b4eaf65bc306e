"""
Waiting well: what the client of a stream hears before its answer, in each dialect and in each manner, and how it ends.

A Model loads for as long as the test says; the clients are raw, so that every byte of a sign is seen.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from corral.domain.errors import CorralError, QueueFull, StartFailed
from corral.domain.fleet import ModelSpec, Timeouts
from corral.domain.instance import InstanceState, InstanceView
from tests.paths.relay_kit import CHAT, SSE_HEAD, Raw, Stage, answer, chunk, delta, say, stage, until, write

MESSAGES = [{"role": "user", "content": "hello"}]
ASKED: dict[str, dict[str, Any]] = {
    CHAT: {"model": "m", "messages": MESSAGES, "stream": True},
    "/v1/completions": {"model": "m", "prompt": "hello", "stream": True},
    "/v1/responses": {"model": "m", "input": "hello", "stream": True},
    "/v1/messages": {"model": "m", "messages": MESSAGES, "max_tokens": 9, "stream": True},
    "/api/chat": {"model": "m", "messages": MESSAGES},
}
QUICK = Timeouts(heartbeat_s=0.15)
SLOW = Timeouts(heartbeat_s=30.0)
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
STREAM = [chunk(delta("Hi")), chunk(FINISH), chunk(b"data: [DONE]\n\n"), b"0\r\n\r\n"]
LOADING = InstanceView("m", "m-1", InstanceState.STARTING, progress=0.37)
FAILED = StartFailed("'m' did not start: its file is broken.")


def model(loading_state: str = "comment", timeouts: Timeouts = QUICK) -> tuple[ModelSpec, ...]:
    return (ModelSpec("m", loading_state=loading_state, timeouts=timeouts),)


async def waiting(scene: Stage, path: str, **more: Any) -> Raw:
    """A client that waits for the load of `m`."""
    scene.leases.hold = True
    scene.leases.shown["m"], scene.leases.expected_s = LOADING, 12.0
    client = await scene.client()
    client.post(path, {**ASKED[path], **more})
    await until(lambda: bool(scene.leases.waiting))
    return client


async def rest(client: Raw) -> bytes:
    """All chunks up to the end of the answer."""
    out = b""
    while piece := await client.chunk():
        out += piece
    return out


def events(body: bytes) -> list[dict[str, Any]]:
    """The JSON of server-sent events or lines; comments are passed over, as clients do."""
    lines = [line.removeprefix("data:").strip() for line in body.decode().splitlines()]
    return [json.loads(line) for line in lines if line.startswith("{")]


def spoken(body: bytes) -> tuple[str, str]:
    """(text, thoughts) as a client adds them up."""
    text = thoughts = ""
    for event in events(body):
        for choice in event.get("choices", ()):
            text += choice["delta"].get("content") or ""
            thoughts += choice["delta"].get("reasoning_content") or ""
        if isinstance(event.get("delta"), dict):
            text += event["delta"].get("text", "")
            thoughts += event["delta"].get("thinking", "")
        if "message" in event and "role" in event["message"] and "type" not in event:
            text += event["message"]["content"]
            thoughts += event["message"].get("thinking", "")
    return text, thoughts


SIGNS = {
    CHAT: b": m is being loaded: 37 %, about 12 s more.\n\n",
    "/v1/completions": b": m is being loaded: 37 %, about 12 s more.\n\n",
    "/v1/responses": b": m is being loaded: 37 %, about 12 s more.\n\n",
    "/v1/messages": b'event: ping\ndata: {"type":"ping"}\n\n',
}


@pytest.mark.parametrize("path", ASKED)
async def test_a_comment_is_no_part_of_the_answer(path: str) -> None:
    async with stage(write(SSE_HEAD, *STREAM), models=model()) as scene:
        client = await waiting(scene, path)
        status, headers = await client.head()
        assert (status, headers["x-corral-source"]) == (200, "corral"), "no engine has said anything yet"
        if path == "/api/chat":
            assert headers["content-type"] == "application/x-ndjson"
            sign = json.loads(await client.chunk())
            assert (sign["message"], sign["done"]) == ({"role": "assistant", "content": ""}, False)
        else:
            assert headers["content-type"] == "text/event-stream"
            assert await client.chunk() == SIGNS[path]
        await client.chunk()  # and it goes on
        scene.leases.grant_all()
        text, thoughts = spoken(await rest(client))
        assert thoughts == "" and (text == "Hi" or path in ("/v1/completions", "/v1/responses"))
        record = await scene.record.one()
        assert record.outcome == "ok" and scene.at_rest()


@pytest.mark.parametrize("path", ASKED)
async def test_reasoning_shows_progress_once_a_piece_of_news(path: str) -> None:
    async with stage(write(SSE_HEAD, *STREAM), models=model("reasoning", Timeouts(heartbeat_s=0.6))) as scene:
        client = await waiting(scene, path)
        await client.head()
        first = await client.chunk()
        scene.leases.shown["m"] = InstanceView("m", "m-1", InstanceState.STARTING, progress=0.81)
        await client.chunk()
        scene.leases.grant_all()
        said = first + await rest(client)
        if path in ("/v1/completions", "/v1/responses"):
            assert first == SIGNS[path]
            return
        text, thoughts = spoken(said)
        assert text == "Hi" and thoughts.startswith("m is being loaded: 37 %, about 12 s more.\n")
        assert scene.at_rest()


async def test_progress_rises() -> None:
    async with stage(write(SSE_HEAD, *STREAM), models=model("reasoning", Timeouts(heartbeat_s=0.1))) as scene:
        client = await waiting(scene, CHAT)
        await client.head()
        said = await client.chunk()
        for progress in (0.5, 0.75):
            scene.leases.shown["m"] = InstanceView("m", "m-1", InstanceState.STARTING, progress=progress)
            while f"{progress * 100:.0f} %".encode() not in said:
                said += await client.chunk()
        scene.leases.grant_all()
        assert spoken(await rest(client))[0] == "Hi"


async def test_a_thinking_block_before_the_blocks_of_the_answer() -> None:
    """/v1/messages: one message, its blocks in order."""
    async with stage(write(SSE_HEAD, *STREAM), models=model("reasoning")) as scene:
        client = await waiting(scene, "/v1/messages")
        await client.head()
        said = await client.chunk()
        scene.leases.grant_all()
        told = events(said + await rest(client))
        assert [each["type"] for each in told if each["type"] not in ("content_block_delta", "ping")] == [
            "message_start", "content_block_start", "content_block_stop",
            "content_block_start", "content_block_stop", "message_delta", "message_stop",
        ]  # fmt: skip
        assert [each["index"] for each in told if "index" in each] == [0, 0, 0, 0, 1, 1, 1]


async def test_what_was_ignored_is_named_in_the_head_of_a_sign_too() -> None:
    async with stage(write(SSE_HEAD, *STREAM), models=model()) as scene:
        client = await waiting(scene, "/api/chat", options={"num_thread": 3})
        _, headers = await client.head()
        assert headers["x-corral-ignored-options"] == "threads"


@pytest.mark.parametrize("path", ASKED)
async def test_off_says_nothing_before_the_answer(path: str) -> None:
    async with stage(write(SSE_HEAD, *STREAM), models=model("off", Timeouts(heartbeat_s=0.1))) as scene:
        client = await waiting(scene, path)
        assert await client.silent(0.4)
        scene.leases.refuse_all(FAILED)
        got = await client.got()
        assert got.status == 503 and got.headers["content-type"] == "application/json"


@pytest.mark.parametrize("loading_state", ["comment", "reasoning"])
@pytest.mark.parametrize("path", ASKED)
async def test_a_load_that_fails_after_a_sign_is_one_event(path: str, loading_state: str) -> None:
    async with stage(models=model(loading_state)) as scene:
        client = await waiting(scene, path)
        await client.head()
        said = await client.chunk()
        scene.leases.refuse_all(FAILED)
        body = await rest(client)
        last = events(body)[-1]
        error = last["error"]
        words = error if isinstance(error, str) else error["message"]
        assert "did not start" in words and b"[DONE]" not in body and b"message_stop" not in body
        if path == "/v1/messages":
            assert last["type"] == "error" and body.endswith(b"\n\n") and b"event: error\n" in body
        assert said and (await scene.record.one()).outcome == "engine_error" and scene.at_rest()


@pytest.mark.parametrize("loading_state", ["comment", "reasoning", "off"])
@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize("error", [QueueFull("Too many wait.", retry_after_s=7.2), FAILED])
async def test_until_the_first_sign_an_error_has_its_status(path: str, loading_state: str, error: CorralError) -> None:
    async with stage(models=model(loading_state, SLOW)) as scene:
        client = await waiting(scene, path)
        scene.leases.refuse_all(error)
        got = await client.got()
        assert got.status == 503 and got.complete
        if error.retry_after_s is not None:
            assert got.headers["retry-after"] == "8"
        client = await scene.client()
        scene.leases.hold, scene.leases.refuse_with = False, error
        for stream in (True, False):
            got = await scene.post(path, {**ASKED[path], "stream": stream})
            assert got.status == 503 and ("retry-after" in got.headers) is (error.retry_after_s is not None)


@pytest.mark.parametrize("loading_state", ["comment", "reasoning"])
@pytest.mark.parametrize("path", ASKED)
async def test_a_client_that_leaves_during_the_signs(path: str, loading_state: str) -> None:
    async with stage(models=model(loading_state)) as scene:
        client = await waiting(scene, path)
        await client.head()
        await client.chunk()
        client.writer.transport.abort()
        assert await until(scene.at_rest) < 0.1
        assert (await scene.record.one()).outcome == "client_gone"


@pytest.mark.parametrize("loading_state", ["comment", "reasoning"])
@pytest.mark.parametrize("path", ASKED)
async def test_who_wants_no_stream_hears_nothing(path: str, loading_state: str) -> None:
    async with stage(say({"error": "no"}, status="418 Teapot"), models=model(loading_state)) as scene:
        client = await waiting(scene, path, stream=False)
        assert await client.silent(0.4)
        scene.leases.grant_all()
        assert (await client.got()).status == 418


async def test_routes_without_streams_hear_nothing() -> None:
    """`stream` in a body of a route that has none is the engine's to judge."""
    async with stage(say({"data": []}), models=model()) as scene:
        scene.leases.hold = True
        client = await scene.client()
        client.post("/v1/embeddings", {"model": "m", "input": "a", "stream": True})
        assert await client.silent(0.4)
        scene.leases.grant_all()
        assert (await client.got()).status == 200


@pytest.mark.parametrize("path", ASKED)
async def test_an_engine_that_says_nothing_for_long(path: str) -> None:
    """A long prefill: the head is not there yet; then a silence in the middle of the stream."""
    going = asyncio.Event()

    async def script(request: Any, writer: asyncio.StreamWriter) -> None:
        await going.wait()
        writer.write(SSE_HEAD + STREAM[0])
        going.clear()
        await going.wait()
        writer.write(b"".join(STREAM[1:]))

    async with stage(script, models=model()) as scene:
        client = await scene.client()
        client.post(path, ASKED[path])
        status, _ = await client.head()
        assert status == 200
        said = [await client.chunk(), await client.chunk()]
        assert spoken(b"".join(said)) == ("", "")
        going.set()
        while not any(b"Hi" in piece for piece in said):
            said.append(await client.chunk())
        said += [await client.chunk(), await client.chunk()]  # signs again
        assert spoken(said[-1]) == ("", "")
        going.set()
        body = b"".join(said) + await rest(client)
        assert spoken(body)[0] == "Hi" or path in ("/v1/completions", "/v1/responses")
        assert (await scene.record.one()).outcome == "ok"


@pytest.mark.parametrize("path", ASKED)
async def test_an_engine_that_refuses_after_a_sign(path: str) -> None:
    async def script(request: Any, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.4)
        refusal = b'{"error":{"message":"too long","type":"invalid_request_error"}}'
        writer.write(answer(refusal, status="400 Bad Request"))

    async with stage(script, models=model()) as scene:
        client = await scene.client()
        client.post(path, ASKED[path])
        await client.head()
        body = await rest(client)
        assert "too long" in str(events(body)[-1]["error"]) and b"[DONE]" not in body
        assert (await scene.record.one()).outcome == "engine_error" and scene.at_rest()


async def test_no_sign_comes_between_the_pieces_of_one_event() -> None:
    async def script(request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD + chunk(b"data: " + b"x" * 300_000))
        await asyncio.sleep(0.6)
        writer.write(chunk(b"y\n\n") + b"0\r\n\r\n")

    async with stage(script, models=model()) as scene:
        got = await scene.post(CHAT, ASKED[CHAT])
        assert got.body == b"data: " + b"x" * 300_000 + b"y\n\n"


async def test_server_timing_tells_the_load_from_the_queue() -> None:
    async with stage(say({"choices": []}), models=model()) as scene:
        client = await waiting(scene, CHAT, stream=False)
        await asyncio.sleep(0.3)
        now, scene.leases.waited_s = scene.gateway.clock.now(), 0.3
        scene.leases.shown["m"] = InstanceView("m", "m-1", InstanceState.READY, ready_at=now, load_s=0.1)
        scene.leases.grant_all()
        queue, load = (await client.got()).headers["server-timing"].split(", ")
        assert 150 < float(queue.removeprefix("queue;dur=")) < 1000 and 50 < float(load.removeprefix("load;dur=")) < 150


@pytest.mark.parametrize("path", ["/v1/messages", "/api/chat"])
async def test_a_sign_has_the_name_that_was_asked_for_as_the_answer_has(path: str) -> None:
    spec = ModelSpec("m", aliases=("gpt-4o",), loading_state="reasoning", timeouts=QUICK)
    async with stage(write(SSE_HEAD, *STREAM), models=(spec,)) as scene:
        client = await waiting(scene, path, model="gpt-4o")
        assert (await client.head())[0] == 200
        first = await client.chunk()
        scene.leases.grant_all()
        told = events(first + await rest(client))
        names = {event.get("message", event).get("model", event.get("model")) for event in told}
        assert names - {None} == {"gpt-4o"}
