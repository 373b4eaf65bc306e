"""Where packets end means nothing: each cut of an engine's stream and a client's request, on each translated route."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.clients import CHATS, Client, Told
from tests.paths.relay_kit import SSE_HEAD, Heard, chunk, stage, write
from tests.paths.test_bad_engines import BEGUN, READ, TEXT, event, piece

STREAMS = [client for client in CHATS if client in READ]
END = event(choices=[{"index": 0, "delta": {}, "finish_reason": "tool_calls"}], usage=None)
USAGE = event(choices=[], usage={"prompt_tokens": 7, "completion_tokens": 3})
CALL = [
    piece(tool_calls=[{"index": 0, "id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a":'}}]),
    piece(tool_calls=[{"index": 0, "function": {"arguments": " 1}"}}]),
]
WHOLE = b"".join([piece(reasoning_content="Hm"), *BEGUN, *CALL, END, USAGE, b"data: [DONE]\n\n"])
SAYS = Told(TEXT, "Hm", [("add", {"a": 1})], "tool_calls", 7, 3)


@pytest.mark.parametrize("client", STREAMS, ids=lambda client: client.path)
async def test_no_packet_of_the_engine_changes_the_answer(client: Client) -> None:
    """One connection after another would take minutes: one gateway, whose engine cuts each answer elsewhere."""
    cuts = iter(range(1, len(WHOLE)))

    async def cut(request: Heard, writer: asyncio.StreamWriter) -> None:
        at = next(cuts)
        for part in (SSE_HEAD, chunk(WHOLE[:at]), chunk(WHOLE[at:]) + b"0\r\n\r\n"):
            writer.write(part)
            await asyncio.sleep(0)

    async with stage(cut) as scene:
        one = await scene.client()
        for at in range(1, len(WHOLE)):
            one.post(client.path, client.body("m", stream=True))
            got = await one.got()
            assert got.complete and client.answer(got.body, stream=True) == SAYS, at
        assert scene.at_rest() and scene.upstream.connections == 1


@pytest.mark.parametrize("client", STREAMS, ids=lambda client: client.path)
async def test_byte_by_byte(client: Client) -> None:
    async with stage(write(SSE_HEAD, *(chunk(WHOLE[at : at + 1]) for at in range(len(WHOLE))), b"0\r\n\r\n")) as scene:
        got = await scene.post(client.path, client.body("m", stream=True))
        assert client.answer(got.body, stream=True) == SAYS


@pytest.mark.parametrize("client", STREAMS, ids=lambda client: client.path)
async def test_no_packet_of_the_client_changes_its_request(client: Client) -> None:
    body = json.dumps(client.body("m", stream=True, **({"max_tokens": 9} if client.path == "/v1/messages" else {})))
    request = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (
        client.path.encode(), len(body), body.encode(),
    )  # fmt: skip
    async with stage(write(SSE_HEAD, chunk(WHOLE), b"0\r\n\r\n")) as scene:
        one = await scene.client()
        for at in range(1, len(request)):
            one.send(request[:at])
            await one.writer.drain()
            await asyncio.sleep(0.001)
            one.send(request[at:])
            assert client.answer((await one.got()).body, stream=True) == SAYS, at
        assert {heard.body for heard in scene.upstream.heard} == {scene.upstream.heard[0].body}
        assert {heard.line for heard in scene.upstream.heard} == {scene.upstream.heard[0].line} and scene.at_rest()
