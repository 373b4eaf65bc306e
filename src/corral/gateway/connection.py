"""
One client connection: requests in, one at a time; answers out, in order (`answer_side`); its end (`lifetime`).

What protects the server from a client is here, in `body` and in `kit.http_heads`: the size of heads and bodies, the
time they may take, what may be sent ahead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from corral.domain.errors import BadRequest, BodyTooLarge, Busy, CorralError
from corral.gateway.answer_side import BODY, HEAD, SERVING, TUNNEL
from corral.gateway.auth import Credential
from corral.gateway.body import BodyReader
from corral.gateway.lifetime import NEVER, Lifetime
from corral.gateway.serving import Serving, Timed
from corral.kit.http_heads import END_OF_HEAD, STATUS_LINES, BadHead, RequestHead, SameHead, parse_request_head

if TYPE_CHECKING:
    from corral.gateway.server import Gateway

AHEAD_LIMIT: Final = 256 * 1024  # bytes of later requests held while one is served
WRITE_HIGH: Final = 128 * 1024  # unsent bytes at which the engine is no longer read
WRITE_LOW: Final = 32 * 1024
LINGER_BYTES: Final = 4 * 1024 * 1024
BODY_TOTAL_FACTOR: Final = 20  # a body may take this many times `body_timeout_s` in all


class ClientConnection(Lifetime):
    """See the module's text. `gateway` decides about requests; this class moves bytes."""

    __slots__ = ("_again", "_body_until", "_limit", "_lingered", "_pumping", "credential", "local", "ollama", "peer")

    def __init__(self, gateway: Gateway, *, local: bool, ollama: bool = False) -> None:
        super().__init__(gateway)
        self.local = local  # came over the control socket
        self.ollama = ollama  # came to the port of Ollama's name
        self.peer = ""
        self.credential: Credential = None
        self._again: SameHead[RequestHead] | None = None  # the last head, where it led to a Model's route
        self._limit = 0  # of the present request's body
        self._body_until = NEVER
        self._pumping = False
        self._lingered = 0

    # --- asyncio ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register with the gateway."""
        self.transport = transport  # type: ignore[assignment]
        self.transport.set_write_buffer_limits(high=WRITE_HIGH, low=WRITE_LOW)
        name = transport.get_extra_info("peername")
        self.peer = str(name[0]) if isinstance(name, tuple) else ""
        welcome = self.gateway.opened(self)
        self.deadline = self.gateway.now + self.gateway.spec.header_timeout_s
        if not welcome:
            self._refuse_connection(Busy("Too many connections are open."))

    def data_received(self, data: bytes) -> None:
        """Take bytes according to the phase."""
        phase = self._phase
        if phase == HEAD:
            if self._buffer:
                self._buffer += data
            else:
                self._buffer = data
                self.deadline = self.gateway.now + self.gateway.spec.header_timeout_s
            self._pump()
        elif phase == BODY:
            self._buffer = data
            self._pump()
        elif phase == SERVING:
            self._ahead += data
            if len(self._ahead) > AHEAD_LIMIT:
                self.hold_reading(True)
        elif phase == TUNNEL and self._tunnel is not None:
            self._tunnel(data)
        else:
            self._lingered += len(data)
            if self._lingered > LINGER_BYTES:
                self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, for whatever reason."""
        self._depart()
        self.gateway.closed(self)

    # --- requests ---

    def _pump(self) -> None:
        """Take requests out of the buffer, one after the other. Answers that are given at once do not recurse."""
        if self._pumping:
            return
        self._pumping = True
        going = True
        while going and self._buffer:
            if self._phase == HEAD:
                going = self._take_head()
            elif self._phase == BODY:
                going = self._take_body()
            else:
                going = False
        self._pumping = False

    def _take_head(self) -> bool:
        """One head; False when it is not complete or the connection is finished with."""
        data, again = self._buffer, self._again
        end = again.end(data) if again is not None else 0
        if again is None or not end:
            return self._take_new_head(data)
        head = again.head
        head.length = again.length
        self._begin(head, data[end:])
        return True

    def _take_new_head(self, data: bytes) -> bool:
        spec = self.gateway.spec
        self._again = None
        if data.startswith(b"\r\n"):  # one empty line before a request is tolerated (RFC 9112, section 2.2)
            data = data[2:]
        end = data.find(END_OF_HEAD)
        if end < 0 or end > spec.header_limit_bytes:
            return self._no_head(data, spec.header_limit_bytes)
        try:
            head = parse_request_head(data[: end + 4], count_limit=spec.header_count_limit)
        except BadHead as error:
            self._refuse_connection(BadRequest(str(error)), error.status)
            return False
        self._begin(head, data[end + 4 :], data[: end + 4])
        return True

    def _begin(self, head: RequestHead, rest: bytes, block: bytes = b"") -> None:
        """A head has come, its body usually with it. `block`: the head's bytes, none when it is the last one again."""
        gateway = self.gateway
        self.head = head
        self._buffer = rest
        self.arrived = gateway.clock.now()
        self._bodiless = head.method == b"HEAD"
        self._closing = not head.keep_alive
        self._phase = BODY
        try:
            if block:
                self._limit = gateway.admit(self, head)
                if self.route is not None:
                    self._again = SameHead(block, head)
            else:
                gateway.admit_again(self)
            length, here = head.length or 0, len(rest)
            if length > self._limit:
                raise BodyTooLarge(f"The request body is larger than {self._limit} bytes.")
            if head.chunked or here < length:
                self._await_body(head, self._limit)
                return
            gateway.bodies.take(length)
        except CorralError as error:
            self._refuse_request(error)
            return
        self.held = length
        self._buffer = rest[length:]
        self._serve(rest if here == length else rest[:length])

    def _no_head(self, data: bytes, limit: int) -> bool:
        if len(data) > limit:
            self._refuse_connection(BadRequest(f"The request head is larger than {limit} bytes."), 431)
        elif data.count(b"\n") != data.count(b"\r\n"):
            self._refuse_connection(BadRequest("Lines of a request head end with CRLF."))
        return False

    def _await_body(self, head: RequestHead, limit: int) -> None:
        expect = head.fields.get(b"expect")
        if expect is not None and head.minor == 1:
            if expect.lower() != b"100-continue":
                raise BadRequest("The only expectation understood is 100-continue.")
            if not self._buffer:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        timeout_s = self.gateway.spec.body_timeout_s
        self._body = BodyReader(head, limit, self.gateway.bodies)
        self._body_until = self.gateway.now + BODY_TOTAL_FACTOR * timeout_s
        self.deadline = self.gateway.now + timeout_s

    def _take_body(self) -> bool:
        reader = self._body
        if reader is None:
            return False
        data, self._buffer = self._buffer, b""
        try:
            reader.feed(data)
        except CorralError as error:
            self.held = reader.size
            self._refuse_request(error)
            return False
        self.held = reader.size
        self.deadline = min(self._body_until, self.gateway.now + self.gateway.spec.body_timeout_s)
        if reader.done:
            self._body = None
            self._buffer = reader.rest
            self._serve(reader.body())
        return True

    def _serve(self, body: bytes) -> None:
        self._phase = SERVING
        self.deadline = NEVER
        self.gateway.serve(self, self.head, body)

    def serve_with(self, serving: Serving, timed: Timed | None = None) -> None:
        """The gateway has found who answers."""
        self.serving = serving
        self._timed = timed

    def finish(self) -> None:
        """The present answer is out: on to the next request, or to the end."""
        self.serving = self._timed = None
        self._give_back()
        if self._closing or self.gateway.draining:
            self._close()
            return
        self._phase = HEAD
        self.deadline = self.gateway.now + self.gateway.spec.keepalive_s
        if self._paused_reading:
            self.hold_reading(False)
        if self._ahead:
            self._buffer += bytes(self._ahead)
            self._ahead.clear()
        if self._buffer:
            self.deadline = self.gateway.now + self.gateway.spec.header_timeout_s
            self._pump()

    def close_after_answer(self) -> None:
        """What has come ahead is no request."""
        self._closing = self._unread = True

    def open_tunnel(self, fields: bytes, take: Callable[[bytes], None]) -> None:
        """Both sides have agreed: from here on bytes go to `take`, those that came ahead first."""
        self.transport.write(b"%b%b%b%b\r\n" % (STATUS_LINES[101], fields, self.extra, self.gateway.date_line))
        self._phase, self._tunnel, self._again = TUNNEL, take, None
        ahead = self._buffer + bytes(self._ahead)
        self._buffer = b""
        self._ahead.clear()
        self.hold_reading(False)
        if ahead:
            take(ahead)

    def _refuse_request(self, error: CorralError) -> None:
        """Answer without serving. A body that has not come in whole ends the connection."""
        length = self.head.length or 0
        if self._body is not None or self.head.chunked or len(self._buffer) < length:
            self._body = None
            self._closing = self._unread = True
        else:
            self._buffer = self._buffer[length:]
        self._phase = SERVING
        self.gateway.refuse(self, error)

    def _refuse_connection(self, error: CorralError, status: int = 0) -> None:
        """One too many, or its bytes make no sense or come too slowly: nothing after them can be trusted."""
        self.head = RequestHead(b"", b"/", 1, [])
        self._bodiless = False
        self.extra = b""
        self._closing = self._unread = True
        self._phase = SERVING
        self.answer_error(error, status=status)
