"""
What the relay's own code costs, without sockets: `python -m tests.bench.hotpath [--models 10000] [--profile FILE]`.

The real connection, door, scheduler, relay, link, usage, bus and metrics, between two transports that only remember
what was written. So nothing of the kernel or the event loop is in the numbers, and they repeat within a few percent on
a busy machine: the best of many short runs is printed, in microseconds per request and per chunk of a stream.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import hashlib
import time
from collections.abc import Callable
from typing import Any, Final

from corral.domain import events
from corral.domain.commands import Start
from corral.domain.fleet import Fleet, Limits, ModelSpec
from corral.domain.launch import Endpoint, Footprint
from corral.domain.serving import NOBODY, KeySpec, ServerSpec
from corral.engines.llamacpp.requests import OWN_FIELDS
from corral.gateway.auth import KeyRing
from corral.gateway.connection import ClientConnection
from corral.gateway.directory import ModelDirectory
from corral.gateway.links import Link
from corral.gateway.server import Gateway
from corral.kit.clock import SystemClock
from corral.observability.bus import Bus
from corral.observability.metrics import Metrics
from corral.scheduler.instances import Instances
from corral.scheduler.loop import Scheduler
from corral.scheduler.machine import Machine

KEY: Final = "bench-key-0123456789abcdef"
BODY: Final = (
    b'{"model":"m0","messages":[{"role":"user","content":"hello there, tell me a story about llamas"}],'
    b'"temperature":0.7,"max_tokens":64}'
)
TRANSLATED: Final = {
    b"/v1/messages": b'{"model":"m0","max_tokens":64,"stream":true,"messages":[{"role":"user","content":"hello"}]}',
    b"/v1/responses": b'{"model":"m0","stream":true,"input":"hello"}',
    b"/api/chat": b'{"model":"m0","messages":[{"role":"user","content":"hello"}]}',
}
"""Streams whose events are written anew, by their route."""
REQUEST: Final = (
    b"POST %b HTTP/1.1\r\nHost: 127.0.0.1:11435\r\nAuthorization: Bearer %b\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
)
ANSWER_BODY: Final = (
    b'{"id":"chatcmpl-x","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"' + b"hello " * 60 + b'"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":10,"completion_tokens":60,"total_tokens":70}}'
)
ANSWER: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Thu, 20 Nov 2025 20:36:00 GMT\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(ANSWER_BODY), ANSWER_BODY)
)
STREAM_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nDate: Thu, 20 Nov 2025 20:36:00 GMT\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
EVENT: Final = (
    b'data: {"id":"chatcmpl-x","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"content":"tok "},"finish_reason":null}]}\n\n'
)
CHUNK: Final = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)
FINISHED: Final = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
LAST: Final = b"%x\r\n%b\r\n0\r\n\r\n" % (len(FINISHED), FINISHED)


class Wire(asyncio.Transport):
    """A transport that remembers the last thing written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 50000)})
        self.last = b""
        self.sent = 0

    def write(self, data: Any) -> None:
        """Take it."""
        self.last = data
        self.sent += 1

    def get_write_buffer_size(self) -> int:
        """All is sent."""
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There are none."""

    def is_closing(self) -> bool:
        """Never."""
        return False

    def abort(self) -> None:
        """Nothing to end."""

    def close(self) -> None:
        """Nothing to end."""


class NoInstances(Instances):
    """Instances that are ready when the bench says so."""

    def start(self, command: Start) -> None:
        """Remember who it is."""
        self.started = command.instance


class Nobody:
    """A waiter for the first load."""

    def granted(self, lease: Any) -> None:
        """Give it back."""
        lease.release()

    def refused(self, error: Exception) -> None:
        """It must not be."""
        raise error


class Relay:
    """A whole gateway and scheduler in one process, with one client connection and one engine connection."""

    def __init__(self, models: int = 1, *, key: str = KEY) -> None:
        clock = SystemClock()
        self.bus = Bus()
        self.metrics = Metrics("bench", lambda name: "remote", ["bench"])
        self.bus.subscribe(self.metrics)
        instances = NoInstances({}, {}, clock=clock)
        scheduler = Scheduler(Machine(id_prefix="i"), instances, clock=clock, publisher=self.bus)
        specs = {f"m{number}": ModelSpec(f"m{number}") for number in range(models)}
        self._load(scheduler, instances, specs)
        server = ServerSpec(keys=(KeySpec("bench", hashlib.sha256(key.encode()).hexdigest()),) if key else ())
        directory, own = ModelDirectory(specs.values()), OWN_FIELDS
        self.gateway = Gateway(server, scheduler, directory, KeyRing(server), self.bus, clock, own_fields=own)
        self.key = key.encode()
        self.client = Wire()
        self.connection = ClientConnection(self.gateway, local=False)
        self.connection.connection_made(self.client)
        self.engine = Wire()
        site = self.gateway.links.site(instances.started, self.endpoint)
        self.link = Link(site)
        self.link.connection_made(self.engine)
        site.put_back(self.link, fresh=True)
        self.request = self.request_to(b"/v1/chat/completions", BODY)

    def _load(self, scheduler: Scheduler, instances: NoInstances, specs: dict[str, ModelSpec]) -> None:
        scheduler.submit(
            events.FleetChanged(
                Fleet(specs, limits=Limits()), dict.fromkeys(specs, "d"), dict.fromkeys(specs, Footprint(1))
            )
        )
        scheduler.ask(Nobody(), model="m0", caller=NOBODY, timeout_s=60.0)
        self.endpoint = Endpoint(host="127.0.0.1", port=19000, key="engine-key")
        scheduler.submit(events.InstanceReady(instances.started, self.endpoint, 1024, 0.1))

    def requests(self, count: int) -> None:
        """So many requests, each answered at once."""
        take, give, request = self.connection.data_received, self.link.data_received, self.request
        for _ in range(count):
            take(request)
            give(ANSWER)

    def request_to(self, path: bytes, body: bytes) -> bytes:
        """A request as it arrives."""
        return REQUEST % (path, self.key, len(body), body)

    def begin_stream(self, request: bytes = b"") -> None:
        """A stream whose first chunk is out."""
        self.connection.data_received(request or self.request)
        self.link.data_received(STREAM_HEAD + CHUNK)

    def chunks(self, count: int) -> None:
        """So many chunks of a stream that runs."""
        give = self.link.data_received
        for _ in range(count):
            give(CHUNK)

    def end_stream(self) -> None:
        """The last chunk."""
        self.link.data_received(LAST)


def best_us(work: Callable[[int], None], count: int, rounds: int) -> float:
    """Microseconds for one, in the best of many short rounds: what disturbs only ever adds."""
    best = float("inf")
    for _ in range(rounds):
        began = time.perf_counter_ns()
        work(count)
        best = min(best, (time.perf_counter_ns() - began) / count)
    return best / 1000


async def main(models: int, rounds: int, profile: str) -> None:
    """Measure and print."""
    relay = Relay(models)
    await asyncio.sleep(0.01)  # the waiter of the first load
    relay.requests(100)
    assert relay.client.last.startswith(b"HTTP/1.1 200 OK"), relay.client.last
    assert relay.client.last.endswith(ANSWER_BODY)
    gc.collect()
    gc.freeze()
    if profile:
        with cProfile.Profile() as profiler:
            relay.requests(20_000)
        profiler.dump_stats(profile)
        return
    print(f"us per request: {best_us(relay.requests, 200, rounds):.2f}")
    relay.begin_stream()
    print(f"us per chunk: {best_us(relay.chunks, 500, rounds):.2f}")
    relay.end_stream()
    for path, body in TRANSLATED.items():
        relay.begin_stream(relay.request_to(path, body))
        print(f"us per chunk of {path.decode()}: {best_us(relay.chunks, 500, rounds):.2f}")
        assert EVENT not in relay.client.last and b'"tok "' in relay.client.last, relay.client.last
        relay.end_stream()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--profile", default="", help="write a cProfile of the requests here")
    args = parser.parse_args()
    asyncio.run(main(args.models, args.rounds, args.profile))
