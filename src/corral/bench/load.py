"""
The load generator: `python -m corral.bench.load KIND JSON`, a process of its own that prints one JSON line.

`requests`: clients that ask again as soon as they have an answer, for some seconds. `streams`: paced streams, whose
stamps tell how late each chunk is. `hold` and `slow`: streams that stay open until stdin ends, read or never read.
The first two tell how idle this process was and how long it waited for its core, so that nobody measures it by mistake.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sys
import time
from typing import Any, Final

import httptools
import msgspec
import uvloop

from corral.bench.processes import waited_s
from corral.bench.stats import percentile

HOST: Final = "127.0.0.1"
PATH: Final = "/v1/chat/completions"
TRANSLATED: Final = {"messages": "/v1/messages", "ollama": "/api/chat"}
"""Routes whose streams are written anew, by the end of their rows' names."""
STORY: Final = "hello there, tell me a story about llamas"
MESSAGES: Final = [{"role": "user", "content": STORY}]
ENDS: Final = re.compile(rb'\[DONE\]|"message_stop"|"done":true')
STAMP: Final = re.compile(rb"@(\d{19})@")
STAMP_BYTES: Final = 21
SLACK_S: Final = 30.0


class Wanted(msgspec.Struct, frozen=True):
    """What to do; `count` is clients or streams."""

    port: int
    key: str = ""
    count: int = 1
    seconds: float = 1.0
    chunks: int = 100
    gap_us: int = 10_000
    pad: int = 0
    path: str = PATH


def request(key: str, path: str = PATH, **fields: Any) -> bytes:
    """A chat request as bytes."""
    body = json.dumps({"model": "m", "messages": MESSAGES, **fields}).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + (f"Authorization: Bearer {key}\r\n".encode() if key else b"") + b"\r\n" + body


def paced(wanted: Wanted) -> bytes:
    """A request for a paced stream; where only what a dialect knows gets through, the prompt says how."""
    if wanted.path == PATH:
        return request(wanted.key, stream=True, n=wanted.chunks, us=wanted.gap_us)
    said = [{"role": "user", "content": f"{STORY} n={wanted.chunks} us={wanted.gap_us}"}]
    return request(wanted.key, wanted.path, messages=said, stream=True, max_tokens=wanted.chunks + 1)


class Client(asyncio.Protocol):
    """Asks again as soon as it has an answer, on one connection."""

    until = 0.0
    took: list[float] = []
    wrong = 0

    def __init__(self, asks: bytes) -> None:
        self.asks = asks
        self.ended = asyncio.get_running_loop().create_future()
        self.begun = False
        self.answers = 0

    def connection_made(self, transport: Any) -> None:
        """The first question."""
        self.transport = transport
        self.parser = httptools.HttpResponseParser(self)
        self.asked = time.perf_counter()
        transport.write(self.asks)

    def data_received(self, data: bytes) -> None:
        """Parse."""
        self.begun = True
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Count, and ask again."""
        now = time.perf_counter()
        if self.parser.get_status_code() != 200:
            Client.wrong += 1
        self.took.append(now - self.asked)
        self.answers += 1
        self.begun = False
        if now >= self.until:
            self.transport.close()
            return
        self.asked = now
        self.transport.write(self.asks)

    def connection_lost(self, exc: Exception | None) -> None:
        """The end. Between two answers it is a server's right, in the middle of one it is an error."""
        if self.begun or not self.answers:
            Client.wrong += 1
        self.ended.set_result(None)


async def client(port: int, asks: bytes) -> None:
    """Ask until the time is over, on a new connection where the server ends one, as clients do."""
    loop = asyncio.get_running_loop()
    while time.perf_counter() < Client.until and not Client.wrong:
        _, protocol = await loop.create_connection(lambda: Client(asks), HOST, port)
        await protocol.ended


async def requests(wanted: Wanted) -> dict[str, Any]:
    """So many clients for so long."""
    asks = request(wanted.key, temperature=0.7, max_tokens=64)
    began, cpu, waited = time.perf_counter(), time.process_time(), waited_s("self")
    Client.until = began + wanted.seconds
    async with asyncio.timeout(wanted.seconds + SLACK_S):
        await asyncio.gather(*(client(wanted.port, asks) for _ in range(wanted.count)))
    wall = time.perf_counter() - began
    return {
        "requests": len(Client.took),
        "wrong": Client.wrong,
        "seconds": wall,
        "p50_ms": percentile(Client.took, 50) * 1e3,
        "p99_ms": percentile(Client.took, 99) * 1e3,
        "idle": 1 - (time.process_time() - cpu) / wall,
        "waited": (waited_s("self") - waited) / wall,
    }


class Stream(asyncio.Protocol):
    """One stream; finds the stamps in the raw bytes, whatever the framing."""

    delays: list[int] = []
    late_first: list[int] = []
    ttft: list[int] = []

    def __init__(self, asks: bytes) -> None:
        self.asks = asks
        self.tail = b""
        self.seen = 0
        self.first, self.ended = (asyncio.get_running_loop().create_future() for _ in range(2))

    def connection_made(self, transport: Any) -> None:
        """Ask."""
        self.transport = transport
        self.asked = time.monotonic_ns()
        transport.write(self.asks)

    def data_received(self, data: bytes) -> None:
        """Count every stamp."""
        now = time.monotonic_ns()
        data = self.tail + data
        end = 0
        for found in STAMP.finditer(data):
            end = found.end()
            if not self.seen:
                self.ttft.append(now - self.asked)
                self.late_first.append(now - int(found[1]))
                self.first.set_result(None)
            self.seen += 1
            self.delays.append(now - int(found[1]))
        self.tail = data[max(end, len(data) - STAMP_BYTES) :]
        if ENDS.search(data):
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end."""
        for future in (self.first, self.ended):
            if not future.done():
                future.set_result(None)


async def streams(wanted: Wanted) -> dict[str, Any]:
    """Paced streams; they begin spread over one gap between chunks, as those of people do."""
    asks = paced(wanted)
    loop, made = asyncio.get_running_loop(), []
    began, cpu, waited = time.perf_counter(), time.process_time(), waited_s("self")
    for number in range(wanted.count):
        await asyncio.sleep(began + number * wanted.gap_us / 1e6 / wanted.count - time.perf_counter())
        made.append((await loop.create_connection(lambda: Stream(asks), HOST, wanted.port))[1])
    await asyncio.wait([each.ended for each in made], timeout=wanted.chunks * wanted.gap_us / 1e6 + SLACK_S)
    wall = time.perf_counter() - began
    late = {
        f"{name}_p{p}_us": percentile(values, p) / 1e3
        for name, values in (("delay", Stream.delays), ("first", Stream.late_first), ("ttft", Stream.ttft))
        for p in (50, 99)
    }
    return {
        "chunks": len(Stream.delays),
        "wrong": sum(each.seen != wanted.chunks for each in made),
        **late,
        "seconds": wall,
        "idle": 1 - (time.process_time() - cpu) / wall,
        "waited": (waited_s("self") - waited) / wall,
    }


async def hold(wanted: Wanted) -> None:
    """Open streams; says how many have begun, and stays until stdin ends."""
    asks = request(wanted.key, stream=True, n=1_000_000, us=wanted.gap_us)
    loop, made = asyncio.get_running_loop(), []
    for _ in range(wanted.count):
        made.append((await loop.create_connection(lambda: Stream(asks), HOST, wanted.port))[1])
    await asyncio.wait([each.first for each in made], timeout=wanted.seconds)
    print(json.dumps({"begun": sum(each.seen > 0 for each in made)}), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    for each in made:
        each.transport.abort()


def slow(wanted: Wanted) -> None:
    """Clients that ask and never read."""
    asks = request(wanted.key, stream=True, n=wanted.chunks, us=0, pad=wanted.pad)
    sockets = [socket.create_connection((HOST, wanted.port)) for _ in range(wanted.count)]
    for each in sockets:
        each.sendall(asks)
    print(json.dumps({"begun": len(sockets)}), flush=True)
    sys.stdin.read()
    for each in sockets:
        each.close()


def main(kind: str, text: str) -> None:
    """Do it and print what came of it."""
    wanted = msgspec.json.decode(text, type=Wanted)
    if kind == "slow":
        slow(wanted)
    elif kind == "hold":
        uvloop.run(hold(wanted))
    else:
        print(json.dumps(uvloop.run({"requests": requests, "streams": streams}[kind](wanted))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
