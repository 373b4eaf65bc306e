"""A bare relay as web frameworks allow it: raw ASGI under uvicorn, aiohttp towards the engine, no features."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

TARGET = os.environ["BENCH_UPSTREAM"]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
SESSION: list[aiohttp.ClientSession] = []


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """The whole of it."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = bool(message.get("more_body"))
    json.loads(body or b"{}").get("model")
    drop = (b"host", b"content-length", b"connection")
    headers = {name.decode(): value.decode() for name, value in scope["headers"] if name not in drop}
    async with SESSION[0].request(scope["method"], TARGET + scope["path"], data=body, headers=headers) as answer:
        kept = [(k.lower(), v) for k, v in answer.raw_headers if k.lower() not in (b"transfer-encoding", b"connection")]
        await send({"type": "http.response.start", "status": answer.status, "headers": kept})
        async for piece in answer.content.iter_any():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def lifespan(receive: Receive, send: Send) -> None:
    """One client session for the life of the server."""
    await receive()
    SESSION.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False))
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await SESSION[0].close()
    await send({"type": "lifespan.shutdown.complete"})
