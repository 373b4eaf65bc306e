"""
The relay: one request, one lease, one engine connection, one answer.

Bodies pass as they are, but for the few fields of a chat that `dialects.openai.mends` knows and the operator's rules;
heads are rebuilt from allow-lists. What the engine sends is parsed before
anything is forwarded, and framed anew, so that never a byte beyond the end of an answer passes. What the client gets
of it is `answering`'s; here is the way there, and the end.

    ask -> WAITING -> granted -> CONNECTING -> SENT -> head -> STREAMING -> complete
                 ^________________ one retry, before the first byte _____|

Whatever happens, exactly once: the lease is released, the client answered (if it is still there), and one
`RequestFinished` published.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from corral.contracts.leases import Lease, Ticket
from corral.domain.errors import (
    CorralError,
    EngineDied,
    EngineFailed,
    EngineProtocolError,
    EngineSilent,
    QueueTimeout,
)
from corral.domain.events import RequestFinished
from corral.domain.fleet import ModelSpec
from corral.domain.launch import LLAMA, LoadWish
from corral.domain.serving import NOBODY
from corral.gateway.answering import CONNECTING, OVER, SENT, STREAMING, WAITING, Answer
from corral.gateway.errors import outcome_of
from corral.gateway.heads import SENT_RAW, engine_lines
from corral.gateway.links import Link, Site
from corral.gateway.naming import addressed
from corral.gateway.routes.table import FROM_PATH, Route
from corral.gateway.waiting import NEVER, SOON_S, Signs, first_look_s, load_part

if TYPE_CHECKING:
    from corral.gateway.connection import ClientConnection

QUEUE_GRACE_S: Final = 5.0  # the scheduler answers in time; this is the net below it
LOADING_RETRIES: Final = 40
LOADING_PAUSE_S: Final = 0.05
LOOK_LIMIT: Final = 4096
_SAW_NOTHING: Final = 499  # the status on record when the client left before there was an answer


class Exchange(Answer):
    """Waiter, LinkUser and Timed in one: all that one request needs, without a task of its own."""

    __slots__ = (
        "_asked_again", "_head", "_instance", "_keep_s", "_lease", "_link", "_loading_left", "_looked_at", "_path",
        "_paused", "_site", "_slot_s", "_stream", "_ticket", "_timer", "_wish", "for_llama",
    )  # fmt: skip

    def __init__(
        self, client: ClientConnection, route: Route, model: ModelSpec, path: bytes, body: bytes, *, stream: bool
    ) -> None:
        super().__init__(client, route, model, body)
        self._path = path
        self._stream = stream
        self.for_llama = b""  # the body where it needs mending for that engine
        self._ticket: Ticket | None = None
        self._lease: Lease | None = None
        self._wish: LoadWish | None = None  # what its Model shall be loaded with
        self._keep_s: float | None = None  # how long its Model shall stay loaded after it
        self._instance = ""  # the last one that it had a lease on
        self._slot_s = 0.0  # how long it had leases
        self._site: Site | None = None
        self._link: Link | None = None
        self._head = b""
        self._asked_again = False  # the engine died; a second lease was asked for
        self._paused = False
        self._looked_at: list[bytes] | None = None  # an answer whose body decides what becomes of it
        self._loading_left = LOADING_RETRIES
        self._timer: asyncio.TimerHandle | None = None

    # --- the lease ---

    def ask(self) -> None:
        """Ask for a lease; everything else follows."""
        client = self._client
        self._state = WAITING
        self._since = now = self._gateway.clock.now()
        timeout_s = self._model.timeouts.queue_s
        ticket = self._gateway.leases.ask(
            self,
            model=self._model.name,
            caller=client.caller or NOBODY,
            timeout_s=timeout_s,
            weight=self._route.weight,
            keep_s=self._keep_s,
            wish=self._wish,
        )
        if self._state == WAITING:
            self._ticket = ticket
            client.deadline = now + (first_look_s(self._model) if self._stream else timeout_s + QUEUE_GRACE_S)

    def granted(self, lease: Lease) -> None:
        """The lease is there: on to a connection."""
        if self._state != WAITING:
            lease.release()
            return
        self._ticket, self._lease = None, lease
        self._state = CONNECTING
        if lease.waited_s:
            self._has_waited(lease)
        limits = self._model.timeouts
        self._client.deadline = self._since + (limits.sign_s if self._stream else limits.first_token_s)
        self._site = self._gateway.links.site(lease.instance, lease.endpoint)
        link = self._site.take(self)
        if link is not None:
            self.linked(link)

    def _has_waited(self, lease: Lease) -> None:
        self._queue_s += lease.waited_s
        self._since = self._gateway.clock.now()
        view = self._gateway.leases.view(self._model.name, lease.instance)
        self._load_s += load_part(view, self._since, lease.waited_s)

    def refused(self, error: CorralError) -> None:
        """There will be no lease."""
        if self._state == WAITING:
            self._ticket = None
            self._queue_s += self._gateway.clock.now() - self._since
            self._fail(error)

    # --- the engine ---

    def linked(self, link: Link) -> None:
        """Send the request."""
        site = self._site
        if self._state != CONNECTING or site is None:
            link.site.put_back(link, fresh=True)
            return
        self._state = SENT
        self._link = link
        if not self._head:
            self._head = self._engine_head(site)
        link.send(self, self._head, self._body, bodiless=self._client.head.method == b"HEAD")

    def _engine_head(self, site: Site) -> bytes:
        head, path = self._client.head, self._path
        if self.for_llama and LLAMA in site.endpoint.speaks:
            self._body = self.for_llama
        if site.renames:
            path, self._body = addressed(site.endpoint, self._route, head, path, self._body)
        sent = head.sent
        if sent is None or sent[0] is not site or sent[1] != path:  # else it is the last head again, to the same engine
            allowed = SENT_RAW if self._route.model_from is FROM_PATH else self._gateway.request_headers
            sent = head.sent = site, path, engine_lines(head, path, allowed, site)
        length = len(self._body)
        if length or head.method == b"POST":
            return b"%bcontent-length: %d\r\n\r\n" % (sent[2], length)
        return sent[2] + b"\r\n"

    def unreachable(self, reason: str) -> None:
        """No connection: the engine is not there."""
        if self._state == CONNECTING:
            self._engine_gone(EngineDied(f"The engine cannot be reached: {reason}."))

    def link_failed(self, link: Link, error: CorralError | None) -> None:
        """The connection ended in the middle, or its bytes make no sense."""
        if self._state == OVER or link is not self._link:
            return
        self._link = None
        if error is not None:
            self._fail(error)
        elif link.heard:
            self._release(broken=True)
            self._fail(EngineDied("The engine ended in the middle of its answer."))
        elif link.reused and self._site is not None:
            self._state = CONNECTING
            self._site.open(self)  # a fresh one: when it dies too, it is not for its age
        else:
            self._engine_gone(EngineDied("The engine ended before it answered."))

    def _engine_gone(self, error: EngineDied) -> None:
        """Nothing of an answer was seen: one more try with another lease, the engine may be started anew."""
        self._release(broken=True)
        if self._asked_again:
            self._fail(error)
        else:
            self._asked_again = True
            self._head = b""  # another instance has another key
            self.ask()

    def answered(self, link: Link, data: bytes, complete: bool) -> None:
        """Forward what there is of the answer."""
        if link is not self._link:
            return None
        if complete:
            self._link = None
        if self._state == STREAMING:
            return self._forward(b"", data, complete)
        head = link.head
        assert head is not None
        if not 200 <= head.status <= 599:
            return self._bad_answer(link, f"status {head.status}")
        if (head.status == 503 and self._loading_left) or (self.head_sent and not (head.stream and head.status < 300)):
            return self._look_at(link, data, complete)
        if not head.stream:
            if complete and self._gathered is None:
                return self._answer_whole(head, link.length, data)
            if self._route.chat:
                return self._gather(head, link, data, complete)
        return self._forward(self._take_head(head, link.length), data, complete)

    def _bad_answer(self, link: Link, what: str) -> None:
        self._drop_link(link)
        self._fail(EngineProtocolError(f"The engine's answer is not valid HTTP: {what}."))

    def _look_at(self, link: Link, data: bytes, complete: bool) -> None:
        """
        An answer whose body decides what becomes of it: a 503 right after `ready` may mean that the engine still
        loads, and after an early head an answer that is no stream can only become an error event.
        """
        held = self._looked_at = self._looked_at or []
        held.append(data)
        body = b"".join(held)
        if not complete and len(body) <= LOOK_LIMIT:
            return
        self._looked_at = None
        assert link.head is not None
        status = link.head.status
        if complete and self._loading_left and status == 503 and b"Loading model" in body:
            self._loading_left -= 1
            self._state = CONNECTING
            self._timer = asyncio.get_running_loop().call_later(LOADING_PAUSE_S, self._try_again)
        elif self.head_sent:
            self._refused_late(status, body)
        else:
            self._forward(self._take_head(link.head, link.length), body, complete)

    def _refused_late(self, status: int, body: bytes) -> None:
        """By the engine, when the stream was open for signs of life."""
        self._fail(self._refusal(status, body))

    def _refusal(self, status: int, body: bytes) -> CorralError:
        text = body[:LOOK_LIMIT].decode("utf-8", "replace")
        return EngineFailed(f"The engine answered with status {status}: {text}")

    def _try_again(self) -> None:
        self._timer = None
        if self._state == CONNECTING and self._site is not None:
            link = self._site.take(self)
            if link is not None:
                self.linked(link)

    # --- the client ---

    def gone(self) -> None:
        """The client has left: the engine must not work for nobody (promise 6)."""
        if self._state != OVER:
            self._end("client_gone", self._status or _SAW_NOTHING)

    def pause(self) -> None:
        """The client reads too slowly: the engine has to wait, and its silence is not held against it."""
        self._paused = True
        if self._link is not None:
            self._link.transport.pause_reading()

    def resume(self) -> None:
        """The client has caught up."""
        self._paused = False
        self._moved_at = self._gateway.now
        if self._link is not None:
            self._link.transport.resume_reading()

    def overdue(self, now: float) -> float:
        """See which deadline it is, if any."""
        limits = self._model.timeouts
        if self._state == WAITING:
            until = self._since + limits.queue_s + QUEUE_GRACE_S
            if now >= until:
                self._fail(QueueTimeout())
                return until
            return min(until, self._sign(now)) if self._stream else until
        if self._state == STREAMING:
            silent_until = float("inf") if self._paused else self._moved_at + limits.idle_s
        else:
            silent_until = self._since + limits.first_token_s
        until = min(silent_until, self._since + limits.total_s)
        if now >= until:
            if self._link is not None:
                self._drop_link(self._link)
            what = "did not begin to answer" if self._state != STREAMING else "did not finish its answer"
            self._fail(EngineSilent(f"The engine {what} in time."))
            return until
        return min(until, self._sign(now)) if self._stream else until

    def _sign(self, now: float) -> float:
        """Tell a client that waits for a stream that it is not forgotten, if it is time; when to look again."""
        signs = self._signs = self._signs or Signs(
            self._gateway, self._route, self._model, self._name(), self._request_id, self._client.arrived
        )
        streaming = self._state == STREAMING
        if self._state == WAITING:
            said, again = signs.in_line(self._ticket, now), signs.next_in_line()
        elif self._torn or (not self._events if streaming else self._model.loading_state == "off"):
            return NEVER
        else:
            since = self._moved_at if streaming else self._since
            said, again = b"" if self._paused else signs.in_silence(since, now), signs.next_in_silence(since)
        if said:
            self.open_early()
            self._client.transport.write(self._client.framed(said))
        return max(again, now + SOON_S)

    def _name(self) -> str:
        """What the answer will call its Model."""
        return self._model.name

    # --- the end ---

    def _complete(self) -> None:
        status = self._status
        if self._pieces and status < 400:
            self._watch.body(self._pieces)
        self._watch.finish()
        self._end("ok" if status < 400 else "engine_error", status)
        self._client.finish()

    def _fail(self, error: CorralError) -> None:
        """Tell the client, in the way that is still possible, and end."""
        client = self._client
        outcome = outcome_of(error)
        dialect = client.dialect()
        if not self.head_sent:
            self._end(outcome, dialect.error_status(error))
            client.answer_error(error, request_id=self._request_id)
            return
        if self._events:
            # What is held is the beginning of an event without its end: it was never forwarded, so this one is whole.
            # The body ends properly: the event tells of the failure, and clients drop the tail of a torn body.
            event = self._error_event(error)
            client.transport.write(client.framed(event, last=True))
        self._end(outcome, self._status)
        if self._events:
            client.finish()
        else:
            client.break_off()

    def _error_event(self, error: CorralError) -> bytes:
        return self._client.dialect().error_event(error, self._request_id.decode("latin-1"))

    def _end(self, outcome: str, status: int) -> None:
        """Give everything back and publish; exactly once."""
        self._state = OVER
        if self._link is not None:
            self._drop_link(self._link)
        if self._timer is not None:
            self._timer.cancel()
        if self._ticket is not None:
            self._ticket.leave()
        self._release()
        gateway, route, arrived = self._gateway, self._route, self._client.arrived
        caller, watch, first_at = self._client.caller, self._watch, self._first_at
        now = gateway.clock.now()
        gateway.publisher.publish(
            RequestFinished(  # by position, in the order of its fields: names cost 0.4 us
                self._model.name,
                route.label,
                status,
                caller.name if caller is not None else "",
                self._stream or self._events,
                outcome,
                now - arrived,
                self._queue_s,
                self._request_id.decode("latin-1"),
                first_at - arrived if first_at is not None else None,
                watch.prompt_tokens,
                watch.cached_tokens,
                watch.completion_tokens,
                self._instance,
                self._bytes_out,
                self._slot_s if route.weight else 0.0,
            )
        )

    def _release(self, *, broken: bool = False) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            self._instance = lease.instance
            self._slot_s += self._gateway.clock.now() - self._since
            lease.release(broken=broken)

    def _drop_link(self, link: Link) -> None:
        self._link = None
        link.drop()
