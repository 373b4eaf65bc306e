"""
Websockets on `/upstream`: the handshake goes to the engine, then bytes both ways, which nobody here looks at.

    ask -> WAITING -> granted -> CONNECTING -> 101 of the engine -> OPEN -> either side ends

The lease is held as long as the connection lives. It is weightless, for nobody here can tell work from waiting, and
finite: silence on both sides ends it after the Model's `idle` time, and all ends after `total`. A side that does not
read stops the other from being read. What the client sends before the engine has agreed is held; it is never taken for
anything but part of this connection.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from corral.contracts.leases import Lease, Ticket
from corral.domain.errors import (
    BadRequest,
    CorralError,
    EngineDied,
    EngineProtocolError,
    EngineRefused,
    EngineSilent,
    QueueTimeout,
)
from corral.domain.events import RequestFinished
from corral.domain.fleet import ModelSpec
from corral.domain.serving import NOBODY
from corral.gateway.heads import SENT_RAW, engine_lines
from corral.gateway.links import CONNECT_S
from corral.gateway.routes.table import Route
from corral.kit import websockets
from corral.kit.http_heads import END_OF_HEAD, BadHead, RequestHead, parse_response_head

if TYPE_CHECKING:
    from corral.gateway.connection import ClientConnection

WAITING, CONNECTING, OPEN, OVER = range(4)
DRAIN_SILENCE_S: Final = 1.0
"""At shutdown a connection ends when it has been silent for so long: nobody can say that it is in the middle."""

_QUEUE_GRACE_S: Final = 5.0
_HEAD_LIMIT: Final = 64 * 1024
_SENT: Final = SENT_RAW | {
    b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-protocol", b"sec-websocket-extensions",
}  # fmt: skip
_GIVEN: Final = frozenset({b"sec-websocket-accept", b"sec-websocket-protocol", b"sec-websocket-extensions"})
_UPGRADE: Final = b"upgrade: websocket\r\nconnection: Upgrade\r\n"


def check_upgrade(raw: bool, head: RequestHead) -> None:
    """
    Only websockets, and only to an engine itself (`raw`): all else would be bytes that nobody has looked at.

    Raises BadRequest.
    """
    if not raw or not websockets.is_offer(head):
        raise BadRequest("Upgrades are not served here.", hint="Websockets are, under /upstream/MODEL/.")
    problem = websockets.problem(head)
    if problem:
        raise BadRequest(f"This cannot become a websocket: {problem}.")


class Tunnel:
    """Waiter and Timed: one websocket."""

    _state = WAITING
    _lease: Lease | None = None
    _ticket: Ticket | None = None
    _engine: EngineEnd | None = None
    _paused = False
    _status = 0
    _queue_s = 0.0
    _bytes_out = 0
    instance = ""

    def __init__(self, client: ClientConnection, route: Route, model: ModelSpec, path: bytes) -> None:
        self._client, self._gateway = client, client.gateway
        self._route, self._model, self._path = route, model, path
        self._request_id = client.gateway.request_id(client.head)
        self._since = self._moved_at = client.arrived

    # --- on the way ---

    def ask(self) -> None:
        """Ask for a lease; everything else follows."""
        gateway, timeout_s = self._gateway, self._model.timeouts.queue_s
        gateway.tunnels.add(self)
        self._since = gateway.clock.now()
        ticket = gateway.leases.ask(
            self, model=self._model.name, caller=self._client.caller or NOBODY, timeout_s=timeout_s, weight=0
        )
        if self._state == WAITING:
            self._ticket = ticket
            self._client.deadline = self._since + timeout_s + _QUEUE_GRACE_S

    def granted(self, lease: Lease) -> None:
        """The lease is there: on to the engine."""
        if self._state != WAITING:
            lease.release()
            return
        self._ticket, self._lease, self.instance = None, lease, lease.instance
        self._state = CONNECTING
        self._queue_s = lease.waited_s
        self._since = self._gateway.clock.now()
        self._client.deadline = self._since + self._model.timeouts.first_token_s
        self._gateway.tasks.start(self._connect(lease), name=f"websocket to {lease.endpoint}")

    def refused(self, error: CorralError) -> None:
        """There will be no lease."""
        if self._state == WAITING:
            self.fail(error)

    async def _connect(self, lease: Lease) -> None:
        head, site = self._client.head, self._gateway.links.site(lease.instance, lease.endpoint)
        try:
            async with asyncio.timeout(CONNECT_S):
                engine = await self._gateway.links.connect(lease.endpoint, lambda: EngineEnd(self))
        except (OSError, TimeoutError) as error:
            self.fail(EngineDied(f"The engine cannot be reached: {str(error) or 'no answer in time'}."))
            return
        if self._state != CONNECTING:
            engine.transport.abort()
            return
        self._engine = engine
        engine.transport.write(engine_lines(head, self._path, _SENT, site) + _UPGRADE + b"\r\n")

    def answered(self, block: bytes, rest: bytes) -> None:
        """The engine's head; it has agreed, or not."""
        try:
            head = parse_response_head(block, switching=True)
        except BadHead as error:
            return self.fail(EngineProtocolError(f"The engine's answer is not valid HTTP: {error}."))
        if head.status != 101:
            status = head.status if 400 <= head.status <= 599 else 502
            words = f"The engine opens no websocket here: it answered with status {head.status}."
            return self.fail(EngineRefused(words, engine_status=status))
        if not websockets.is_accepted(head, self._client.head.fields[b"sec-websocket-key"]):
            return self.fail(EngineProtocolError("The engine's answer is not that of a websocket server."))
        self._state, self._status = OPEN, 101
        self._moved_at = self._since = self._gateway.clock.now()
        given = b"".join([b"%b: %b\r\n" % pair for pair in head.headers if pair[0] in _GIVEN])
        fields = b"%b%bx-corral-source: engine\r\nx-request-id: %b\r\n" % (_UPGRADE, given, self._request_id)
        self._client.deadline = self.overdue(self._since)
        self._client.open_tunnel(fields, self.client_said)
        if rest:
            self.engine_said(rest)
        return None

    # --- bytes ---

    def client_said(self, data: bytes) -> None:
        """On to the engine."""
        self._moved_at = self._gateway.now
        if self._engine is not None:
            self._engine.transport.write(data)

    def engine_said(self, data: bytes) -> None:
        """On to the client."""
        self._moved_at = self._gateway.now
        self._bytes_out += len(data)
        self._client.transport.write(data)

    def pause(self) -> None:
        """The client reads too slowly."""
        self._paused = True
        if self._engine is not None:
            self._engine.transport.pause_reading()

    def resume(self) -> None:
        """The client has caught up."""
        self._paused = False
        self._moved_at = self._gateway.now
        if self._engine is not None:
            self._engine.transport.resume_reading()

    def engine_full(self, full: bool) -> None:
        """The engine reads too slowly, or has caught up."""
        if self._state == OPEN:
            self._client.hold_reading(full)

    # --- the end ---

    def gone(self) -> None:
        """The client has left."""
        self._end("ok" if self._state == OPEN else "client_gone", self._status or 499)

    def engine_gone(self, torn: bool) -> None:
        """The engine has closed its side."""
        if self._state == OPEN:
            self._end("engine_died" if torn else "ok", self._status)
            self._client.break_off()
        else:
            self.fail(EngineDied("The engine ended before it answered."))

    def stop(self) -> None:
        """The engine is about to be stopped."""
        if self._state == OPEN:
            self._end("ok", self._status)
            self._client.break_off()
        elif self._state == CONNECTING:
            self.fail(EngineDied("The Model was stopped while a websocket to it was opened."))

    def hurry(self) -> None:
        """Corral is about to end: see soon whether this is silent."""
        self._client.deadline = self._gateway.now

    def overdue(self, now: float) -> float:
        """See which deadline it is, if any."""
        limits = self._model.timeouts
        if self._state == OPEN:
            idle_s = min(limits.idle_s, DRAIN_SILENCE_S) if self._gateway.draining else limits.idle_s
            silent = float("inf") if self._paused else self._moved_at + idle_s
            until = min(silent, self._since + limits.total_s)
            if now >= until:
                self.stop()
            return until
        until = self._since + (limits.queue_s + _QUEUE_GRACE_S if self._state == WAITING else limits.first_token_s)
        if now >= until:
            words = "The engine did not answer in time."
            self.fail(QueueTimeout() if self._state == WAITING else EngineSilent(words))
        return until

    def fail(self, error: CorralError) -> None:
        """There will be no websocket: tell the client in HTTP, and end."""
        if self._state in (WAITING, CONNECTING):
            client, broken = self._client, isinstance(error, EngineDied)
            self._end("refused" if error.source == "corral" else "engine_error", client.dialect().error_status(error),
                      broken=broken)  # fmt: skip
            client.close_after_answer()
            client.answer_error(error, request_id=self._request_id)

    def _end(self, outcome: str, status: int, *, broken: bool = False) -> None:
        """Give everything back and publish; exactly once."""
        if self._state == OVER:
            return
        self._state = OVER
        gateway, client = self._gateway, self._client
        gateway.tunnels.discard(self)
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.leave()
        if self._ticket is not None:
            self._ticket.leave()
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.release(broken=broken)
        gateway.publisher.publish(
            RequestFinished(
                model=self._model.name,
                route=self._route.label,
                status=status,
                caller=client.caller.name if client.caller is not None else "",
                stream=False,
                outcome=outcome,
                duration_s=gateway.clock.now() - client.arrived,
                queue_s=self._queue_s,
                request_id=self._request_id.decode("latin-1"),
                instance=self.instance,
                bytes_out=self._bytes_out,
            )
        )


class EngineEnd(asyncio.Protocol):
    """The connection to the engine: its answer's head, then bytes."""

    transport: asyncio.Transport

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel: Tunnel | None = tunnel
        self._head: bytes | None = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport."""
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """The head is read whole; what follows it goes on."""
        tunnel = self._tunnel
        if tunnel is None:
            return
        if self._head is None:
            tunnel.engine_said(data)
            return
        block = self._head + data
        end = block.find(END_OF_HEAD) + len(END_OF_HEAD)
        if end < len(END_OF_HEAD) and len(block) <= _HEAD_LIMIT:
            self._head = block
            return
        if end < len(END_OF_HEAD):
            tunnel.fail(EngineProtocolError("The engine's answer is not valid HTTP: the head is too long."))
            return
        self._head = None
        tunnel.answered(block[:end], block[end:])

    def eof_received(self) -> None:
        """The engine has closed its side; the transport closes itself."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is not None:
            tunnel.engine_gone(exc is not None)

    def pause_writing(self) -> None:
        """The engine reads too slowly."""
        if self._tunnel is not None:
            self._tunnel.engine_full(True)

    def resume_writing(self) -> None:
        """It has caught up."""
        if self._tunnel is not None:
            self._tunnel.engine_full(False)

    def leave(self) -> None:
        """Nobody needs the engine any more. What it has not read by now, it does not get."""
        self._tunnel = None
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()
