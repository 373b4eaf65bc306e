"""
One client connection: requests in, one at a time; answers out, in order.

What protects the server from a client is here, in `body` and in `kit.http_heads`: the size of heads and bodies, the
time they may take, what may be sent ahead, who reads too slowly. While a request is served its connection is still
read, because that is how a departure is seen: what the client sends ahead is held, up to a cap; beyond it reading
stops and the sweeper asks the socket itself.

Phases: HEAD -> BODY -> SERVING -> HEAD ..., then LINGER (the last answer is out, the client may still be sending:
closing now could reset the connection before the answer is read) -> CLOSED. From SERVING a request may go to TUNNEL: it
has become a websocket, and all that comes is its other side's affair.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from corral.contracts.dialect import Dialect
from corral.domain.errors import BadRequest, BodyTooLarge, Busy, CorralError
from corral.domain.serving import Caller
from corral.gateway import errors
from corral.gateway.auth import Credential
from corral.gateway.body import BodyReader
from corral.gateway.routes.table import Route
from corral.gateway.serving import Serving, Timed
from corral.gateway.slow import SlowReader
from corral.kit.departure import has_left
from corral.kit.http_heads import END_OF_HEAD, STATUS_LINES, BadHead, RequestHead, SameHead, parse_request_head

if TYPE_CHECKING:
    from corral.gateway.server import Gateway

HEAD, BODY, SERVING, LINGER, CLOSED, TUNNEL = range(6)

AHEAD_LIMIT: Final = 256 * 1024  # bytes of later requests held while one is served
WRITE_HIGH: Final = 128 * 1024  # unsent bytes at which the engine is no longer read
WRITE_LOW: Final = 32 * 1024
LINGER_S: Final = 2.0
LINGER_BYTES: Final = 4 * 1024 * 1024
BODY_TOTAL_FACTOR: Final = 20  # a body may take this many times `body_timeout_s` in all
NEVER: Final = float("inf")


class ClientConnection(asyncio.Protocol):
    """See the module's text. `gateway` decides about requests; this class moves bytes and watches the clock."""

    # fmt: off
    __slots__ = (
        "_again", "_ahead", "_bodiless", "_body", "_body_until", "_buffer", "_chunked", "_closing", "_limit",
        "_lingered", "_paused_reading", "_phase", "_pumping", "_slow", "_timed", "_tunnel", "_unread", "arrived",
        "caller", "credential", "deadline", "extra", "gateway", "head", "held", "local", "ollama", "peer", "route",
        "serving", "transport",
    )
    # fmt: on
    transport: asyncio.Transport
    head: RequestHead

    def __init__(self, gateway: Gateway, *, local: bool, ollama: bool = False) -> None:
        self.gateway = gateway
        self.local = local  # came over the control socket
        self.ollama = ollama  # came to the port of Ollama's name
        self.peer = ""
        self.credential: Credential = None
        self.caller: Caller | None = None
        self.route: Route | None = None
        self.extra = b""  # header lines that every answer to the present request carries
        self.arrived = 0.0
        self.deadline = NEVER
        self.serving: Serving | None = None
        self.held = 0  # bytes of the present body, counted in the gateway's budget
        self._timed: Timed | None = None
        self._tunnel: Callable[[bytes], None] | None = None
        self._phase = HEAD
        self._buffer = b""
        self._again: SameHead[RequestHead] | None = None  # the last head, where it led to a Model's route
        self._limit = 0  # of the present request's body
        self._ahead = bytearray()
        self._body: BodyReader | None = None
        self._body_until = NEVER
        self._pumping = False
        self._paused_reading = False
        self._closing = False
        self._unread = False  # the client may still be sending a body that nobody wants
        self._chunked = False
        self._bodiless = False
        self._lingered = 0
        self._slow = SlowReader()

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

    def eof_received(self) -> None:
        """A client that has closed its side wants no more answers (promise 6); the transport closes itself."""
        answering = self._phase == SERVING or self._phase == TUNNEL
        self._depart()
        if answering:
            self.transport.abort()  # what is not sent yet has no reader; waiting for it to go out could take for ever

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, for whatever reason."""
        self._depart()
        self.gateway.closed(self)

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        self._slow.begins(self.transport.get_write_buffer_size(), self.gateway.now)
        self.deadline = min(self.deadline, self.gateway.now + self.gateway.spec.body_timeout_s)
        if self.serving is not None:
            self.serving.pause()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._slow.ends()
        if self.serving is not None:
            self.serving.resume()

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

    # --- answers ---

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

    def hold_reading(self, held: bool) -> None:
        """Read the client no further for now (then the sweeper looks whether it is still there), or go on."""
        if held == self._paused_reading:
            return
        self._paused_reading = held
        if held:
            self.transport.pause_reading()
            self.gateway.paused.add(self)
        else:
            self.gateway.paused.discard(self)
            self.transport.resume_reading()

    def break_off(self) -> None:
        """The present answer cannot be completed: end the connection without the mark of a complete body."""
        if self._phase == SERVING or self._phase == TUNNEL:
            self._tunnel = None
            self.serving = self._timed = None
            self._give_back()
            self._close()

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

    # --- the end ---

    def _close(self) -> None:
        self.deadline = self.gateway.now + LINGER_S
        self.gateway.paused.discard(self)
        if not (self._unread or self._buffer or self._ahead):
            self._phase = CLOSED
            self.transport.close()
            return
        self._phase = LINGER
        self._buffer = b""
        self._ahead.clear()
        if self._paused_reading:
            self.transport.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _depart(self) -> None:
        """The client has left, or the connection has ended."""
        phase, self._phase = self._phase, CLOSED
        if phase == CLOSED:
            return
        self._buffer = b""
        self._ahead.clear()
        self.deadline = self.gateway.now + LINGER_S
        self.gateway.paused.discard(self)
        self._body_gone()
        self._give_back()
        serving, self.serving, self._timed = self.serving, None, None
        if serving is not None:
            serving.gone()
        elif phase == BODY:
            self.gateway.left(self)

    def _give_back(self) -> None:
        if self.held:
            self.gateway.bodies.give(self.held)
            self.held = 0

    def retire(self) -> None:
        """The gateway is going down: an idle connection ends now, a busy one after its answer."""
        if self._phase == HEAD and not self._buffer:
            self._close()

    def abort(self) -> None:
        """End now."""
        self._depart()
        self.transport.abort()

    # --- the clock (called by the sweeper) ---

    def check_departure(self) -> None:
        """Reading is paused: has the client left all the same?"""
        if has_left(self.transport.get_extra_info("socket").fileno()):
            self._depart()
            self.transport.abort()

    def overdue(self, now: float) -> None:
        """`deadline` has passed."""
        if self._slow.stuck(self.transport.get_write_buffer_size(), now, self.gateway.spec.body_timeout_s):
            self.transport.abort()
        elif self._phase == SERVING or self._phase == TUNNEL:
            timed = self._timed
            until = timed.overdue(now) if timed is not None else NEVER
            if self._phase in (SERVING, TUNNEL) and self._timed is timed:
                # A client that does not read is looked at again after body_timeout_s.
                stalled = now + self.gateway.spec.body_timeout_s if self._slow.behind else NEVER
                self.deadline = min(until, stalled)
        elif self._phase == BODY or (self._phase == HEAD and self._buffer):
            if self._phase == BODY:
                self.gateway.left(self, timeout=True)
            self._body_gone()
            self._refuse_connection(BadRequest("The request did not arrive in time."), 408)
        elif self._phase == HEAD:
            self._close()
        elif not self._slow.behind:
            self.transport.abort()
        else:
            self.deadline = now + self.gateway.spec.body_timeout_s

    def _body_gone(self) -> None:
        if self._body is not None:
            self.held, self._body = self._body.size, None
            self._give_back()
