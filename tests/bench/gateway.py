"""
The gateway alone, for measuring: `python -m tests.bench.gateway --port 19001 --upstream 127.0.0.1:19000`.

Real connections, keys, relay, usage and notices; only the scheduler is replaced by leases that are always there.
Requests need no key unless `--key` is given.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import hashlib
import signal

import uvloop

from corral.domain.events import Notice
from corral.domain.fleet import ModelSpec
from corral.domain.launch import Endpoint
from corral.domain.serving import KeySpec, ServerSpec
from corral.fakes.leases import FakeLeases
from corral.gateway.auth import KeyRing
from corral.gateway.directory import ModelDirectory
from corral.gateway.heads import SENT_TO_ENGINES
from corral.gateway.server import Gateway
from corral.kit.clock import SystemClock


class Counting:
    """A publisher that only counts."""

    def __init__(self) -> None:
        self.count = 0

    def publish(self, notice: Notice) -> None:
        """Count it."""
        self.count += 1


async def serve(port: int, upstream: str, key: str) -> None:
    """Serve until SIGTERM or SIGINT."""
    host, _, upstream_port = upstream.rpartition(":")
    keys = (KeySpec("bench", hashlib.sha256(key.encode()).hexdigest()),) if key else ()
    spec = ServerSpec(port=port, keys=keys)
    gateway = Gateway(
        spec,
        FakeLeases({"m": Endpoint(host=host, port=int(upstream_port), key="engine-key")}),
        ModelDirectory([ModelSpec("m")]),
        KeyRing(spec),
        Counting(),
        SystemClock(),
        # The load generators steer their upstream by these two.
        request_headers=SENT_TO_ENGINES | {b"x-n", b"x-us"},
    )
    await gateway.start()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
    await gateway.close()


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", default="127.0.0.1:19000")
    parser.add_argument("--key", default="")
    parser.add_argument("--profile", default="", help="write a cProfile here")
    args = parser.parse_args()
    profile = cProfile.Profile() if args.profile else None
    if profile is not None:
        profile.enable()
    uvloop.run(serve(args.port, args.upstream, args.key))
    if profile is not None:
        profile.disable()
        profile.dump_stats(args.profile)


if __name__ == "__main__":
    main()
