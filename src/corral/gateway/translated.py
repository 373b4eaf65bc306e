"""
The relay for a client whose dialect its engine does not speak: the same way, but what passes is written anew.

The request goes out as `Asked.towards` writes it for the engine of the lease; of the answer whole events go through a
`Reply`. Usage and the first token are watched on the engine's side, so records do not depend on the dialect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from corral.contracts.dialect import Asked, Outgoing, Reply, Served, TellsFailure, Told
from corral.contracts.leases import Lease
from corral.domain.errors import CorralError, EngineDied, EngineProtocolError
from corral.domain.fleet import ModelSpec
from corral.domain.launch import AS_CONFIGURED
from corral.gateway.answering import CONNECTING, STREAMING, WAITING
from corral.gateway.filters import filtered_json
from corral.gateway.heads import JSON, written_lines
from corral.gateway.links import AnswerHead, Link, Site
from corral.gateway.naming import addressed
from corral.gateway.relay import Exchange
from corral.gateway.routes.table import Route
from corral.gateway.translate import AskedLoad

if TYPE_CHECKING:
    from corral.gateway.connection import ClientConnection

BODY_LIMIT: Final = 256 * 1024 * 1024  # of an answer that is no stream: it is held whole to be written anew
NO_STREAM: Final = "The engine was asked for a stream and gave none."


class TranslatedExchange(Exchange):
    """One request that was read before its Model was asked for."""

    __slots__ = ("_asked", "_collected", "_collected_bytes", "_ignored", "_outgoing", "_reply")
    _outgoing: Outgoing

    def __init__(self, client: ClientConnection, route: Route, model: ModelSpec, asked: Asked) -> None:
        if asked.weight is not None:
            route = route._replace(weight=asked.weight)
        super().__init__(client, route, model, b"", b"", stream=asked.stream)
        self._asked, self._keep_s = asked, asked.keep_s
        self._ignored: tuple[str, ...] = ()
        if asked.load_options:
            self._wish, self._ignored = client.gateway.wishing.of(model, asked.load_options)
        if self._wish is None and isinstance(asked, AskedLoad):
            self._wish = AS_CONFIGURED
        self._reply: Reply | None = None
        self._collected: list[bytes] = []
        self._collected_bytes = 0

    def _name(self) -> str:
        """The one that the client used."""
        return self._asked.model

    def granted(self, lease: Lease) -> None:
        """The engine is known: see what it is asked, if it is asked at all."""
        if self._state != WAITING:
            return super().granted(lease)
        try:
            towards = self._asked.towards(
                Served(frozenset(lease.endpoint.speaks), load_s=self._queue_s + lease.waited_s)
            )
            if not isinstance(towards, Told):
                towards = self._ruled(towards)
        except CorralError as error:
            lease.release()
            return self.refused(error)
        if isinstance(towards, Told):
            return self._tell(towards.body, lease)
        self._outgoing, self._reply = towards, towards.reply
        return super().granted(lease)

    def _ruled(self, outgoing: Outgoing) -> Outgoing:
        """As the operator's rules leave it. Raises BadRequest for what the engine cannot bear."""
        body = outgoing.body
        if self._model.request is not None:
            body = filtered_json(self._model.request, body)
        self._gateway.check(self._model, body)
        return outgoing if body is outgoing.body else outgoing._replace(body=body)

    def _tell(self, body: bytes, lease: Lease) -> None:
        """Being loaded was all that was asked."""
        client = self._client
        self._ticket, self._lease = None, lease
        self._has_waited(lease)
        self.head_sent = True
        self._status, self._bytes_out = 200, len(body)
        fields = self._own_fields(JSON, source=b"corral")
        client.transport.write(client.head_bytes(200, fields, len(body)) + client.framed(body, last=True))
        self._complete()

    def link_failed(self, link: Link, error: CorralError | None) -> None:
        """An engine that dies before its first word, be it after it told how far it is, is asked once more."""
        if self._state == STREAMING and link is self._link and error is None and self._events and not self.head_sent:
            self._link = self._held = None
            self._engine_gone(EngineDied("The engine ended before it answered."))
        else:
            super().link_failed(link, error)

    def _engine_head(self, site: Site) -> bytes:
        endpoint = site.endpoint
        path, body = self._outgoing.path, self._outgoing.body
        head = self._client.head
        if site.renames:
            path, body = addressed(endpoint, self._route, head, path, body)
        self._path, self._body = path, body
        lines = written_lines(head, path, self._gateway.request_headers, site)
        return b"%bcontent-length: %d\r\n\r\n" % (lines, len(body))

    def _answer_whole(self, head: AnswerHead, length: int | None, body: bytes) -> None:
        self._forward(self._take_head(head, length), body, True)

    def _take_head(self, head: AnswerHead, length: int | None) -> bytes:
        """Whatever it says of its body is not said of what we make of it."""
        if self._reply is None:
            return super()._take_head(head, length)
        early, self.head_sent = self.head_sent, True  # so that nothing of the engine's own head is written
        super()._take_head(head, length)
        self._events = head.stream and head.status < 300
        self.head_sent = early
        # A head of our own goes out with the first words: until then another engine may be asked.
        return self._hand_over() if early else b""

    def _own_fields(self, media_type: bytes, source: bytes = b"engine") -> bytes:
        fields = super()._own_fields(media_type, source)
        if self._ignored:
            fields += b"x-corral-ignored-options: %b\r\n" % ", ".join(self._ignored).encode()
        return fields

    def _forward(self, out: bytes, data: bytes, complete: bool) -> None:
        reply = self._reply
        if reply is None:
            super()._forward(out, data, complete)
        elif not self._events:
            self._collect(reply, data, complete)
        else:
            self._translate(reply, out, data, complete)

    def _translate(self, reply: Reply, out: bytes, data: bytes, complete: bool) -> None:
        self._moved_at = self._gateway.now
        data = self._whole_events(data, complete)
        told = b""
        if data:
            self._watch.piece(data)
            if not self._watch.started and self._watch.saw_first_token(data):
                self._first_at = self._gateway.clock.now()
            told = reply.stream(data)
        if complete:
            told += reply.end()
        if self._mend is not None and told:
            told = self._mend(told)
        failure = reply.failure
        self._bytes_out += len(told)
        client = self._client
        if told and not self.head_sent:
            self.head_sent = True
            out += client.head_bytes(200, self._own_fields(reply.media_type), None)
        out += client.framed(told, last=complete and failure is None)
        if out:
            client.transport.write(out)
        if failure is not None:
            self._give_up(failure)
        elif complete:
            self._complete()

    def _collect(self, reply: Reply, data: bytes, complete: bool) -> None:
        self._moved_at = self._gateway.now
        self._collected.append(data)
        self._collected_bytes += len(data)
        if self._collected_bytes > BODY_LIMIT:
            return self._give_up(EngineProtocolError(f"The engine's answer is larger than {BODY_LIMIT} bytes."))
        if not complete:
            return None
        body = b"".join(self._collected)
        follow = self._outgoing.follow
        try:
            more = follow(self._status, body) if follow is not None else None
            if more is not None:
                return self._ask_again(more)
            told = self._told(reply, body)
        except CorralError as error:
            return self._give_up(error)
        client = self._client
        self.head_sent = True
        self._bytes_out = len(told)
        self._watch.body([body])
        fields = self._own_fields(JSON)
        client.transport.write(client.head_bytes(200, fields, len(told)) + client.framed(told, last=True))
        return self._complete()

    def _ask_again(self, outgoing: Outgoing) -> None:
        """The answer leads to another request, to the same engine and with the same lease."""
        site = self._site
        assert site is not None
        self._outgoing, self._reply = self._ruled(outgoing), outgoing.reply
        self._collected, self._collected_bytes, self._head = [], 0, b""
        self._state = CONNECTING
        limits = self._model.timeouts
        self._client.deadline = self._since + (limits.sign_s if self._stream else limits.first_token_s)
        link = site.take(self)
        if link is not None:
            self.linked(link)

    def _told(self, reply: Reply, body: bytes) -> bytes:
        if self._status >= 300:
            raise reply.refused(self._status, body)
        if self._stream:
            raise EngineProtocolError(NO_STREAM)
        return reply.whole(body)

    def _refused_late(self, status: int, body: bytes) -> None:
        follow = self._outgoing.follow
        try:
            more = follow(status, body) if follow is not None and self._link is None else None
        except CorralError as error:
            return self._fail(error)
        return super()._refused_late(status, body) if more is None else self._ask_again(more)

    def _refusal(self, status: int, body: bytes) -> CorralError:
        if self._reply is None:
            return super()._refusal(status, body)
        return self._reply.refused(status, body) if status >= 300 else EngineProtocolError(NO_STREAM)

    def _error_event(self, error: CorralError) -> bytes:
        teller = self._asked if self._reply is None else self._reply
        told = teller.failed(error) if isinstance(teller, TellsFailure) else b""
        return told or super()._error_event(error)

    def _give_up(self, error: CorralError) -> None:
        if self._link is not None:
            self._drop_link(self._link)
        self._fail(error)
