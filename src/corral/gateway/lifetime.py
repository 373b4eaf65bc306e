"""
How long a client connection lasts, and how it ends: by its client, by its clock, or after its last answer.

While a request is served its connection is still read, because that is how a departure is seen: what the client sends
ahead is held, up to a cap; beyond it reading stops and the sweeper asks the socket itself.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from corral.domain.errors import BadRequest, CorralError
from corral.domain.serving import Caller
from corral.gateway.answer_side import BODY, CLOSED, HEAD, LINGER, SERVING, TUNNEL, AnswerSide
from corral.gateway.body import BodyReader
from corral.gateway.serving import Serving, Timed
from corral.gateway.slow import SlowReader
from corral.kit.departure import has_left

if TYPE_CHECKING:
    from corral.gateway.server import Gateway

LINGER_S: Final = 2.0
NEVER: Final = float("inf")


class Lifetime(AnswerSide):
    """What a connection holds, for whom it works, and until when. `deadline` is looked at by the sweeper."""

    __slots__ = (
        "_ahead", "_body", "_buffer", "_paused_reading", "_slow", "_timed", "_tunnel", "_unread", "arrived", "caller",
        "deadline", "held", "serving",
    )  # fmt: skip

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(gateway)
        self.caller: Caller | None = None
        self.arrived = 0.0  # when the present request did
        self.deadline = NEVER
        self.serving: Serving | None = None
        self.held = 0  # bytes of the present body, counted in the gateway's budget
        self._timed: Timed | None = None
        self._tunnel: Callable[[bytes], None] | None = None
        self._buffer = b""
        self._ahead = bytearray()
        self._body: BodyReader | None = None
        self._paused_reading = False
        self._unread = False  # the client may still be sending a body that nobody wants
        self._slow = SlowReader()

    @abstractmethod
    def _refuse_connection(self, error: CorralError, status: int = 0) -> None:
        """Nothing that comes can be trusted any more: say so, and close."""

    # --- asyncio ---

    def eof_received(self) -> None:
        """A client that has closed its side wants no more answers (promise 6); the transport closes itself."""
        answering = self._phase == SERVING or self._phase == TUNNEL
        self._depart()
        if answering:
            self.transport.abort()  # what is not sent yet has no reader; waiting for it to go out could take for ever

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

    # --- the end ---

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
