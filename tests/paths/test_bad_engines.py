"""
Every bad day of an engine on every route that is read: the client is told in its dialect, once, who failed and how; the
record says so, and nothing is held.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from corral.domain.errors import StartFailed
from corral.domain.events import RequestFinished
from corral.domain.fleet import ModelSpec, Timeouts
from corral.gateway import relay
from tests.clients import CHATS, CLIENTS, Client, Failure
from tests.paths.relay_kit import SSE_HEAD, Heard, Script, Stage, answer, chunk, say, stage, until, write

LLAMA = ("anthropic", "responses", "llama.cpp")
SPEAKS = [pytest.param(LLAMA, id="llama.cpp"), pytest.param((), id="plain")]
READ = [client for client in CLIENTS.values() if client.path not in ("/v1/chat/completions", "/v1/completions")]
STREAMS = [client for client in CHATS if client in READ]
ASKED = [(client, stream) for client in READ for stream in ((True, False) if client.stream else (False,))]
KINDS = [pytest.param(client, stream, id=f"{client.path}{' stream' if stream else ''}") for client, stream in ASKED]

HTML = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
TEXT = "Gr\u00fc\u00df Gott"


def event(**fields: Any) -> bytes:
    return b"data: %b\n\n" % json.dumps(fields, ensure_ascii=False).encode()


def piece(**delta: Any) -> bytes:
    return event(choices=[{"index": 0, "delta": delta, "finish_reason": None}])


BEGUN = [piece(role="assistant", content=None), piece(content=TEXT)]
HEARD = chunk(BEGUN[0]) + chunk(BEGUN[1])


def error(status: str, words: str, kind: str = "server_error") -> Script:
    body = {"error": {"code": int(status[:3]), "message": words, "type": kind}}
    return say(body, status=status)


async def dies(request: Heard, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def is_silent(request: Heard, writer: asyncio.StreamWriter) -> None:
    await request.until_closed()


async def falls_silent(request: Heard, writer: asyncio.StreamWriter) -> None:
    """In the middle of its answer, be it a stream or not."""
    begun = SSE_HEAD + HEARD if streams(request) else b'HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{"choices": ['
    writer.write(begun)
    await request.until_closed()


def streams(request: Heard) -> bool:
    return bool(json.loads(request.body).get("stream"))


@dataclass(frozen=True)
class Day:
    """What an engine does, and what comes of it: status, code, and how it is on record."""

    script: Script
    status: int
    code: str
    outcome: str = "engine_error"
    words: str = ""
    asked: int = 1


REFUSED = "engine_refused"
BEFORE = {
    "400": Day(error("400 Bad Request", "no such thing"), 400, REFUSED, words="no such thing"),
    "429": Day(error("429 Too Many Requests", "slowly"), 429, REFUSED, words="slowly"),
    "500": Day(error("500 Internal Server Error", "the tensors are tired"), 500, REFUSED, words="tensors are tired"),
    "503": Day(error("503 Service Unavailable", "no slot"), 503, REFUSED, words="no slot"),
    "loading for ever": Day(error("503 Service Unavailable", "Loading model"), 503, REFUSED, words="Loading", asked=3),
    "a page of a proxy": Day(
        write(answer(HTML, status="502 Bad Gateway", headers="content-type: text/html\r\n")), 502, REFUSED,
        words="Bad Gateway",
    ),
    "a redirect": Day(write(answer(b"", status="302 Found", headers="location: /\r\n")), 502, REFUSED, words="302"),
    "a refusal without a body": Day(write(answer(b"", status="500 Oh")), 500, REFUSED, words="500"),
    "a refusal that is cut": Day(
        write(b"HTTP/1.1 400 Bad\r\ncontent-length: 99\r\n\r\n{", close=True), 502, "engine_died", "engine_died"
    ),
    "no JSON": Day(write(answer(b"{")), 502, "engine_protocol_error"),
    "other JSON": Day(write(answer(b'"hello"')), 502, "engine_protocol_error"),
    "JSON of nothing": Day(write(answer(b"{}")), 502, "engine_protocol_error"),
    "a chat of nothing": Day(say({"choices": []}), 502, "engine_protocol_error"),
    "an empty body": Day(write(answer(b"")), 502, "engine_protocol_error"),
    "a page and 200": Day(write(answer(HTML, headers="content-type: text/html\r\n")), 502, "engine_protocol_error"),
    "no HTTP": Day(write(b"\x00\x01 what \r\n\r\n", close=True), 502, "engine_protocol_error"),
    "death before its first byte": Day(dies, 502, "engine_died", "engine_died", asked=2),
    "silence": Day(is_silent, 504, "engine_timeout", "timeout", "in time"),
}  # fmt: skip
WITHIN = {
    "death": Day(write(SSE_HEAD, HEARD, close=True), 200, "engine_died", "engine_died", "ended in the middle"),
    "an end too early": Day(
        write(SSE_HEAD, HEARD, b"0\r\n\r\n"), 200, "engine_died", "engine_died", "ended before its answer did"
    ),
    "an end in an event": Day(write(SSE_HEAD, HEARD, chunk(BEGUN[1][:30]), b"0\r\n\r\n"), 200, "engine_protocol_error"),
    "an error event": Day(
        write(SSE_HEAD, HEARD, chunk(event(error={"message": "out of memory", "type": "server_error"})), b"0\r\n\r\n"),
        200, "engine_failed", words="out of memory",
    ),
    "an error event, and more": Day(
        write(SSE_HEAD, HEARD, chunk(event(error={"message": "oh"})), HEARD, chunk(b"data: [DONE]\n\n"), b"0\r\n\r\n"),
        200, "engine_failed", words="oh",
    ),
    "nonsense": Day(
        write(SSE_HEAD, HEARD, chunk(b"data: {]\n\n"), b"0\r\n\r\n"), 200, "engine_protocol_error",
        words="no chat completion",
    ),
    "broken chunks": Day(
        write(SSE_HEAD + HEARD, b"zz\r\n", close=True, pause_s=0.02), 200, "engine_protocol_error"
    ),
    "an event too large": Day(
        write(SSE_HEAD, HEARD, chunk(b'data: {"choices":[' + b" " * 600_000), close=True), 200, "engine_protocol_error"
    ),
    "silence": Day(falls_silent, 200, "engine_timeout", "timeout", "in time"),
}  # fmt: skip


@contextlib.asynccontextmanager
async def serving(
    script: Script, monkeypatch: pytest.MonkeyPatch, speaks: tuple[str, ...], **timeouts: float
) -> AsyncIterator[Stage]:
    monkeypatch.setattr(relay, "LOADING_RETRIES", 2)
    monkeypatch.setattr(relay, "LOADING_PAUSE_S", 0.005)
    silent = script in (is_silent, falls_silent)  # else a machine that is busy must not make it a timeout
    limit_s = 0.3 if silent else 3.0
    async with stage(
        script, speaks=speaks, timeouts=Timeouts(**{"first_token_s": limit_s, "idle_s": limit_s, **timeouts})
    ) as scene:
        yield scene


def check(scene: Stage, record: RequestFinished, client: Client, day: Day, failure: Failure) -> None:
    assert (failure.code, failure.source) == (day.code, "engine") and day.words in failure.words
    assert (record.route, record.status, record.outcome) == (client.path, day.status, day.outcome)
    assert len(scene.upstream.heard) >= day.asked and scene.at_rest()


@pytest.mark.parametrize("speaks", SPEAKS)
@pytest.mark.parametrize("day", BEFORE)
@pytest.mark.parametrize(("client", "stream"), KINDS)
async def test_before_a_word(
    client: Client, stream: bool, day: str, speaks: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = BEFORE[day]
    async with serving(bad.script, monkeypatch, speaks) as scene:
        got = await scene.post(client.path, client.body("m", stream=stream))
        assert (got.status, got.headers["content-type"], got.complete) == (bad.status, "application/json", True)
        assert got.headers["x-corral-source"] == "engine" and got.headers["x-request-id"]
        check(scene, await scene.record.one(), client, bad, client.error(got.body))


@pytest.mark.parametrize("day", BEFORE)
@pytest.mark.parametrize("client", CHATS, ids=lambda client: client.path)
async def test_after_signs_of_life(client: Client, day: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The head is out by then, so all that remains is an event, which ends the stream."""
    bad = BEFORE[day]

    async def late(request: Heard, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.08)
        await bad.script(request, writer)

    async with serving(late, monkeypatch, (), heartbeat_s=0.02, first_token_s=0.8) as scene:
        got = await scene.post(client.path, client.body("m", stream=True))
        assert (got.status, got.complete) == (200, True)
        told = client.answer(got.body, stream=True)
        assert told.text == told.thoughts == "" and told.failure is not None and told.failure.source == "engine"
        if client in READ:
            assert told.failure.code == bad.code and bad.words in told.failure.words
        record = await scene.record.one()
        assert (record.status, record.outcome) == (200, bad.outcome) and scene.at_rest()


@pytest.mark.parametrize("client", CHATS, ids=lambda client: client.path)
@pytest.mark.parametrize("loading_state", ["comment", "reasoning"])
async def test_a_load_that_fails_after_signs_of_life(client: Client, loading_state: str) -> None:
    model = ModelSpec("m", loading_state=loading_state, timeouts=Timeouts(heartbeat_s=0.02))
    async with stage(models=(model,)) as scene:
        scene.leases.hold = True
        one = await scene.client()
        one.post(client.path, client.body("m", stream=True))
        await until(lambda: bool(scene.leases.waiting))
        await asyncio.sleep(0.1)
        scene.leases.refuse_all(StartFailed("It did not start."))
        got = await one.got()
        assert (got.status, got.complete) == (200, True)
        told = client.answer(got.body, stream=True)
        assert told.text == "" and told.failure is not None
        assert (told.failure.code, told.failure.words) == ("engine_start_failed", "It did not start.")
        assert (await scene.record.one()).outcome == "engine_error" and scene.at_rest()


@pytest.mark.parametrize("day", WITHIN)
@pytest.mark.parametrize("client", STREAMS, ids=lambda client: client.path)
async def test_in_the_middle_of_a_stream(client: Client, day: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = WITHIN[day]
    async with serving(bad.script, monkeypatch, ()) as scene:
        got = await scene.post(client.path, client.body("m", stream=True))
        assert (got.status, got.complete) == (200, True)
        told = client.answer(got.body, stream=True)
        assert told.text == TEXT and told.failure is not None
        check(scene, await scene.record.one(), client, bad, told.failure)
        assert len(got.body) < 10_000


@pytest.mark.parametrize("client", READ, ids=lambda client: client.path)
async def test_an_answer_that_stops_half_way(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(falls_silent, monkeypatch, ()) as scene:
        got = await scene.post(client.path, client.body("m", stream=False))
        assert got.status == 504 and client.error(got.body).code == "engine_timeout"
        assert (await scene.record.one()).outcome == "timeout" and scene.at_rest()


@pytest.mark.parametrize("when", ["before a word", "in the middle"])
@pytest.mark.parametrize(("client", "stream"), KINDS)
async def test_a_client_that_leaves(client: Client, stream: bool, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[float] = []

    async def works(request: Heard, writer: asyncio.StreamWriter) -> None:
        if when == "in the middle":
            writer.write(SSE_HEAD + HEARD if streams(request) else b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{")
        left.append(await request.until_closed())

    async with stage(works) as scene:
        one = await scene.client()
        one.post(client.path, client.body("m", stream=stream))
        await until(lambda: bool(scene.upstream.heard))
        if stream and when == "in the middle":
            await one.head()
            await one.chunk()
        one.writer.transport.abort()
        assert await until(scene.at_rest) < 0.1 and await until(lambda: bool(left)) < 0.5
        record = await scene.record.one()
        assert (record.outcome, record.route) == ("client_gone", client.path)
        assert record.status == (200 if stream and when == "in the middle" else record.status)
