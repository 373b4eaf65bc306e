"""
Many streams at once, and how late their chunks are: `python -m tests.bench.streams URL STREAMS CHUNKS GAP_US [KEY]`.

Streams begin spread over one gap between chunks, as those of people do. Prints one JSON object: chunks, how late they
are, the first of each stream apart (`first_us`: after the engine wrote it; `ttft_us`: after the request), in
microseconds as p50 and p99, and how idle this client was, so that nobody measures it by mistake.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from urllib.parse import urlsplit

import uvloop

DELAYS: list[int] = []
FIRST: list[int] = []
TTFT: list[int] = []


class Stream(asyncio.Protocol):
    """One request; finds the stamps in the raw bytes, whatever the framing."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.tail = b""
        self.ended = asyncio.get_running_loop().create_future()
        self.seen = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self.transport = transport
        self.asked = time.perf_counter_ns()
        transport.write(self.request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        """Count every stamp."""
        now = time.time_ns()
        data = self.tail + data
        parts = data.split(b'"ts":')
        for part in parts[1:]:
            end = part.find(b",")
            if end < 0:
                break
            delay = (now - int(part[:end])) // 1000
            if not self.seen:
                TTFT.append((time.perf_counter_ns() - self.asked) // 1000)
                FIRST.append(delay)
            self.seen += 1
            DELAYS.append(delay)
        self.tail = data[data.rfind(b'"ts":') :] if b"," not in parts[-1] and len(parts) > 1 else data[-5:]
        if b'"ts":' in self.tail and b"," in self.tail:
            self.tail = b""
        if b"data: [DONE]" in data:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end."""
        if not self.ended.done():
            self.ended.set_result(None)


async def main(url: str, streams: int, chunks: int, gap_us: int, key: str) -> None:
    """Run them all."""
    where = urlsplit(url)
    body = json.dumps({"model": "m", "stream": True, "n": chunks, "us": gap_us, "messages": []}).encode()
    auth = f"Authorization: Bearer {key}\r\n" if key else ""
    head = f"POST {where.path} HTTP/1.1\r\nHost: {where.netloc}\r\n{auth}Content-Type: application/json\r\n"
    request = head.encode() + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    host, port = where.hostname or "127.0.0.1", where.port or 80
    loop = asyncio.get_running_loop()
    began, cpu = time.perf_counter(), time.process_time()
    protocols = []
    for number in range(streams):
        await asyncio.sleep(began + number * gap_us / 1e6 / streams - time.perf_counter())
        _, protocol = await loop.create_connection(lambda: Stream(request), host, port)
        protocols.append(protocol)
    await asyncio.wait_for(asyncio.gather(*(each.ended for each in protocols)), chunks * gap_us / 1e6 + 60)
    took = time.perf_counter() - began
    short = sum(each.seen != chunks for each in protocols)
    took_of = {"delay_us": DELAYS, "first_us": FIRST, "ttft_us": TTFT}
    report = {
        "chunks": len(DELAYS),
        "wrong_streams": short,
        **{name: percentiles(values) for name, values in took_of.items()},
        "client_idle": round(1 - (time.process_time() - cpu) / took, 2),
    }
    print(json.dumps(report))


def percentiles(values: list[int]) -> list[int]:
    """p50 and p99."""
    values.sort()
    return [values[len(values) // 2], values[len(values) * 99 // 100]]


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), *(sys.argv[5:] or [""])))
