"""Engines that send too much, too little, nothing, or what is not HTTP."""

from __future__ import annotations

import asyncio
import json
import socket
import struct

import pytest

from corral.domain.errors import NoMemory, QueueFull, StartFailed
from corral.domain.events import StateChanged
from corral.domain.fleet import ModelSpec, Timeouts
from corral.domain.instance import InstanceState
from corral.domain.launch import Endpoint
from tests.paths.relay_kit import (
    CHAT,
    SSE_HEAD,
    Heard,
    Upstream,
    answer,
    chunk,
    delta,
    say,
    stage,
    until,
    write,
)

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
PLAIN = "/v1/completions"  # a whole chat is held until it is complete, and cut off as an error
STREAM = {"model": "m", "stream": True}

NOT_HTTP: dict[str, bytes] = {
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "a status out of range": b"HTTP/1.1 999 X\r\ncontent-length: 0\r\n\r\n",
    "two lengths": OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    "length and chunks": OK + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "an unknown coding": OK + b"transfer-encoding: gzip\r\n\r\n{}",
    "bare LF": b"HTTP/1.1 200 OK\ncontent-length: 2\n\n{}",
    "a folded header": OK + b"x: a\r\n b\r\ncontent-length: 2\r\n\r\n{}",
    "a header with NUL": OK + b"x: a\0\r\ncontent-length: 2\r\n\r\n{}",
    "an endless head": OK + b"x: y\r\n" * 20_000,
    "a switch of protocols": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
}


@pytest.mark.parametrize("name", NOT_HTTP)
async def test_what_is_not_http_is_a_502_and_the_connection_is_dropped(name: str) -> None:
    async with stage(write(NOT_HTTP[name])) as scene:
        client = await scene.client()
        client.post(CHAT, {"model": "m"})
        got = await client.got()
        assert (got.status, got.code) == (502, "engine_protocol_error")
        assert got.headers["x-corral-source"] == "engine" == got.json()["error"]["source"]
        scene.upstream.script = say({"ok": 1})
        client.post(CHAT, {"model": "m"})
        assert (await client.got()).json() == {"ok": 1}
        assert scene.upstream.connections == 2
        assert scene.record.finished[0].outcome == "engine_error"
        await until(scene.at_rest)


@pytest.mark.parametrize(
    "extra",
    [
        b"GARBAGE",
        answer(b'{"for":"somebody else"}'),
        b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{",
    ],
)
async def test_what_comes_after_an_answer_reaches_nobody(extra: bytes) -> None:
    async with stage(write(answer(b'{"n":1}') + extra)) as scene:
        client = await scene.client()
        client.post(CHAT, {"model": "m"})
        assert (await client.got()).body == b'{"n":1}'
        scene.upstream.script = write(answer(b'{"n":2}'))
        client.post(CHAT, {"model": "m"})
        assert (await client.got()).body == b'{"n":2}'
        assert await client.silent()
        assert scene.upstream.connections == 2


async def test_what_comes_later_on_an_idle_connection_reaches_nobody() -> None:
    async def script(request: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(b'{"n":1}'))
        await asyncio.sleep(0.05)
        writer.write(answer(b'{"late":1}'))

    async with stage(script) as scene:
        client = await scene.client()
        client.post(CHAT, {"model": "m"})
        assert (await client.got()).body == b'{"n":1}'
        await asyncio.sleep(0.15)
        scene.upstream.script = write(answer(b'{"n":2}'))
        client.post(CHAT, {"model": "m"})
        assert (await client.got()).body == b'{"n":2}'
        assert scene.upstream.connections == 2


async def test_a_chunked_answer_with_a_second_one_behind() -> None:
    wire = SSE_HEAD + chunk(delta("a")) + b"0\r\n\r\n" + SSE_HEAD + chunk(delta("of another")) + b"0\r\n\r\n"
    async with stage(write(wire)) as scene:
        got = await scene.post(CHAT, STREAM)
        assert (got.body, got.complete) == (delta("a"), True)


async def test_two_hundred_answers_never_mix() -> None:
    """Engines that misbehave at random, clients that each want their own number back."""

    async def script(request: Heard, writer: asyncio.StreamWriter) -> None:
        n = json.loads(request.body)["n"]
        body = json.dumps({"n": n}).encode()
        match n % 6:
            case 0:
                writer.write(answer(body) + answer(b'{"n": "wrong"}'))
            case 1:
                writer.write(answer(body)[:-3])
                writer.close()
            case 2:
                writer.write(OK + b"\r\n" + body)
                writer.close()
            case 3:
                writer.write(answer(body) + b"junk")
            case 4:
                writer.write(SSE_HEAD + chunk(b"data: " + body + b"\n\n"))
                await asyncio.sleep(0.001)
                writer.write(b"0\r\n\r\n")
            case _:
                writer.write(answer(body))

    async with stage(script) as scene:

        async def one(n: int) -> None:
            got = await scene.post(PLAIN, {"model": "m", "n": n})
            assert got.status == 200
            text = got.body.removeprefix(b"data: ")
            whole = json.dumps({"n": n}).encode()
            if n % 6 == 1:
                assert not got.complete and whole.startswith(text)
            else:
                assert got.complete and text.strip() == whole

        for start in range(0, 200, 20):
            await asyncio.gather(*(one(n) for n in range(start, start + 20)))
        assert scene.at_rest()
        assert len(scene.record.finished) == 200


async def test_an_answer_that_is_too_short_is_cut_off_for_the_client_too() -> None:
    async with stage(write(OK + b"content-length: 100\r\n\r\n{", close=True)) as scene:
        got = await scene.post(PLAIN, {"model": "m"})
        assert (got.status, got.body, got.complete) == (200, b"{", False)
        done = await scene.record.one()
        assert (done.outcome, done.status) == ("engine_died", 200)
        assert scene.leases.broken == 1


async def test_a_stream_that_breaks_ends_with_one_error_event_and_no_success_mark() -> None:
    half = b'data: {"choices":[{"delta":{"content":"half an ev'
    async with stage(write(SSE_HEAD + chunk(delta("a")) + chunk(half), close=True)) as scene:
        got = await scene.post(CHAT, STREAM)
        events = got.body.decode().split("\n\n")
        assert events[0] + "\n\n" == delta("a").decode()
        error = json.loads(events[1].removeprefix("data: "))["error"]
        assert (error["code"], error["source"]) == ("engine_died", "engine")
        assert events[2:] == [""]
        assert b"half an ev" not in got.body and b"[DONE]" not in got.body
        assert (await scene.record.one()).outcome == "engine_died"


async def test_a_stream_of_broken_chunks_ends_the_same_way() -> None:
    async with stage(write(SSE_HEAD + chunk(delta("a")), b"xyz\r\n", pause_s=0.02)) as scene:
        got = await scene.post(CHAT, STREAM)
        assert got.body.startswith(delta("a"))
        assert got.body.count(b"engine_protocol_error") == 1


async def test_an_engine_that_dies_before_it_answers_is_tried_once_more_with_a_new_lease() -> None:
    times = 0

    async def script(request: Heard, writer: asyncio.StreamWriter) -> None:
        nonlocal times
        times += 1
        if times == 1:
            writer.close()
        else:
            writer.write(answer(b'{"ok":1}'))

    async with stage(script) as scene:
        got = await scene.post(CHAT, {"model": "m"})
        assert (got.status, got.body) == (200, b'{"ok":1}')
        assert (scene.leases.asked, scene.leases.broken) == (2, 1)
        assert (await scene.record.one()).outcome == "ok"


async def test_the_new_lease_may_lead_to_another_engine_with_another_key() -> None:
    second = Upstream(say({"from": "second"}))
    await second.start()
    try:
        async with stage() as scene:

            async def dies(request: Heard, writer: asyncio.StreamWriter) -> None:
                scene.leases.move("m", Endpoint(host="127.0.0.1", port=second.endpoint.port, key="other-key"))
                writer.close()

            scene.upstream.script = dies
            assert (await scene.post(CHAT, {"model": "m"})).json() == {"from": "second"}
            assert second.heard[0].headers["authorization"] == "Bearer other-key"
    finally:
        await second.stop()


async def test_the_same_head_goes_to_each_engine_with_its_own_key_and_to_the_route_that_was_meant() -> None:
    second = Upstream(say({"from": "second"}))
    await second.start()
    try:
        async with stage(say({"from": "first"}), models=(ModelSpec("a"), ModelSpec("b"))) as scene:
            scene.leases.move("b", Endpoint(host="127.0.0.1", port=second.endpoint.port, key="other-key"))
            client = await scene.client()
            for model, whose in (("a", "first"), ("b", "second"), ("b", "second"), ("a", "first"), ("b", "second")):
                client.post(CHAT, {"model": model}, "x-request-id: mine")
                assert (await client.got()).json() == {"from": whose}
            for engine, key in ((scene.upstream, scene.upstream.endpoint.key), (second, "other-key")):
                assert {heard.headers["authorization"] for heard in engine.heard} == {f"Bearer {key}"}
                assert {heard.headers["host"] for heard in engine.heard} == {f"127.0.0.1:{engine.endpoint.port}"}
                assert {heard.headers["x-request-id"] for heard in engine.heard} == {"mine"}
    finally:
        await second.stop()


async def test_an_engine_that_dies_twice_is_a_502() -> None:
    async with stage(write(close=True)) as scene:
        got = await scene.post(CHAT, {"model": "m"})
        assert (got.status, got.code) == (502, "engine_died")
        assert (scene.leases.asked, scene.leases.broken) == (2, 2)
        done = await scene.record.one()
        assert (done.outcome, done.status) == ("engine_died", 502)


async def test_an_engine_that_refuses_connections_is_a_502() -> None:
    async with stage() as scene:
        await scene.upstream.stop()
        got = await scene.post(CHAT, {"model": "m"})
        assert (got.status, got.code) == (502, "engine_died")
        assert (scene.leases.asked, scene.leases.broken) == (2, 2)
        assert scene.at_rest()


async def test_a_reused_connection_that_dies_costs_no_lease() -> None:
    async with stage() as scene:
        client = await scene.client()
        client.post(CHAT, {"model": "m"})
        await client.got()
        served = len(scene.upstream.heard)

        async def dies_once(request: Heard, writer: asyncio.StreamWriter) -> None:
            scene.upstream.script = say({"again": 1})
            writer.close()

        scene.upstream.script = dies_once
        client.post(CHAT, {"model": "m"})
        assert (await client.got()).json() == {"again": 1}
        assert (scene.leases.asked, scene.leases.broken) == (2, 0)
        assert len(scene.upstream.heard) == served + 2


async def test_a_request_is_not_sent_again_once_a_byte_of_an_answer_came() -> None:
    async with stage(write(b"HTTP/1.1 2", close=True)) as scene:
        got = await scene.post(CHAT, {"model": "m"})
        assert (got.status, len(scene.upstream.heard)) == (502, 1)


async def test_an_answer_before_the_request_was_sent_whole() -> None:
    """The engine refuses a large body early, without reading it: its connection is not fit for another request."""
    ended = asyncio.Event()
    connections = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(b'{"too":"large"}', status="413 Payload Too Large"))
        await ended.wait()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with stage() as scene:
        scene.leases.move("m", Endpoint(host="127.0.0.1", port=server.sockets[0].getsockname()[1]))
        for count in (1, 2):
            got = await scene.post(CHAT, {"model": "m", "x": "y" * 20_000_000})
            assert (got.status, got.json(), connections) == (413, {"too": "large"}, count)
        ended.set()
        await until(lambda: not len(scene.gateway.links))
    server.close()


async def test_an_answer_without_length_that_is_reset_is_not_complete() -> None:
    async def script(request: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"\r\n" + b"half of it")
        await asyncio.sleep(0.05)
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    async with stage(script) as scene:
        got = await scene.post(PLAIN, {"model": "m"})
        assert (got.body, got.complete) == (b"half of it", False)
        assert (await scene.record.one()).outcome == "engine_died"


async def test_an_engine_that_says_for_ever_that_it_is_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corral.gateway.relay.LOADING_RETRIES", 3)
    body = b'{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}'
    async with stage(write(answer(body, status="503 Service Unavailable"))) as scene:
        got = await scene.post(CHAT, {"model": "m"})
        assert (got.status, got.body, len(scene.upstream.heard)) == (503, body, 4)


async def test_an_engine_that_never_begins_is_a_504() -> None:
    async def script(request: Heard, writer: asyncio.StreamWriter) -> None:
        await request.until_closed()

    async with stage(script, timeouts=Timeouts(first_token_s=0.2)) as scene:
        got = await scene.post(CHAT, {"model": "m"})
        assert (got.status, got.code) == (504, "engine_timeout")
        assert (await scene.record.one()).outcome == "timeout"
        await until(lambda: not len(scene.gateway.links))
        assert scene.at_rest()


async def test_an_engine_that_falls_silent_ends_with_an_error_event() -> None:
    async def script(request: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD + chunk(delta("a")))
        await request.until_closed()

    async with stage(script, timeouts=Timeouts(idle_s=0.2)) as scene:
        got = await scene.post(CHAT, STREAM)
        assert got.body.startswith(delta("a")) and got.body.count(b"engine_timeout") == 1
        await until(lambda: not len(scene.gateway.links))


async def test_an_engine_that_goes_on_for_ever_is_stopped() -> None:
    async def script(request: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD)
        while not writer.is_closing():
            writer.write(chunk(delta("a")))
            await asyncio.sleep(0.05)

    async with stage(script, timeouts=Timeouts(total_s=0.5)) as scene:
        got = await scene.post(CHAT, STREAM)
        assert got.body.count(delta("a")) >= 5 and got.body.count(b"engine_timeout") == 1


async def test_an_engine_that_drips_is_not_silent() -> None:
    async def script(request: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD)
        for byte in delta("abcdefgh"):
            writer.write(chunk(bytes([byte])))
            await asyncio.sleep(0.02)
        writer.write(b"0\r\n\r\n")

    async with stage(script, timeouts=Timeouts(idle_s=0.8)) as scene:
        got = await scene.post(CHAT, STREAM)
        assert (got.body, got.complete) == (delta("abcdefgh"), True)


async def test_the_queue_timeout_is_the_schedulers_and_has_a_net_below_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corral.gateway.relay.QUEUE_GRACE_S", 0.1)
    async with stage(timeouts=Timeouts(queue_s=0.2)) as scene:
        scene.leases.hold = True
        client = await scene.client()
        client.post(CHAT, {"model": "m"})
        await until(lambda: bool(scene.leases.waiting))
        assert scene.leases.waiting[0].timeout_s == 0.2
        got = await client.got()
        assert (got.status, got.code) == (503, "queue_timeout") and "retry-after" in got.headers
        assert scene.leases.left == 1


async def test_refusals_of_the_scheduler() -> None:
    async with stage() as scene:
        scene.leases.refuse_with = QueueFull(retry_after_s=2.4)
        got = await scene.post(CHAT, {"model": "m"})
        assert (got.status, got.code, got.headers["retry-after"]) == (503, "queue_full", "3")
        scene.leases.refuse_with = NoMemory("It needs 9 GiB.", retry_after_s=None)
        got = await scene.post(CHAT, STREAM)
        assert (got.status, got.code, "retry-after" in got.headers) == (503, "no_memory", False)
        scene.leases.refuse_with = StartFailed("It crashed.", hint="Use less.", log_tail=("a", "b"))
        got = await scene.post(CHAT, {"model": "m"})
        assert (got.status, got.headers["x-corral-source"]) == (503, "engine")
        assert got.json()["error"]["message"] == "It crashed. Use less."
        assert got.json()["error"]["log_tail"] == ["a", "b"]
        assert [done.outcome for done in scene.record.finished] == ["refused", "refused", "engine_error"]


async def test_an_engine_that_is_being_stopped_is_let_go_at_once() -> None:
    """llama-server does not exit while a request is on one of its connections."""
    closed = asyncio.Event()

    async def script(request: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD + chunk(delta("a")))
        await request.until_closed()
        closed.set()

    async with stage(script) as scene:
        client = await scene.client()
        client.post(CHAT, STREAM)
        await client.head()
        await client.chunk()
        scene.gateway.notice(StateChanged("m", "m-1", InstanceState.READY, InstanceState.STOPPING))
        await asyncio.wait_for(closed.wait(), 0.5)
        assert b"model_unloaded" in await client.chunk()
        assert not len(scene.gateway.links)


async def test_an_early_head_turns_failures_into_events() -> None:
    async with stage() as scene:
        scene.leases.hold = True
        client = await scene.client()
        client.post(CHAT, STREAM)
        await until(lambda: bool(scene.leases.waiting))
        exchange = scene.leases.waiting[0].waiter
        exchange.open_early()  # type: ignore[attr-defined]
        assert (await client.head())[0] == 200
        scene.leases.refuse_all(StartFailed("It crashed."))
        assert b"engine_start_failed" in await client.chunk()
        assert (await scene.record.one()).status == 200


async def test_an_early_head_and_an_answer_that_is_no_stream() -> None:
    async with stage(say({"error": {"message": "bad grammar"}}, status="400 Bad Request")) as scene:
        scene.leases.hold = True
        client = await scene.client()
        client.post(CHAT, STREAM)
        await until(lambda: bool(scene.leases.waiting))
        scene.leases.waiting[0].waiter.open_early()  # type: ignore[attr-defined]
        scene.leases.grant_all()
        assert (await client.head())[0] == 200
        event = await client.chunk()
        assert b"status 400" in event and b"bad grammar" in event


async def test_an_early_head_and_a_good_stream() -> None:
    async with stage(write(SSE_HEAD + chunk(delta("a")) + b"0\r\n\r\n")) as scene:
        scene.leases.hold = True
        client = await scene.client()
        client.post(CHAT, STREAM)
        await until(lambda: bool(scene.leases.waiting))
        scene.leases.waiting[0].waiter.open_early()  # type: ignore[attr-defined]
        scene.leases.grant_all()
        got = await client.got()
        assert (got.status, got.body, got.complete) == (200, delta("a"), True)


async def test_models_have_their_own_engines() -> None:
    other = Upstream(say({"i am": "b"}))
    await other.start()
    try:
        async with stage(say({"i am": "a"}), models=(ModelSpec("a"), ModelSpec("b"))) as scene:
            scene.leases.endpoints["b"] = other.endpoint
            for name in ("a", "b") * 5:
                assert (await scene.post(CHAT, {"model": name})).json() == {"i am": name}
    finally:
        await other.stop()


async def test_an_event_without_an_end_is_not_collected_for_ever() -> None:
    async def script(request: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD + chunk(b"data: "))
        for _ in range(32):
            writer.write(chunk(b"x" * 32 * 1024))
            await writer.drain()
        await request.until_closed()

    async with stage(script) as scene:
        client = await scene.client()
        client.post(CHAT, STREAM)
        assert (await client.head())[0] == 200
        seen = 0
        while seen < 512 * 1024:  # of a megabyte, and the event still goes on
            seen += len(await client.chunk())
