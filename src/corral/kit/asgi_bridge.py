"""
A small ASGI host: one request whose body is already read, one app call, one answer.

It is for everything that is not hot. The connection (limits, framing, order of answers) is somebody else's: they give
an `Answer` to write to and tell the call when the client pauses, resumes or leaves. A client that leaves cancels the
call, so that whatever it holds is given back in its `finally`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, Protocol
from urllib.parse import unquote

from corral.kit.http_heads import RequestHead
from corral.kit.tasks import Tasks

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
AsgiApp = Callable[[Scope, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

# Framing is the connection's own affair.
_NOT_FROM_APPS: Final = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"content-length", b"date"})


class ClientLeft(OSError):
    """The client has gone; ASGI asks for an OSError from `send` then."""


def http_scope(head: RequestHead, client: tuple[str, int] | None, server: tuple[str, int]) -> dict[str, Any]:
    """The scope of a request (ASGI, HTTP 2.4)."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1" if head.minor else "1.0",
        "method": head.method.decode(),
        "scheme": "http",
        "path": unquote(head.path.decode("ascii")),
        "raw_path": head.path,
        "query_string": head.query,
        "root_path": "",
        "headers": head.headers,
        "client": client,
        "server": server,
    }


class Answer(Protocol):
    """Where one answer is written, in this order: `start`, any number of `body`, then `end` or `break_off`."""

    def start(self, status: int, headers: list[tuple[bytes, bytes]], length: int | None) -> None:
        """Send the head. `length` None: unknown."""
        ...

    def body(self, data: bytes) -> None:
        """Send a piece."""
        ...

    def end(self) -> None:
        """The answer is complete."""
        ...

    def break_off(self) -> None:
        """The answer cannot be completed: make that visible to the client."""
        ...


class AsgiCall:
    """One call of an app. `run` it as a task; `gone`, `pause` and `resume` come from the connection."""

    def __init__(self, app: AsgiApp, scope: Scope, body: bytes, answer: Answer) -> None:
        self._app = app
        self._scope = scope
        self._body: bytes | None = body
        self._answer = answer
        self._started = False
        self._ended = False
        self._gone = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._task: asyncio.Task[Any] | None = None

    def begin(self, tasks: Tasks, name: str) -> None:
        """Start the call as a task of `tasks`."""
        self._task = tasks.start(self.run(), name=name)

    def gone(self) -> None:
        """The client has left."""
        self._gone.set()
        self._writable.set()
        if self._task is not None:
            self._task.cancel()

    def pause(self) -> None:
        """The client reads slower than the app writes."""
        self._writable.clear()

    def resume(self) -> None:
        """The client has caught up."""
        self._writable.set()

    async def run(self) -> None:
        """Call the app and see to it that there is exactly one answer."""
        try:
            await self._app(self._scope, self._receive, self._send)
        except ClientLeft:
            return
        except Exception:
            logger.exception("%s %s failed", self._scope.get("method"), self._scope.get("path"))
        if not self._ended and not self._gone.is_set():
            self._rescue()

    def _rescue(self) -> None:
        """The app has returned or failed without a complete answer."""
        self._ended = True
        if self._started:
            self._answer.break_off()
            return
        text = b'{"error":{"message":"Something went wrong in Corral.","type":"server_error","code":"error"}}'
        self._answer.start(500, [(b"content-type", b"application/json")], len(text))
        self._answer.body(text)
        self._answer.end()

    async def _receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self._gone.is_set():
            raise ClientLeft
        kind = message["type"]
        if kind == "http.response.start" and not self._started:
            self._started = True
            self._start(message)
        elif kind == "http.response.body" and self._started and not self._ended:
            await self._piece(message)
        else:
            raise RuntimeError(f"unexpected ASGI message {kind!r}")

    def _start(self, message: Message) -> None:
        length: int | None = None
        headers: list[tuple[bytes, bytes]] = []
        for name, value in message.get("headers", ()):
            low = bytes(name).lower()
            if low == b"content-length":
                length = int(value)
            elif low not in _NOT_FROM_APPS:
                headers.append((low, bytes(value)))
        self._answer.start(message["status"], headers, length)

    async def _piece(self, message: Message) -> None:
        data = message.get("body", b"")
        if data:
            self._answer.body(bytes(data))
        if not message.get("more_body", False):
            self._ended = True
            self._answer.end()
            return
        # A client that stops reading is cut off by the connection's own deadline, which ends this wait.
        await self._writable.wait()
