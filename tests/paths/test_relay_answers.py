"""Good days: bytes pass untouched, heads are rebuilt, connections are reused, usage is exact."""

from __future__ import annotations

import asyncio
import json
import random

import pytest

from corral.domain.fleet import ModelSpec
from tests.paths.relay_kit import CHAT, SSE_HEAD, Heard, answer, chunk, delta, say, stage, write

CLIENT_HEADERS = (
    "Content-Type: application/json",
    "Authorization: Bearer sk-of-the-client",
    "Cookie: session=1",
    "Accept-Encoding: gzip",
    "X-Conversation-Id: 1",
    "X-Forwarded-For: 1.2.3.4",
    "Traceparent: 00-abc-def-01",
    "X-Whatever: 1",
)


async def test_the_body_passes_byte_for_byte_and_only_listed_headers_reach_the_engine() -> None:
    body = b'{ "model":"m",\n "odd"  : [1.0, 1e5, "\\u00e9\xc3\xa9"] , "model_": 1}'
    async with stage() as scene:
        got = await scene.post(CHAT + "?key=abc", body, *CLIENT_HEADERS)
        assert (got.status, got.json()) == (200, {"hello": "world"})
        heard = scene.upstream.heard[0]
        assert heard.body == body
        assert heard.line == f"POST {CHAT} HTTP/1.1"
        assert heard.headers["authorization"] == "Bearer engine-key"
        assert set(heard.headers) == {"host", "authorization", "content-type", "traceparent", "content-length"}


async def test_the_answer_is_untouched_and_its_head_rebuilt() -> None:
    text = bytes(range(256)) * 10
    head = (
        "content-type: application/json\r\naccess-control-allow-origin: *\r\nset-cookie: a=b\r\nserver: llama.cpp\r\n"
        "access-control-allow-credentials: true\r\nkeep-alive: timeout=5, max=100\r\n"
    )
    async with stage(write(answer(text, headers=head))) as scene:
        got = await scene.post(CHAT, {"model": "m"})
        assert got.body == text
        assert set(got.headers) == {"content-type", "x-corral-source", "x-request-id", "content-length", "date"}
        assert got.headers["x-corral-source"] == "engine"


async def test_a_request_id_is_echoed_and_a_bad_one_replaced() -> None:
    async with stage() as scene:
        got = await scene.post(CHAT, {"model": "m"}, "X-Request-Id: abc-123")
        assert got.headers["x-request-id"] == "abc-123"
        assert scene.upstream.heard[0].headers["x-request-id"] == "abc-123"
        got = await scene.post(CHAT, {"model": "m"}, "X-Request-Id: <script>")
        assert got.headers["x-request-id"].startswith("req-")


async def test_a_stream_is_forwarded_event_by_event() -> None:
    go = asyncio.Event()

    async def script(request: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD + chunk(delta("a")))
        await go.wait()
        writer.write(chunk(delta("b")) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")

    async with stage(script) as scene:
        client = await scene.client()
        client.post(CHAT, {"model": "m", "stream": True})
        status, headers = await client.head()
        assert (status, headers["content-type"], headers["x-accel-buffering"]) == (200, "text/event-stream", "no")
        assert await client.chunk() == delta("a")
        assert await client.silent()
        go.set()
        assert await client.chunk() == delta("b") + b"data: [DONE]\n\n"
        assert await client.chunk() == b""


@pytest.mark.parametrize("seed", range(5))
async def test_a_stream_cut_anywhere_arrives_whole(seed: int) -> None:
    rng = random.Random(seed)
    events = b"".join(delta(f"w{i} é \n") for i in range(50)) + b": ping\n\n" + b"data: [DONE]\n\n"
    wire, rest = SSE_HEAD, events
    while rest:
        size = rng.randint(1, 300)
        wire, rest = wire + chunk(rest[:size]), rest[size:]
    wire += b"0\r\n\r\n"
    cuts = sorted(rng.sample(range(1, len(wire)), 60))
    pieces = [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    async with stage(write(*pieces, pause_s=0.0005)) as scene:
        got = await scene.post(CHAT, {"model": "m", "stream": True})
        assert got.body == events and got.complete
        assert (await scene.record.one()).outcome == "ok"


async def test_an_answer_that_ends_with_its_connection_gets_a_frame() -> None:
    async with stage(write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nabc", b"def", close=True)) as scene:
        client = await scene.client()
        client.post(CHAT, {"model": "m"})
        got = await client.got()
        assert (got.body, got.complete, got.headers["transfer-encoding"]) == (b"abcdef", True, "chunked")
        client.post(CHAT, {"model": "m"})
        assert (await client.got()).body == b"abcdef"


async def test_http_1_0_clients_get_no_chunks() -> None:
    async with stage(write(SSE_HEAD, chunk(delta("a")), b"0\r\n\r\n")) as scene:
        client = await scene.client()
        client.post(CHAT, {"model": "m", "stream": True}, version="1.0")
        got = await client.got()
        assert "transfer-encoding" not in got.headers and got.headers["connection"] == "close"
        assert got.body == delta("a")


async def test_http_1_0_keep_alive() -> None:
    async with stage() as scene:
        client = await scene.client()
        for _ in range(2):
            client.post(CHAT, {"model": "m"}, "Connection: keep-alive", version="1.0")
            got = await client.got()
            assert (got.status, got.headers["connection"]) == (200, "keep-alive")
        client.post(CHAT, {"model": "m"}, version="1.0")
        assert (await client.got()).headers["connection"] == "close"
        assert await client.closed() == b""


async def test_interim_answers_are_skipped() -> None:
    early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    async with stage(write(early, answer(b"{}"))) as scene:
        got = await scene.post(CHAT, {"model": "m"})
        assert (got.status, got.body, "link" in got.headers) == (200, b"{}", False)


async def test_engine_connections_are_reused_one_request_at_a_time() -> None:
    async with stage() as scene:
        client = await scene.client()
        for _ in range(20):
            client.post(CHAT, {"model": "m"})
            assert (await client.got()).status == 200
        assert (scene.upstream.connections, len(scene.upstream.heard)) == (1, 20)
        await asyncio.gather(*(scene.post(CHAT, {"model": "m"}) for _ in range(5)))
        assert scene.upstream.connections <= 5


async def test_an_engine_that_closes_after_streams_has_a_connection_ready_for_the_next_request() -> None:
    stream = write(SSE_HEAD + chunk(delta("a")) + b"0\r\n\r\n", close=True)
    async with stage(stream) as scene:
        for _ in range(4):
            assert (await scene.post(CHAT, {"model": "m", "stream": True})).complete
            await asyncio.sleep(0.05)
        # One for each stream, and one opened ahead of need from the moment that the habit was known.
        assert len(scene.upstream.heard) == 4
        assert scene.upstream.connections == 5


async def test_the_only_model_needs_no_name() -> None:
    async with stage() as scene:
        assert (await scene.post(CHAT, {"messages": []})).status == 200
    async with stage(models=(ModelSpec("a"), ModelSpec("b"))) as scene:
        got = await scene.post(CHAT, {"messages": []})
        assert (got.status, got.code) == (400, "bad_request")
        assert "Which Model?" in got.json()["error"]["message"]


async def test_an_alias_leads_to_its_model() -> None:
    async with stage(
        models=(
            ModelSpec(
                "a",
                aliases=("gpt-4o", "x/y"),
            ),
            ModelSpec("b"),
        )
    ) as scene:
        assert (await scene.post(CHAT, {"model": "x/y"})).status == 200
        assert (await scene.record.one()).model == "a"


@pytest.mark.parametrize(
    ("tail", "counts"),
    [
        ('{"usage":{"prompt_tokens":7,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":2}}}', (7, 2, 3)),
        ('{"usage": null, "timings":{"prompt_n":5,"cache_n":4,"predicted_n":6}}', (9, 4, 6)),
        ('{"type":"message_delta","usage":{"input_tokens":8,"output_tokens":2}}', (8, None, 2)),
        ('{"choices":[]}', (None, None, None)),
        ('{"note":"\\"usage\\":{\\"prompt_tokens\\":1}"}', (None, None, None)),
        ('{"usage":{"prompt_tokens":"many"}}', (None, None, None)),
        ('{"usage":{"prompt_tokens":7', (None, None, None)),
    ],
)
async def test_usage_is_what_the_engine_said_and_nothing_else(tail: str, counts: tuple[int | None, ...]) -> None:
    events = delta("") + delta("hi") + f"data: {tail}\n\n".encode() + b"data: [DONE]\n\n"
    async with stage(write(SSE_HEAD + chunk(events) + b"0\r\n\r\n")) as scene:
        await scene.post(CHAT, {"model": "m", "stream": True})
        done = await scene.record.one()
        assert (done.prompt_tokens, done.cached_tokens, done.completion_tokens) == counts
        assert done.stream and done.ttft_s is not None
    async with stage(write(answer(tail.encode()))) as scene:
        await scene.post(CHAT, {"model": "m"})
        done = await scene.record.one()
        assert (done.prompt_tokens, done.cached_tokens, done.completion_tokens) == counts
        assert done.ttft_s is None


async def test_the_first_token_is_the_first_that_says_something() -> None:
    go = asyncio.Event()

    async def script(request: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD + chunk(b'data: {"choices":[{"delta":{"role":"assistant","content":null}}]}\n\n'))
        await go.wait()
        writer.write(chunk(b'data: {"choices":[{"delta":{"reasoning_content":"hm"}}]}\n\n') + b"0\r\n\r\n")

    async with stage(script) as scene:
        client = await scene.client()
        client.post(CHAT, {"model": "m", "stream": True})
        await client.head()
        await client.chunk()
        await asyncio.sleep(0.1)
        go.set()
        await client.chunk()
        done = await scene.record.one()
        assert done.ttft_s is not None and done.ttft_s >= 0.095  # uvloop counts whole milliseconds


async def test_what_is_published_of_a_request() -> None:
    async with stage(say({"usage": {"prompt_tokens": 1, "completion_tokens": 2}})) as scene:
        got = await scene.post("/v1/completions", {"model": "m"}, "X-Request-Id: r1")
        done = await scene.record.one()
        assert (done.model, done.route, done.status, done.caller) == ("m", "/v1/completions", 200, "local")
        assert (done.outcome, done.request_id, done.stream, done.instance) == ("ok", "r1", False, "m-1")
        assert done.bytes_out == len(got.body) and done.duration_s >= 0 and done.queue_s == 0
        assert scene.at_rest()


async def test_an_error_of_the_engine_passes_with_its_source() -> None:
    body = json.dumps({"error": {"code": 400, "message": "no", "type": "invalid_request_error"}}).encode()
    async with stage(write(answer(body, status="400 Bad Request"))) as scene:
        got = await scene.post(CHAT, {"model": "m"})
        assert (got.status, got.body, got.headers["x-corral-source"]) == (400, body, "engine")
        assert (await scene.record.one()).outcome == "engine_error"


async def test_an_engine_that_says_it_is_still_loading_is_asked_again() -> None:
    times = 3

    async def script(request: Heard, writer: asyncio.StreamWriter) -> None:
        nonlocal times
        times -= 1
        if times >= 0:
            loading = b'{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}'
            writer.write(answer(loading, status="503 Service Unavailable"))
        else:
            writer.write(answer(b'{"ok":1}'))

    async with stage(script) as scene:
        got = await scene.post(CHAT, {"model": "m"})
        assert (got.status, got.body) == (200, b'{"ok":1}')
        assert scene.leases.asked == 1


async def test_another_503_of_the_engine_passes() -> None:
    body = b'{"error":{"code":503,"message":"no slot","type":"unavailable_error"}}'
    async with stage(write(answer(body, status="503 Service Unavailable"))) as scene:
        got = await scene.post(CHAT, {"model": "m"})
        assert (got.status, got.body, len(scene.upstream.heard)) == (503, body, 1)


async def test_weightless_routes_take_no_slot() -> None:
    async with stage() as scene:
        for path in ("/tokenize", "/detokenize", "/apply-template", "/v1/chat/completions/input_tokens", CHAT):
            assert (await scene.post(path, {"model": "m"})).status == 200
        assert (await scene.get("/props?model=m")).status == 200
        assert (await scene.get("/slots?model=m&fail_on_no_slot=1")).status == 200
        assert scene.leases.weights == [0, 0, 0, 0, 1, 0, 0]
        assert scene.upstream.heard[-1].line == "GET /slots?model=m&fail_on_no_slot=1 HTTP/1.1"


async def test_gets_do_not_load() -> None:
    async with stage() as scene:
        scene.leases.endpoints.clear()
        got = await scene.get("/props?model=m")
        assert (got.status, got.code, scene.leases.asked) == (409, "conflict", 0)


async def test_a_transcription_finds_its_model_in_the_form() -> None:
    form = (
        b'--XX\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'
        b"RIFF\r\n--X not a boundary\x00\xff\r\n"
        b'--XX\r\nContent-Disposition: form-data; name="model"\r\n\r\nb\r\n--XX--\r\n'
    )
    async with stage(models=(ModelSpec("a"), ModelSpec("b"))) as scene:
        got = await scene.post("/v1/audio/transcriptions", form, "Content-Type: multipart/form-data; boundary=XX")
        assert got.status == 200
        assert scene.upstream.heard[0].body == form
        assert scene.upstream.heard[0].headers["content-type"] == "multipart/form-data; boundary=XX"
        assert (await scene.record.one()).model == "b"
