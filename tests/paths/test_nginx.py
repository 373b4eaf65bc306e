"""Behind the real nginx, with its defaults (buffering on, HTTP/1.1 to us or 1.0): streaming still streams."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.paths.relay_kit import CHAT, SSE_HEAD, Heard, Raw, Stage, chunk, delta, stage, until

pytestmark = pytest.mark.nginx
STREAM = {"model": "m", "stream": True}

CONFIG = """
daemon off; worker_processes 1; {user} pid {folder}/pid; error_log stderr;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://127.0.0.1:{upstream}; {more} }}
  }}
}}
"""


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def nginx(scene: Stage, folder: Path, more: str) -> AsyncIterator[int]:
    """A real nginx in front of the gateway; its port."""
    program = shutil.which("nginx")
    assert program is not None
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(
        CONFIG.format(
            user="user root;" if os.getuid() == 0 else "",  # its workers must reach the folder
            folder=folder,
            port=port,
            upstream=scene.gateway.port,
            more=more,
        )
    )
    process = subprocess.Popen(
        [program, "-c", str(config), "-p", str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(200):
            assert process.poll() is None
            with contextlib.suppress(OSError):
                (await asyncio.open_connection("127.0.0.1", port))[1].close()
                break
            await asyncio.sleep(0.02)
        yield port
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 5)


async def through(scene: Stage, port: int) -> Raw:
    """A client of nginx; closed with the scene."""
    scene.clients.append(Raw(*await asyncio.open_connection("127.0.0.1", port)))
    return scene.clients[-1]


WAYS = {
    "as it comes": "",
    "kept alive": 'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host localhost;',
}


@pytest.mark.parametrize("way", WAYS)
async def test_each_event_arrives_before_the_next_is_made(way: str, tmp_path: Path) -> None:
    go = asyncio.Queue[bytes]()

    async def script(request: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD)
        while piece := await go.get():
            writer.write(chunk(piece))
        writer.write(b"0\r\n\r\n")

    async with stage(script) as scene, nginx(scene, tmp_path, WAYS[way]) as port:
        client = await through(scene, port)
        client.post(CHAT, STREAM)
        out = b""
        for n in range(5):
            go.put_nowait(delta(f"word {n}"))
            if n == 0:
                status, headers = await client.head()
                assert (status, headers["content-type"]) == (200, "text/event-stream")
            out += await client.chunk()
            assert out == b"".join(delta(f"word {i}") for i in range(n + 1))
        go.put_nowait(b"")
        assert await client.chunk() == b""


async def test_a_client_that_leaves_nginx_leaves_us(tmp_path: Path) -> None:
    closed = asyncio.Event()

    async def script(request: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD + chunk(delta("a")))
        await request.until_closed()
        closed.set()

    async with stage(script) as scene, nginx(scene, tmp_path, WAYS["kept alive"]) as port:
        client = await through(scene, port)
        client.post(CHAT, STREAM)
        await client.head()
        await client.chunk()
        client.writer.close()
        await asyncio.wait_for(closed.wait(), 2)
        await until(scene.at_rest)


async def test_large_bodies_and_answers(tmp_path: Path) -> None:
    async def script(request: Heard, writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(request.body)}\r\n\r\n"
        writer.write(head.encode() + request.body)

    body = b'{"model":"m","x":"' + b"y" * 900_000 + b'"}'
    async with stage(script) as scene, nginx(scene, tmp_path, WAYS["kept alive"]) as port:
        client = await through(scene, port)
        for _ in range(3):
            client.post(CHAT, body)
            assert (await client.got()).body == body
        await until(scene.at_rest)
