"""
Connections to engines: one protocol for a connection, one pool for all.

llama-server closes its connection after each streamed answer without saying so, and an idle one after 5 s. So idle
links live 4 s at most, one is opened ahead of need where the engine closes after streams, and whoever sends a request
on a used link must be ready to send it again (`reused`).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from corral.domain.errors import CorralError, EngineProtocolError, Unloaded
from corral.domain.launch import Endpoint
from corral.gateway.heads import passed_on
from corral.kit.chunked import AnswerChunks, BadChunk
from corral.kit.http_heads import END_OF_HEAD, BadHead, ResponseHead, SameHead, parse_response_head
from corral.kit.tasks import Tasks

IDLE_S: Final = 4.0
CONNECT_S: Final = 10.0
_HEAD_LIMIT: Final = 64 * 1024
_KNOWN_HEADS: Final = 4  # of one engine: answers, streams, errors
_KNOWN_LIMIT: Final = 2048
_UNTIL_CLOSE: Final = -1
_VERSION: Final = b"HTTP/1."
_CLOSED_AFTER_STREAM_S: Final = 0.25


End = TypeVar("End", bound=asyncio.Protocol)


class LinkUser(Protocol):
    """Who sends a request over a link and takes the answer."""

    def linked(self, link: Link) -> None:
        """The link is open and yours."""
        ...

    def unreachable(self, reason: str) -> None:
        """There is no connection to be had."""
        ...

    def answered(self, link: Link, data: bytes, complete: bool) -> None:
        """
        A part of the answer: body bytes without framing. The first call comes with the head, in `link.head`.

        With `complete` the link is already on its way back to the pool.
        """
        ...

    def link_failed(self, link: Link, error: CorralError | None) -> None:
        """The answer will not be completed. None: the connection ended; `link.heard` tells whether anything came."""
        ...


class AnswerHead:
    """An engine's head, read: how its body is framed, and the lines of it that clients get."""

    __slots__ = ("chunked", "keep_alive", "length", "lines", "status", "stream")

    def __init__(self, head: ResponseHead) -> None:
        bodiless = head.status in (204, 304)
        self.status = head.status
        self.length = 0 if bodiless else head.length
        self.chunked = head.chunked and not bodiless
        self.keep_alive = head.keep_alive
        self.lines = passed_on(head.headers)
        self.stream = head.fields.get(b"content-type", b"").startswith(b"text/event-stream")


class Link(asyncio.Protocol):
    """One connection to an engine; carries one request at a time."""

    __slots__ = (
        "_bodiless", "_buffer", "_chunks", "_head_left", "_left", "head", "idle_since", "length", "reused", "site",
        "transport", "user",
    )  # fmt: skip
    transport: asyncio.Transport

    def __init__(self, site: Site) -> None:
        self.site = site
        self.user: LinkUser | None = None
        self.reused = False
        self.idle_since = 0.0
        self.head: AnswerHead | None = None  # of the present answer, and then of the last one
        self.length: int | None = None  # of the whole body, None where it is not known
        self._bodiless = False
        self._buffer = b""  # a head that is not complete
        self._head_left = _HEAD_LIMIT
        self._chunks: AnswerChunks | None = None
        self._left = _UNTIL_CLOSE  # bytes of the body still to come

    @property
    def heard(self) -> bool:
        """Anything of an answer has come."""
        return self.head is not None or bool(self._buffer) or self._head_left < _HEAD_LIMIT

    @property
    def was_stream(self) -> bool:
        """The last answer was a stream of events."""
        return self.head is not None and self.head.stream

    # --- for the user ---

    def send(self, user: LinkUser, head: bytes, body: bytes, *, bodiless: bool = False) -> None:
        """Send a request. `bodiless`: it is a HEAD request, so the answer has no body whatever its head says."""
        self.user = user
        self.head = self._chunks = None
        self._left = _UNTIL_CLOSE
        self._bodiless = bodiless
        if len(body) < 65536:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, body))

    def drop(self) -> None:
        """End the connection now; the engine sees the client leave. Nothing more is told to the user."""
        self.user = None
        self.site.forget(self)
        self.transport.abort()

    # --- asyncio ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport."""
        self.transport = transport  # type: ignore[assignment]
        self.site.links.add(self)

    def data_received(self, data: bytes) -> None:
        """Parse first, then hand on: nothing beyond the end of the answer can pass."""
        user = self.user
        if user is None:
            self.drop()  # an idle engine has nothing to say
            return
        begins = self.head is None
        try:
            if begins:
                data = self._read_head(data)
                if self.head is None:
                    return
            if self._chunks is not None:
                body = self._chunks.feed(data)
                complete, clean = self._chunks.done, not self._chunks.extra
            elif self._left == _UNTIL_CLOSE:
                body, complete, clean = data, False, False
            else:
                self._left -= len(data)
                complete, clean = self._left <= 0, self._left == 0
                body = data[: self._left] if self._left < 0 else data
        except (BadHead, BadChunk) as error:
            self.drop()
            user.link_failed(self, EngineProtocolError(f"The engine's answer is not valid HTTP: {error}."))
            return
        if complete:
            self._finished(user, body, clean=clean)
        elif body or begins:
            user.answered(self, body, False)

    def _read_head(self, data: bytes) -> bytes:
        """Take the head, when it is complete; what follows it. Raises BadHead."""
        if self._buffer:
            data, self._buffer = self._buffer + data, b""
        for same, known in self.site.heads:  # what this engine has sent before
            end = same.end(data)
            if end:
                self._begin(known, same.length)
                return data[end:]
        while True:
            end = data.find(END_OF_HEAD) + 4
            if end < 4 or end > self._head_left:
                self._buffer = self._no_head(data)
                return b""
            block, data = data[:end], data[end:]
            parsed = parse_response_head(block)
            if parsed.status >= 200:
                head = self.site.learn_head(block, parsed)
                self._begin(head, head.length)
                return data
            self._head_left -= end  # an interim answer

    def _begin(self, head: AnswerHead, length: int | None) -> None:
        self.head = head
        self.length = length
        self._head_left = _HEAD_LIMIT
        if self._bodiless:
            self._left = 0
        elif head.chunked:
            self._chunks = AnswerChunks()
        elif length is not None:
            self._left = length

    def _no_head(self, data: bytes) -> bytes:
        """It is not complete: whether it can still become one."""
        if len(data) > self._head_left:
            raise BadHead("the head is too long")
        if not data.startswith(_VERSION[: len(data)]) or data.count(b"\n") != data.count(b"\r\n"):
            raise BadHead("the head is malformed")
        return data

    def _finished(self, user: LinkUser, body: bytes, *, clean: bool) -> None:
        self.user = None
        head = self.head
        # After a HEAD request nobody knows whether the engine sends a body all the same.
        keep = clean and head is not None and head.keep_alive and not self._bodiless
        if keep and not self.transport.get_write_buffer_size():
            self.site.put_back(self)
        else:
            self.site.forget(self)
            self.transport.close()
            if self.was_stream:
                self.site.open_ahead()
        user.answered(self, body, True)

    def connection_lost(self, exc: Exception | None) -> None:
        """The end of a body without length is its end; otherwise the user must know."""
        user, self.user = self.user, None
        self.site.lost(self)
        if user is None:
            return
        until_close = self.head is not None and self._chunks is None and self._left == _UNTIL_CLOSE
        if exc is None and until_close:
            user.answered(self, b"", True)
        else:
            user.link_failed(self, None)


class Site:
    """The links to one instance."""

    __slots__ = (
        "_opening",
        "base_path",
        "closes_after_stream",
        "endpoint",
        "heads",
        "idle",
        "links",
        "pool",
        "prefix",
        "renames",
        "used_at",
    )

    def __init__(self, pool: LinkPool, endpoint: Endpoint) -> None:
        self.pool = pool
        self.endpoint = endpoint
        self.idle: list[Link] = []
        self.links: set[Link] = set()
        self.heads: list[tuple[SameHead[ResponseHead], AnswerHead]] = []
        self.closes_after_stream = False
        self.used_at = 0.0
        self._opening = 0
        self.base_path = endpoint.base_path.encode()
        self.renames = bool(endpoint.model_name) or endpoint.v1 != "/v1"
        host = "localhost" if endpoint.socket else f"{endpoint.host}:{endpoint.port}"
        key = f"authorization: Bearer {endpoint.key}\r\n" if endpoint.key else ""
        self.prefix = f" HTTP/1.1\r\nhost: {host}\r\n{key}".encode()

    def take(self, user: LinkUser) -> Link | None:
        """A link that is open, None when one is being opened (then `user.linked` is called)."""
        self.used_at = self.pool.now
        while self.idle:
            link = self.idle.pop()
            if not link.transport.is_closing():
                return link
        self.open(user)
        return None

    def open(self, user: LinkUser | None) -> None:
        """Open a fresh link for the user, or one ahead of need."""
        self._opening += 1
        self.pool.tasks.start(self._open(user), name=f"connect {self.endpoint}")

    def open_ahead(self) -> None:
        """Have one link ready for the next request."""
        if not self.idle and not self._opening:
            self.open(None)

    async def _open(self, user: LinkUser | None) -> None:
        try:
            async with asyncio.timeout(CONNECT_S):
                link = await self.pool.connect(self.endpoint, lambda: Link(self))
        except (OSError, TimeoutError) as error:
            if user is not None:
                user.unreachable(str(error) or "no answer in time")
            return
        finally:
            self._opening -= 1
        if user is None:
            self.put_back(link, fresh=True)
        else:
            user.linked(link)

    def learn_head(self, block: bytes, parsed: ResponseHead) -> AnswerHead:
        """Read a head and know it the next time."""
        head = AnswerHead(parsed)
        if len(block) <= _KNOWN_LIMIT and head.length == parsed.length:
            self.heads.insert(0, (SameHead(block, parsed), head))
            del self.heads[_KNOWN_HEADS:]
        return head

    def put_back(self, link: Link, *, fresh: bool = False) -> None:
        """The link is free for the next request."""
        if link.was_stream and self.closes_after_stream and not fresh:
            self.forget(link)
            link.transport.close()
            self.open_ahead()
            return
        link.reused = True
        link.idle_since = self.pool.now
        self.idle.append(link)

    def forget(self, link: Link) -> None:
        """The link is not to be used again."""
        if link in self.idle:
            self.idle.remove(link)

    def lost(self, link: Link) -> None:
        """The connection has ended; learn from when it did."""
        self.links.discard(link)
        if link in self.idle:
            self.idle.remove(link)
            if link.was_stream and self.pool.now - link.idle_since < _CLOSED_AFTER_STREAM_S:
                self.closes_after_stream = True
                self.open_ahead()


class LinkPool:
    """Links by instance. Instances come and go; a site without links is forgotten after a while."""

    def __init__(self, tasks: Tasks, now: float) -> None:
        self.tasks = tasks
        self.now = now  # as of the gateway's last tick: good enough for idle links
        self._sites: dict[str, Site] = {}
        self._tls: ssl.SSLContext | None = None

    def site(self, instance: str, endpoint: Endpoint) -> Site:
        """The site of an instance."""
        site = self._sites.get(instance)
        if site is None or (site.endpoint is not endpoint and site.endpoint != endpoint):
            site = self._sites[instance] = Site(self, endpoint)
        return site

    async def connect(self, endpoint: Endpoint, factory: Callable[[], End]) -> End:
        """Open one connection."""
        loop = asyncio.get_running_loop()
        if endpoint.socket:
            return (await loop.create_unix_connection(factory, endpoint.socket))[1]
        context: ssl.SSLContext | None = None
        if endpoint.tls:
            context = self._tls = self._tls or ssl.create_default_context()
        return (await loop.create_connection(factory, endpoint.host, endpoint.port, ssl=context))[1]

    def stop(self, instance: str) -> None:
        """
        Close every link to an instance that is about to be stopped.

        An engine may not end while a connection has a request on it; those requests are told that it is gone.
        """
        site = self._sites.pop(instance, None)
        for link in list(site.links) if site is not None else ():
            user = link.user
            link.drop()
            if user is not None:
                user.link_failed(link, Unloaded("The Model was stopped while it worked on this request."))

    def sweep(self) -> None:
        """Close links that have been idle for too long; forget sites that nobody uses."""
        now = self.now
        for instance, site in list(self._sites.items()):
            for link in [link for link in site.idle if now - link.idle_since > IDLE_S]:
                site.forget(link)
                link.transport.close()
            if not site.links and now - site.used_at > 60:
                del self._sites[instance]

    def close(self) -> None:
        """Close all links."""
        for instance in list(self._sites):
            self.stop(instance)

    def __len__(self) -> int:
        """Open links."""
        return sum(len(site.links) for site in self._sites.values())
