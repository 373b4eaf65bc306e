"""
Speaking with the keeper: find the one there is, or start one; ask; hear what ended; notice at once when it dies.

The protocol is described in `keeper.__main__`. A new keeper gets one end of a socket pair, so nothing is polled and the
first request may be on its way before the keeper has finished starting.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any, cast

from corral.domain.errors import PlaceFailed
from corral.kit.environment import inherited
from corral.runtimes.process.keeper import procs
from corral.runtimes.process.places import Places

VERSION = 1  # of the protocol: keeper.__main__.VERSION
HELLO_TIMEOUT_S = 15.0
REQUEST_TIMEOUT_S = 10.0
SILENT_TIMEOUT_S = 0.5  # for a keeper that has just let a request time out
KILLED_S = 5.0  # between SIGKILL to a keeper and giving up on it

logger = logging.getLogger(__name__)

_KEPT: dict[int, subprocess.Popen[bytes]] = {}
"""Keepers that live on without us, by pid. They stay our children: whoever comes next here must reap them."""


class KeeperGone(Exception):
    """The connection to the keeper ended."""


class KeeperRefused(Exception):
    """The keeper answered with an error; `unknown`: it does not know the instance."""

    def __init__(self, message: str, unknown: bool) -> None:
        self.unknown = unknown
        super().__init__(message)


class KeeperClient(asyncio.Protocol):
    """One connection to the keeper."""

    def __init__(
        self, on_ended: Callable[[str, dict[str, Any]], None], on_lost: Callable[[KeeperClient], None]
    ) -> None:
        self.pid = 0
        self.start_ticks = 0
        self.process: subprocess.Popen[bytes] | None = None  # when it is our own child
        self.lost = False
        self.silent = False  # a request timed out, and nothing was heard since
        self._on_ended = on_ended
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._number = 0
        self._gone = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: connected."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        """asyncio: answers and events."""
        self.silent = False
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if message.get("event") == "ended":
                self._on_ended(message["instance"], message["status"])
            else:
                self._answered(message)

    def _answered(self, message: dict[str, Any]) -> None:
        future = self._asked.pop(message["id"], None)
        if future is None or future.done():
            return  # whoever asked has left
        if "error" in message:
            future.set_exception(KeeperRefused(message["error"], message.get("unknown", False)))
        else:
            future.set_result(message["ok"])

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the keeper is gone, or we closed."""
        self.lost = True
        for future in self._asked.values():
            if not future.done():
                future.set_exception(KeeperGone())
        self._asked.clear()
        self._gone.set_result(None)
        self._on_lost(self)

    async def request(self, op: str, *, timeout_s: float | None = REQUEST_TIMEOUT_S, **fields: Any) -> Any:
        """
        Ask and wait for the answer.

        Raises KeeperGone, KeeperRefused, TimeoutError. Without a timeout the caller has a deadline, or waits for
        something that ends with the engine.
        """
        if self.lost or self._transport is None:
            raise KeeperGone
        self._number += 1
        number = self._number
        future = self._asked[number] = asyncio.get_running_loop().create_future()
        self._transport.write(json.dumps({"op": op, "id": number, **fields}).encode() + b"\n")
        if self.silent and timeout_s is not None:
            timeout_s = min(timeout_s, SILENT_TIMEOUT_S)  # stop, destroy and close must not each wait all over again
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            self.silent = True
            raise
        finally:
            self._asked.pop(number, None)

    async def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.close()
            await self._gone

    async def gone(self, timeout_s: float) -> None:
        """Wait until the keeper has closed the connection. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            await asyncio.shield(self._gone)

    async def reap(self, timeout_s: float = 5.0) -> None:
        """See the keeper dead, or kill it: a keeper that does not speak to us must not run our engines."""
        for patience_s in (timeout_s, KILLED_S):
            deadline = asyncio.get_running_loop().time() + patience_s
            while self.alive():
                if asyncio.get_running_loop().time() >= deadline:
                    self._kill()
                    break
                await asyncio.sleep(0.002)
            else:
                return
        logger.error("the keeper (pid %d) does not die, not even by SIGKILL", self.pid)

    def _kill(self) -> None:
        if self.process is not None:  # unreaped, so the pid is its own; its start time may be unknown
            self.process.kill()
        else:
            procs.kill_exact(self.pid, self.start_ticks)

    def alive(self) -> bool:
        """Whether the keeper's process is there still."""
        if self.process is not None:
            return self.process.poll() is None
        return self.start_ticks != 0 and procs.start_ticks(self.pid) == self.start_ticks

    def let_go(self) -> None:
        """Leave the keeper running without us."""
        if self.process is not None:
            _KEPT[self.pid] = self.process
            self.process = None


async def connect(client: Callable[[], KeeperClient], places: Places, keep_s: float) -> tuple[KeeperClient, Any]:
    """
    A client of the keeper that runs, else None.

    Returns the client and the keeper's answer to `hello`. Raises KeeperGone where there is none to speak to, and
    PlaceFailed when it belongs to another Corral.
    """
    for pid in [pid for pid, kept in _KEPT.items() if kept.poll() is not None]:
        del _KEPT[pid]
    path = _keeper_socket(places)
    if not path:
        raise KeeperGone
    try:
        _, connected = await asyncio.get_running_loop().create_unix_connection(client, path)
    except OSError:
        raise KeeperGone from None
    return connected, await _hello(connected, keep_s)


async def spawn(
    client: Callable[[], KeeperClient], places: Places, keep_s: float, oom_counter: str = ""
) -> tuple[KeeperClient, Any]:
    """A client of a new keeper. Raises PlaceFailed."""
    try:
        ours, process = _popen(places, oom_counter)
        _, connected = await asyncio.get_running_loop().create_unix_connection(client, sock=ours)
    except OSError as error:
        raise PlaceFailed(f"The keeper could not be started with {sys.executable}: {error}.") from error
    connected.pid, connected.process = process.pid, process
    try:
        return connected, await _hello(connected, keep_s)
    except KeeperGone:
        await connected.reap()
        if process.returncode == 3:
            pid = _lock_content(places).get("pid", "unknown")
            raise PlaceFailed(
                f"An earlier keeper (pid {pid}) holds {places.keeper_lock} but does not answer.",
                hint=f"End it with `kill {pid}`.",
            ) from None
        raise PlaceFailed(
            f"The keeper ended at once (exit code {process.returncode}).", hint=f"See {places.keeper_log}."
        ) from None


def _popen(places: Places, oom_counter: str) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """A keeper and our end of the pair. Raises OSError."""
    log = os.open(places.keeper_log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        ours, theirs = socket.socketpair()
        argv = [sys.executable, "-P", "-m", "corral.runtimes.process.keeper"]
        argv += [f"lock={places.keeper_lock}", f"id={places.state_id}", f"fd={theirs.fileno()}"]
        argv += [f"socket={places.keeper_socket}", f"oom={oom_counter}"]
        try:
            process = subprocess.Popen(  # vfork: under 2 ms, and no child watcher is needed
                argv,
                env={name: value for name, value in inherited(os.environ).items() if name != procs.MARKER},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in Corral's terminal is for Corral
                pass_fds=[theirs.fileno()],
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        return ours, process
    finally:
        os.close(log)


async def _hello(client: KeeperClient, keep_s: float) -> Any:
    try:
        answer = await client.request("hello", timeout_s=HELLO_TIMEOUT_S, pid=os.getpid(), keep_s=keep_s)
    except TimeoutError:
        client.let_go()
        await client.close()
        raise PlaceFailed(
            f"The keeper did not answer within {HELLO_TIMEOUT_S:g} s.", hint="The machine may be overloaded; try again."
        ) from None
    except KeeperRefused as error:
        await client.close()
        raise PlaceFailed(f"The keeper refused: {error}.", hint="Only one Corral can use a state directory.") from None
    client.pid = answer["pid"]
    client.start_ticks = procs.start_ticks(client.pid)
    client.process = client.process or _KEPT.pop(client.pid, None)
    return answer


def _lock_content(places: Places) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        content = json.loads(places.keeper_lock.read_bytes())
        if isinstance(content, dict):
            return content
    return {}


def _keeper_socket(places: Places) -> str:
    # What the keeper says of itself: XDG_RUNTIME_DIR may differ between a login and a cron job.
    return str(_lock_content(places).get("socket", ""))
