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
from typing import Final, Protocol

import httptools

from corral.domain.errors import CorralError, EngineProtocolError, Unloaded
from corral.domain.launch import Endpoint
from corral.kit.tasks import Tasks

IDLE_S: Final = 4.0
CONNECT_S: Final = 10.0
_HEAD_LIMIT: Final = 64 * 1024
_CLOSED_AFTER_STREAM_S: Final = 0.25


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
        A part of the answer: `link.head_is_new` the first time, then body bytes without framing.

        With `complete` the link is already on its way back to the pool.
        """
        ...

    def link_failed(self, link: Link, error: CorralError | None) -> None:
        """The answer will not be completed. None: the connection ended; `link.heard` tells whether anything came."""
        ...


class Link(asyncio.Protocol):
    """One connection to an engine; carries one request at a time."""

    __slots__ = (
        "_bodiless", "_complete", "_extra", "_head_bytes", "_head_done", "_interim", "_keep", "_parser", "_pieces",
        "chunked", "fields", "head_is_new", "heard", "idle_since", "length", "reused", "site", "status", "transport",
        "user", "was_stream",
    )  # fmt: skip
    transport: asyncio.Transport

    def __init__(self, site: Site) -> None:
        self.site = site
        self.user: LinkUser | None = None
        self.reused = False
        self.idle_since = 0.0
        self._parser = httptools.HttpResponseParser(self)
        self._reset(bodiless=False)

    def _reset(self, *, bodiless: bool) -> None:
        self.status = 0
        self.fields: list[tuple[bytes, bytes]] = []
        self.length: int | None = None
        self.chunked = False
        self.was_stream = False
        self.head_is_new = False
        self.heard = False
        self._head_bytes = 0
        self._head_done = False
        self._interim = False
        self._complete = False
        self._extra = False
        self._keep = False
        self._bodiless = bodiless
        self._pieces: list[bytes] = []

    # --- for the user ---

    def send(self, user: LinkUser, head: bytes, body: bytes, *, bodiless: bool = False) -> None:
        """Send a request. `bodiless`: it is a HEAD request, so the answer has no body whatever its head says."""
        self.user = user
        self._reset(bodiless=bodiless)
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
        self.heard = True
        broken: Exception | None = None
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            broken = error
        if not self._head_done:
            self._head_bytes += len(data)
            if self._head_bytes > _HEAD_LIMIT:
                broken = ValueError("the head is too long")
        pieces = self._pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        if self._complete:
            self._finished(user, body, clean=broken is None and not self._extra)
        elif broken is not None:
            self.drop()
            user.link_failed(self, EngineProtocolError(f"The engine's answer is not valid HTTP: {broken}."))
        elif body or self.head_is_new:
            user.answered(self, body, False)

    def _finished(self, user: LinkUser, body: bytes, *, clean: bool) -> None:
        self.user = None
        if clean and self._keep and not self.transport.get_write_buffer_size():
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
        until_close = self._head_done and self.length is None and not self.chunked
        if exc is None and until_close and not self._complete:
            user.answered(self, b"", True)
        else:
            user.link_failed(self, None)

    # --- httptools ---

    def on_message_begin(self) -> None:
        """A second answer to one request: the first one counts, the connection does not."""
        if self._complete:
            self._extra = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect; what matters for framing is looked at in on_headers_complete."""
        if not self._complete:
            self.fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Status and framing are known."""
        if self._complete:
            return
        status = self._parser.get_status_code()
        if status < 200:
            self._interim = True
            self.fields.clear()
            return
        self.status = status
        for name, value in self.fields:
            if name == b"content-length":
                self.length = int(value)
            elif name == b"transfer-encoding":
                if value.strip().lower() != b"chunked":
                    raise ValueError("unknown transfer coding")
                self.chunked = True
            elif name == b"content-type":
                self.was_stream = value.startswith(b"text/event-stream")
        self._head_done = self.head_is_new = True
        self._keep = self._parser.should_keep_alive()
        if self._bodiless:
            self._complete = True  # the parser would wait for a body: this connection cannot go on
            self._keep = False

    def on_body(self, data: bytes) -> None:
        """Body bytes, framing removed."""
        if not self._complete:
            self._pieces.append(data)

    def on_message_complete(self) -> None:
        """The answer has ended, or an interim one has."""
        if self._interim:
            self._interim = False
        else:
            self._complete = True


class Site:
    """The links to one instance."""

    __slots__ = (
        "_opening",
        "base_path",
        "closes_after_stream",
        "endpoint",
        "idle",
        "links",
        "pool",
        "prefix",
        "used_at",
    )

    def __init__(self, pool: LinkPool, endpoint: Endpoint) -> None:
        self.pool = pool
        self.endpoint = endpoint
        self.idle: list[Link] = []
        self.links: set[Link] = set()
        self.closes_after_stream = False
        self.used_at = 0.0
        self._opening = 0
        self.base_path = endpoint.base_path.encode()
        host = "localhost" if endpoint.socket else f"{endpoint.host}:{endpoint.port}"
        key = f"authorization: Bearer {endpoint.key}\r\n" if endpoint.key else ""
        self.prefix = f" HTTP/1.1\r\nhost: {host}\r\n{key}".encode()

    def take(self, user: LinkUser) -> Link | None:
        """A link that is open, None when one is being opened (then `user.linked` is called)."""
        self.used_at = self.pool.now()
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

    def put_back(self, link: Link, *, fresh: bool = False) -> None:
        """The link is free for the next request."""
        if link.was_stream and self.closes_after_stream and not fresh:
            self.forget(link)
            link.transport.close()
            self.open_ahead()
            return
        link.reused = True
        link.idle_since = self.pool.now()
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
            if link.was_stream and self.pool.now() - link.idle_since < _CLOSED_AFTER_STREAM_S:
                self.closes_after_stream = True
                self.open_ahead()


class LinkPool:
    """Links by instance. Instances come and go; a site without links is forgotten after a while."""

    def __init__(self, tasks: Tasks, now: Callable[[], float]) -> None:
        self.tasks = tasks
        self.now = now
        self._sites: dict[str, Site] = {}
        self._tls: ssl.SSLContext | None = None

    def site(self, instance: str, endpoint: Endpoint) -> Site:
        """The site of an instance."""
        site = self._sites.get(instance)
        if site is None or (site.endpoint is not endpoint and site.endpoint != endpoint):
            site = self._sites[instance] = Site(self, endpoint)
        return site

    async def connect(self, endpoint: Endpoint, factory: Callable[[], Link]) -> Link:
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
        now = self.now()
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
