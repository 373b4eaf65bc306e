"""
What goes out on a client connection: the head of an answer framed for its client, the body, an error in its dialect.

Phases of a connection: HEAD -> BODY -> SERVING -> HEAD ..., then LINGER (the last answer is out, the client may still
be sending: closing now could reset the connection before the answer is read) -> CLOSED. From SERVING a request may go
to TUNNEL: it has become a websocket, and all that comes is its other side's affair.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from corral.contracts.dialect import Dialect
from corral.domain.errors import CorralError
from corral.gateway import errors
from corral.gateway.routes.table import Route
from corral.kit.http_heads import STATUS_LINES, RequestHead

if TYPE_CHECKING:
    from corral.gateway.server import Gateway

HEAD, BODY, SERVING, LINGER, CLOSED, TUNNEL = range(6)


class AnswerSide(asyncio.Protocol, ABC):
    """One answer at a time. What is sent when none is wanted (any more) goes nowhere."""

    __slots__ = ("_bodiless", "_chunked", "_closing", "_phase", "extra", "gateway", "head", "route", "transport")
    transport: asyncio.Transport
    head: RequestHead

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.route: Route | None = None
        self.extra = b""  # header lines that every answer to the present request carries
        self._phase = HEAD
        self._closing = False
        self._chunked = False
        self._bodiless = False

    @abstractmethod
    def finish(self) -> None:
        """The present answer is out."""

    def head_bytes(self, status: int, fields: bytes, length: int | None) -> bytes:
        """The head of the answer, framed for this client: length, chunks, or (HTTP/1.0) the end of the connection."""
        self._chunked = False
        framing = b""
        if status == 204 or status == 304:
            self._bodiless = True
        elif length is not None:
            framing = b"content-length: %d\r\n" % length
        elif self._bodiless:
            pass
        elif self.head.minor == 1:
            self._chunked = True
            framing = b"transfer-encoding: chunked\r\n"
        else:
            self._closing = True
        if self._closing or self.gateway.draining:
            self._closing = True
            framing += b"connection: close\r\n"
        elif self.head.minor == 0:
            framing += b"connection: keep-alive\r\n"
        line = STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
        return b"%b%b%b%b%b\r\n" % (line, fields, self.extra, framing, self.gateway.date_line)

    def framed(self, data: bytes, *, last: bool = False) -> bytes:
        """Body bytes as they go out; `last` adds the end of a chunked body."""
        if self._bodiless:
            return b""
        if not self._chunked:
            return data
        if last:
            return b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n"
        return b"%x\r\n%b\r\n" % (len(data), data) if data else b""

    def start(self, status: int, headers: list[tuple[bytes, bytes]], length: int | None) -> None:
        """Send a head (for the ASGI bridge)."""
        if self._phase == SERVING:
            fields = b"".join([b"%b: %b\r\n" % (name, value) for name, value in headers])
            if not any(name == b"x-corral-source" for name, _ in headers):  # an error says who failed
                fields += b"x-corral-source: corral\r\n"
            self.transport.write(self.head_bytes(status, fields, length))

    def body(self, data: bytes) -> None:
        """Send a piece of the body."""
        if self._phase == SERVING:
            self.transport.write(self.framed(data))

    def end(self) -> None:
        """The answer is complete."""
        if self._phase == SERVING:
            if self._chunked:
                self.transport.write(self.framed(b"", last=True))
            self.finish()

    def dialect(self) -> Dialect:
        """What the client of the present request speaks."""
        return errors.spoken(self.route, self.head.path, self.head.fields)

    def answer_error(self, error: CorralError, *, status: int = 0, request_id: bytes = b"") -> int:
        """A whole answer that is an error, in the client's dialect; its status."""
        dialect = self.dialect()
        shown, text = status or dialect.error_status(error), dialect.error_body(error, request_id.decode("latin-1"))
        fields = errors.lines(error, dialect, request_id)
        self.transport.write(self.head_bytes(shown, fields, len(text)) + self.framed(text))
        self.finish()
        return shown
