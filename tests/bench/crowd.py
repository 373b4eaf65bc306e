"""
What many streams and slow readers cost in memory: `python -m tests.bench.crowd [--streams 1000] [--slow 50]`.

A whole `corral serve` beside an engine that costs nothing. First so many streams that run, then clients that ask for
an endless one and never read it. Prints the resident memory of Corral, before and with them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from tests.bench.compare import CORRAL, KEY, answers, free_port

START_S: Final = 30.0
MB: Final = 2**20


@dataclass
class Served:
    """A Corral that serves the bench's engine."""

    port: int
    upstream_port: int
    process: psutil.Process

    @property
    def rss_bytes(self) -> int:
        """Of Corral itself; engines and keeper are processes of their own."""
        return int(self.process.memory_info().rss)


@contextlib.asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Served]:
    """Upstream and Corral, each a process of its own."""
    up, port = free_port(), free_port()
    (folder / "corral.yaml").write_text(CORRAL.format(dir=folder, up=up, port=port, key=KEY))
    programs = [
        ["-m", "tests.bench.upstream", str(up)],
        ["-m", "corral", "serve", "--config", str(folder / "corral.yaml")],
    ]
    quiet = asyncio.subprocess.DEVNULL
    started = [await asyncio.create_subprocess_exec(sys.executable, *argv, stderr=quiet) for argv in programs]
    try:
        async with asyncio.timeout(START_S):
            while not await asyncio.to_thread(answers, port):
                await asyncio.sleep(0.05)
        yield Served(port, up, psutil.Process(started[1].pid))
    finally:
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        async with asyncio.timeout(START_S):
            await asyncio.gather(*(process.wait() for process in started))


def request(chunks: int, gap_us: int) -> bytes:
    """A request for a stream."""
    body = json.dumps({"model": "m", "stream": True, "n": chunks, "us": gap_us, "messages": []}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
    return head.encode() + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


async def with_streams(served: Served, count: int, gap_us: int = 500_000) -> int:
    """Corral's bytes while so many streams run, each of which has begun."""
    links = []
    try:
        for _ in range(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=4096)
            writer.write(request(10_000, gap_us))
            links.append((reader, writer))
        async with asyncio.timeout(START_S):
            for reader, _ in links:
                await reader.readuntil(b"tok ")
        return served.rss_bytes
    finally:
        for _, writer in links:
            writer.transport.abort()


async def with_slow_readers(served: Served, count: int) -> int:
    """Corral's bytes while so many clients do not read what an engine sends as fast as it can."""
    loop, sockets = asyncio.get_running_loop(), []
    try:
        for _ in range(count):
            client = socket.socket()
            client.setblocking(False)
            sockets.append(client)
            await loop.sock_connect(client, ("127.0.0.1", served.port))
            await loop.sock_sendall(client, request(10_000_000, 0))
        before, now = -1, served.rss_bytes
        async with asyncio.timeout(START_S):
            while now != before:  # until nothing moves any more
                await asyncio.sleep(0.5)
                before, now = now, served.rss_bytes
        return now
    finally:
        for client in sockets:
            client.close()


async def main(streams: int, slow: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="corral-bench-") as name:
        async with serving(Path(name)) as served:
            idle = served.rss_bytes
            busy = await with_streams(served, streams)
            await asyncio.sleep(1)
            rest = served.rss_bytes
            stuck = await with_slow_readers(served, slow)
    print(f"idle: {idle / MB:.1f} MB")
    print(f"{streams} streams: {busy / MB:.1f} MB, {(busy - idle) / streams / 1024:.1f} KB each")
    print(f"{slow} slow readers: {(stuck - rest) / slow / 1024:.1f} KB each beyond {rest / MB:.1f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--slow", type=int, default=50)
    args = parser.parse_args()
    asyncio.run(main(args.streams, args.slow))
