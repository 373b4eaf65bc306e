"""Clients that send too much, too slowly, or what two parsers could read in two ways."""

from __future__ import annotations

import asyncio
import json

import pytest

from corral.domain.fleet import ModelSpec
from corral.gateway.connection import AHEAD_LIMIT
from tests.paths.relay_kit import (
    CHAT,
    SSE_HEAD,
    Heard,
    answer,
    chunk,
    delta,
    stage,
    until,
    write,
)

BODY = b'{"model":"m"}'
POST = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\n".encode()
SMUGGLED = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 13\r\n\r\n" + BODY

MALFORMED: dict[str, tuple[bytes, int]] = {
    "no request at all": (b"hello\r\n\r\n", 400),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n", 400),
    "two lengths": (POST + b"Content-Length: 13\r\nContent-Length: 14\r\n\r\n" + BODY, 400),
    "the same length twice": (POST + b"Content-Length: 13\r\nContent-Length: 13\r\n\r\n" + BODY, 400),
    "a list of lengths": (POST + b"Content-Length: 13, 13\r\n\r\n" + BODY, 400),
    "a negative length": (POST + b"Content-Length: -1\r\n\r\n" + BODY, 400),
    "a length with a sign": (POST + b"Content-Length: +13\r\n\r\n" + BODY, 400),
    "a hexadecimal length": (POST + b"Content-Length: 0xd\r\n\r\n" + BODY, 400),
    "a length beyond all": (POST + b"Content-Length: 99999999999999999999\r\n\r\n" + BODY, 400),
    "a blank before the colon": (POST + b"Content-Length : 13\r\n\r\n" + BODY, 400),
    "length and chunks": (POST + b"Content-Length: 13\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED, 400),
    "chunks and length": (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED, 400),
    "chunked, identity": (POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
    "identity": (POST + b"Transfer-Encoding: identity\r\n\r\n", 400),
    "gzip, chunked": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    "xchunked": (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    "chunked twice": (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "a tab before chunked": (POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    "chunks in 1.0": (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "bare LF": (b"GET /health HTTP/1.1\nHost: localhost\n\n", 400),
    "bare LF in a header": (b"GET /health HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n", 400),
    "bare CR in a header": (b"GET /health HTTP/1.1\r\nHost: localhost\rX: y\r\n\r\n", 400),
    "LF at the end": (b"GET /health HTTP/1.1\r\nHost: localhost\r\n\n", 400),
    "a folded header": (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n", 400),
    "NUL in a header": (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n", 400),
    "NUL in the path": (b"GET /\0 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "a header without a colon": (b"GET / HTTP/1.1\r\nHost: localhost\r\nX\r\n\r\n", 400),
    "a header without a name": (b"GET / HTTP/1.1\r\nHost: localhost\r\n: x\r\n\r\n", 400),
    "two spaces": (b"GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "a space in the path": (b"GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "an unknown method": (b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "no host": (b"GET /health HTTP/1.1\r\n\r\n", 400),
    "an empty host": (b"GET /health HTTP/1.1\r\nHost:\r\n\r\n", 400),
    "two hosts": (b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
    "a host with a path": (b"GET /health HTTP/1.1\r\nHost: localhost/health\r\n\r\n", 400),
    "a host with a query": (b"GET /health HTTP/1.1\r\nHost: localhost?x\r\n\r\n", 400),
    "a host with a fragment": (b"GET /health HTTP/1.1\r\nHost: localhost#x\r\n\r\n", 400),
    "a host with a user": (b"GET /health HTTP/1.1\r\nHost: a@localhost\r\n\r\n", 400),
    "a host that is too long": (b"GET /health HTTP/1.1\r\nHost: " + b"a" * 300 + b"\r\n\r\n", 400),
    "an absolute target": (b"GET http://localhost/health HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "a tunnel": (b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /health\r\n\r\n", 400),
    "HTTP/2": (b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", 505),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "HTTP/1.2": (b"GET / HTTP/1.2\r\nHost: localhost\r\n\r\n", 400),
    "two keys": (POST + b"Authorization: a\r\nAuthorization: b\r\nContent-Length: 0\r\n\r\n", 400),
    "many headers": (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
    "a long header": (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 40_000 + b"\r\n\r\n", 431),
    "a head without end": (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 40_000, 431),
    "a body over the cap": (POST + b"Content-Length: 70000000\r\n\r\n", 413),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_what_cannot_be_trusted_is_answered_once_and_the_connection_closed(name: str) -> None:
    sent, status = MALFORMED[name]
    async with stage() as scene:
        client = await scene.client()
        client.send(sent)
        got = await client.got()
        assert got.status == status
        assert got.headers["connection"] == "close"
        assert got.headers["x-corral-source"] == "corral"
        assert got.json()["error"]["message"]
        client.writer.write_eof()
        assert await client.closed() == b""  # what came after it got no answer
        assert scene.upstream.heard == []
        await until(lambda: scene.gateway.connections == 0)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"3\nabc\r\n0\r\n\r\n", "CRLF"),
        (b"3\r\nabcd\r\n0\r\n\r\n", "longer"),
        (b"0x3\r\nabc\r\n0\r\n\r\n", "size"),
        (b"-1\r\n\r\n", "size"),
        (b"3 \r\nabc\r\n0\r\n\r\n", "size"),
        (b"ffffffffffffffffffff\r\n", "size"),
        (b"1" * 2000, "too long"),
        (b"1;" + b"x" * 2000 + b"\r\na\r\n0\r\n\r\n", "too long"),
        (b"0\r\n" + b"X: y\r\n" * 5000 + b"\r\n", "too many"),
    ],
)
async def test_broken_chunks(body: bytes, message: str) -> None:
    async with stage() as scene:
        client = await scene.client()
        client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n" + body)
        got = await client.got()
        assert (got.status, got.headers["connection"]) == (400, "close")
        assert message in got.json()["error"]["message"]
        assert scene.upstream.heard == []


async def test_a_chunked_body_arrives_whole_however_it_is_cut() -> None:
    body = json.dumps({"model": "m", "x": "y" * 1000}).encode()
    wire = b"".join(chunk(body[i : i + 7]) for i in range(0, len(body), 7)) + b"0\r\nTrailer: x\r\n\r\n"
    async with stage() as scene:
        client = await scene.client()
        for size in (1, 2, 3, 50, 10_000):
            client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n")
            for at in range(0, len(wire), size):
                client.send(wire[at : at + size])
                if size < 4:
                    await asyncio.sleep(0)
            assert (await client.got()).status == 200
            assert scene.upstream.heard[-1].body == body
            assert "transfer-encoding" not in scene.upstream.heard[-1].headers


async def test_pipelined_requests_are_answered_in_order_one_at_a_time() -> None:
    running = most = 0

    async def script(request: Heard, writer: asyncio.StreamWriter) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01 if b'"n": 0' in request.body else 0)
        running -= 1
        writer.write(answer(request.body))

    async with stage(script) as scene:
        client = await scene.client()
        sent = []
        for n in range(20):
            body = json.dumps({"model": "m", "n": n}).encode()
            sent.append(body)
            if n % 3:
                client.post(CHAT, body)
            else:
                client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(body) + b"0\r\n\r\n")
        assert [(await client.got()).body for _ in sent] == sent
        assert most == 1


async def test_pipelined_requests_of_all_kinds_keep_their_order() -> None:
    async with stage(models=(ModelSpec("a"), ModelSpec("b"))) as scene:
        client = await scene.client()
        client.post(CHAT, {"model": "nope"})
        client.post(CHAT, b"{")
        client.get("/nowhere")
        client.post(CHAT, {"model": "a"})
        client.get(CHAT)
        client.send(b"\r\n")  # an empty line between requests is tolerated
        client.post(CHAT, {"model": "b"})
        assert [(await client.got()).status for _ in range(6)] == [404, 400, 404, 200, 405, 200]


async def test_thousands_of_refused_requests_in_one_packet() -> None:
    async with stage() as scene:
        client = await scene.client()
        client.send(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1500)
        for _ in range(1500):
            assert (await client.got()).status == 404


@pytest.mark.parametrize("reset", [False, True])
async def test_a_flood_of_pipelined_bytes_is_not_held_and_the_departure_is_seen_all_the_same(reset: bool) -> None:
    closed = asyncio.Event()

    async def script(request: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD + chunk(delta("a")))
        await request.until_closed()
        closed.set()

    async with stage(script) as scene:
        client = await scene.client()
        client.post(CHAT, {"model": "m", "stream": True})
        await client.head()
        client.send(b"x" * (AHEAD_LIMIT + 20_000))
        await until(lambda: bool(scene.gateway.paused))
        connection = next(iter(scene.gateway.paused))
        assert len(connection._ahead) < 2 * AHEAD_LIMIT
        if reset:
            client.writer.transport.abort()
        else:
            client.writer.close()
        await asyncio.wait_for(closed.wait(), 0.5)
        await until(scene.at_rest)
        assert (await scene.record.one()).outcome == "client_gone"


async def test_reading_goes_on_after_a_flood() -> None:
    go = asyncio.Event()

    async def script(request: Heard, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        writer.write(answer(b"%d" % len(request.body)))

    async with stage(script) as scene:
        client = await scene.client()
        client.post(CHAT, {"model": "m"})
        big = json.dumps({"model": "m", "x": "y" * 3_000_000}).encode()
        client.post(CHAT, big)
        await until(lambda: bool(scene.gateway.paused))
        go.set()
        assert (await client.got()).body == b"14"
        assert (await client.got()).body == b"%d" % len(big)


async def test_a_body_over_the_cap_is_refused_before_it_is_sent() -> None:
    async with stage(body_limit_bytes=1000) as scene:
        client = await scene.client()
        client.send(POST + b"Content-Length: 1001\r\nExpect: 100-continue\r\n\r\n")
        got = await client.got()
        assert (got.status, got.code) == (413, "body_too_large")
        client.send(b"x" * 1001)
        client.writer.write_eof()
        assert await client.closed() == b""
        assert (await scene.record.one()).status == 413


async def test_a_client_that_sends_all_of_a_refused_body_still_reads_the_answer() -> None:
    async with stage(body_limit_bytes=1000) as scene:
        client = await scene.client()
        client.post(CHAT, b"x" * 3_000_000)
        assert (await client.got()).status == 413


async def test_a_chunked_body_over_the_cap() -> None:
    async with stage(body_limit_bytes=1000) as scene:
        client = await scene.client()
        client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(b"x" * 600))
        await asyncio.sleep(0.02)
        client.send(chunk(b"x" * 600))
        assert (await client.got()).status == 413
        assert scene.at_rest()


async def test_all_bodies_together_have_a_cap() -> None:
    never = asyncio.Event()

    async def script(request: Heard, writer: asyncio.StreamWriter) -> None:
        await never.wait()

    async with stage(script, body_total_bytes=2500) as scene:
        body = json.dumps({"model": "m", "x": "y" * 980}).encode()
        clients = [await scene.client() for _ in range(3)]
        for client in clients:
            client.post(CHAT, body)
            await asyncio.sleep(0.02)
        got = await clients[2].got()
        assert (got.status, got.code) == (503, "busy") and "retry-after" in got.headers
        for client in clients:
            client.writer.transport.abort()
        await until(lambda: scene.gateway.bodies.held == 0)


async def test_expect_100_continue() -> None:
    async with stage() as scene:
        client = await scene.client()
        client.send(POST + b"Content-Length: 13\r\nExpect: 100-continue\r\n\r\n")
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(BODY)
        assert (await client.got()).status == 200
        # A client that does not wait is not told to go on.
        client.send(POST + b"Content-Length: 13\r\nExpect: 100-continue\r\n\r\n" + BODY)
        assert (await client.got()).status == 200
        client.send(POST + b"Content-Length: 13\r\nExpect: a miracle\r\n\r\n")
        assert (await client.got()).status == 400


async def test_websockets_are_refused_and_an_offer_of_http_2_is_passed_over() -> None:
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n"
    async with stage() as scene:
        client = await scene.client()
        client.send(POST + upgrade + b"Content-Length: 13\r\n\r\n" + BODY)
        assert (await client.got()).status == 200
        assert scene.upstream.heard[0].body == BODY
        assert "upgrade" not in scene.upstream.heard[0].headers
        client.get("/upstream/m/x", "Connection: Upgrade", "Upgrade: websocket")
        got = await client.got()
        assert got.status == 400 and "websocket" in got.json()["error"]["message"]


async def test_slow_heads_and_bodies_are_cut_off() -> None:
    async with stage(header_timeout_s=0.2, body_timeout_s=0.2) as scene:
        head, body, silent = [await scene.client() for _ in range(3)]

        async def drip() -> None:
            for byte in POST:
                head.send(bytes([byte]))
                await asyncio.sleep(0.01)

        task = asyncio.get_running_loop().create_task(drip())
        body.send(POST + b"Content-Length: 13\r\n\r\n{")
        assert (await head.got()).status == 408
        assert (await body.got()).status == 408
        assert await silent.closed(1.0) == b""
        task.cancel()
        assert (await scene.record.one()).outcome == "timeout"
        await until(
            lambda: scene.gateway.connections == 0 or all(c.deadline < 1e300 for c in scene.gateway._connections)
        )


async def test_a_body_that_keeps_coming_is_not_cut_off() -> None:
    async with stage(body_timeout_s=0.2) as scene:
        client = await scene.client()
        client.send(POST + b"Content-Length: 13\r\n\r\n")
        for byte in BODY:
            client.send(bytes([byte]))
            await asyncio.sleep(0.03)
        assert (await client.got()).status == 200


async def test_idle_connections_end_and_used_ones_live() -> None:
    async with stage(keepalive_s=0.3) as scene:
        client = await scene.client()
        for _ in range(4):
            client.post(CHAT, {"model": "m"})
            assert (await client.got()).status == 200
            await asyncio.sleep(0.15)
        assert await client.closed(1.0) == b""


async def test_one_connection_too_many_is_told_so() -> None:
    async with stage(max_connections=2) as scene:
        first, second = await scene.client(), await scene.client()
        await until(lambda: scene.gateway.connections == 2)
        third = await scene.client()
        got = await third.got()
        assert (got.status, got.code) == (503, "busy")
        first.post(CHAT, {"model": "m"})
        assert (await first.got()).status == 200
        second.writer.close()
        third.writer.close()
        await until(lambda: scene.gateway.connections == 1)
        assert (await scene.post(CHAT, {"model": "m"})).status == 200


async def test_a_reader_that_stops_holds_little_and_is_dropped_in_the_end() -> None:
    sent = 0

    async def script(request: Heard, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(SSE_HEAD)
        for _ in range(2000):
            event = chunk(delta("x" * 10_000))
            writer.write(event)
            await writer.drain()
            sent += len(event)

    async with stage(script, body_timeout_s=0.5) as scene:
        client = await scene.client()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.post(CHAT, {"model": "m", "stream": True})
        await until(lambda: sent > 500_000)
        await asyncio.sleep(0.2)
        connection = next(iter(scene.gateway._connections))
        assert connection.transport.get_write_buffer_size() < 1_000_000
        before = sent
        await asyncio.sleep(0.1)
        assert sent == before < 15_000_000  # the engine waits too
        await until(lambda: scene.gateway.connections == 0)
        assert (await scene.record.one()).outcome == "client_gone"
        assert scene.at_rest()


async def test_a_slow_reader_gets_everything() -> None:
    events = b"".join(delta("x" * 5000) for _ in range(1000))
    pieces = [SSE_HEAD] + [chunk(events[i : i + 65536]) for i in range(0, len(events), 65536)] + [b"0\r\n\r\n"]
    async with stage(write(*pieces)) as scene:
        client = await scene.client()
        client.post(CHAT, {"model": "m", "stream": True})
        await client.head()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(0.3)
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        out = b""
        while piece := await client.chunk():
            out += piece
        assert out == events


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"[1]", "object"),
        (b'{"model":"m"', "JSON"),
        (b'{"model":"m"} x', "JSON"),
        (b'{"model":1}', "model"),
        (b'{"model":["m"]}', "model"),
        (b'{"model":"m","stream":"yes"}', "stream"),
        (b"[" * 100_000, ""),
        (b'{"model":' + b"[" * 100_000, ""),
        (b"\xff\xfe", "JSON"),
    ],
)
async def test_bodies_that_make_no_sense(body: bytes, message: str) -> None:
    async with stage() as scene:
        client = await scene.client()
        client.post(CHAT, body)
        got = await client.got()
        assert (got.status, got.code) == (400, "bad_request")
        assert message in got.json()["error"]["message"]
        assert scene.leases.asked == 0
        client.post(CHAT, {"model": "m"})  # the connection is still good
        assert (await client.got()).status == 200
        assert [done.outcome for done in scene.record.finished] == ["refused", "ok"]


async def test_an_unknown_model_is_404_with_near_names() -> None:
    async with stage(
        models=(ModelSpec("qwen3-coder"), ModelSpec("llama"), ModelSpec("secret-qwen", unlisted=True))
    ) as s:
        got = await s.post(CHAT, {"model": "qwen3-codr"})
        assert (got.status, got.code) == (404, "model_not_found")
        assert "'qwen3-coder'" in got.json()["error"]["message"]
        assert got.json()["error"]["param"] == "model"
        assert (await s.record.one()).model == ""  # what a client invents is no label
