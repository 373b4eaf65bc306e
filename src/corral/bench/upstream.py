"""
An engine that costs next to nothing: `python -m corral.bench.upstream PORT`.

Any POST is answered with a chat completion of 60 words; with `"stream": true` by `n` chunks, `us` microseconds apart,
or as the prompt says (`n=100 us=10000`) where a translation leaves out what it does not know.
Each chunk carries the time it was written (`@` nanoseconds of the monotonic clock `@`) in its content, where every
program passes it on, so that a client of this machine can tell how long it travelled. `pad` makes chunks longer.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from typing import Any, Final

import httptools
import uvloop

from corral.kit.tasks import Tasks

USAGE: Final = {"prompt_tokens": 10, "completion_tokens": 60, "total_tokens": 70}
ANSWER: Final = json.dumps(
    {
        "id": "x", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello " * 60}, "finish_reason": "stop"}],
        "usage": USAGE,
    }
).encode()  # fmt: skip
PLAIN: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(ANSWER),
    ANSWER,
)
HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK: Final = (
    b'data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"content":"@%019d@%b"},"finish_reason":null}]}\n\n'
)
LAST: Final = (
    b'data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":%b}\n\ndata: [DONE]\n\n'
    % json.dumps(USAGE).encode()
)
PACE: Final = re.compile(rb"\bn=(\d+) us=(\d+)")


class Upstream(asyncio.Protocol):
    """One connection."""

    tasks = Tasks("upstream")

    def connection_made(self, transport: Any) -> None:
        """Remember the transport."""
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""
        self.taken = asyncio.Event()  # set while what was written is being taken
        self.taken.set()

    def pause_writing(self) -> None:
        """Whoever reads is too slow."""
        self.taken.clear()

    def resume_writing(self) -> None:
        """On we go."""
        self.taken.set()

    def data_received(self, data: bytes) -> None:
        """Parse."""
        self.parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody reads any more."""
        self.taken.set()

    def on_body(self, body: bytes) -> None:
        """Part of a body."""
        self.body += body

    def on_message_complete(self) -> None:
        """Answer."""
        body, self.body = self.body, b""
        if b'"stream"' in body and (wanted := json.loads(body)).get("stream"):
            if (pace := PACE.search(body)) is not None:
                wanted |= {"n": int(pace[1]), "us": int(pace[2])}
            self.tasks.start(self.stream(wanted), name="stream")
        else:
            self.transport.write(PLAIN)

    async def stream(self, wanted: dict[str, Any]) -> None:
        """The paced chunks, on an absolute schedule so that a late wake-up does not add up."""
        gap_s, pad = wanted.get("us", 0) / 1e6, b"x" * wanted.get("pad", 0)
        self.transport.write(HEAD)
        began = time.perf_counter()
        for number in range(wanted.get("n", 200)):
            data = CHUNK % (time.monotonic_ns(), pad)
            self.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
            if gap_s:
                await asyncio.sleep(max(0.0, began + gap_s * (number + 1) - time.perf_counter()))
            elif not self.taken.is_set():
                await self.taken.wait()
            if self.transport.is_closing():
                return
        self.transport.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(LAST), LAST))


async def main(port: int) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
