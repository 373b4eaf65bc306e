"""
The relay for a client whose dialect its engine does not speak: the same way, but what passes is written anew.

The request goes out as `Asked.towards` writes it for the engine of the lease; of the answer whole events go through a
`Reply`. Usage and the first token are watched on the engine's side, so records do not depend on the dialect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from corral.contracts.dialect import Asked, Reply, Served
from corral.domain.errors import CorralError, EngineProtocolError
from corral.domain.fleet import ModelSpec
from corral.gateway.heads import JSON, own_fields, written_lines
from corral.gateway.links import AnswerHead, Site
from corral.gateway.naming import addressed
from corral.gateway.relay import Exchange
from corral.gateway.routes.table import Route

if TYPE_CHECKING:
    from corral.gateway.connection import ClientConnection

BODY_LIMIT: Final = 256 * 1024 * 1024  # of an answer that is no stream: it is held whole to be written anew


class TranslatedExchange(Exchange):
    """One request that was read before its Model was asked for."""

    _reply: Reply | None = None
    _collected_bytes = 0

    def __init__(self, client: ClientConnection, route: Route, model: ModelSpec, asked: Asked) -> None:
        super().__init__(client, route, model, b"", b"", stream=asked.stream)
        self._asked = asked
        self._collected: list[bytes] = []

    def _engine_head(self, site: Site) -> bytes:
        """The engine is known: write the request for it."""
        endpoint = site.endpoint
        path, body, self._reply = self._asked.towards(Served(frozenset(endpoint.speaks), self._queue_s))
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
        if early or not self._events:
            return b""
        self.head_sent = True
        return self._client.head_bytes(200, own_fields(self._reply.media_type, self._request_id, self._queue_s), None)

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
        failure = reply.failure
        self._bytes_out += len(told)
        client = self._client
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
        try:
            told = self._told(reply, body)
        except CorralError as error:
            return self._give_up(error)
        client = self._client
        self.head_sent = True
        self._bytes_out = len(told)
        self._watch.body([body])
        fields = own_fields(JSON, self._request_id, self._queue_s)
        client.transport.write(client.head_bytes(200, fields, len(told)) + client.framed(told, last=True))
        return self._complete()

    def _told(self, reply: Reply, body: bytes) -> bytes:
        if self._status >= 300:
            raise reply.refused(self._status, body)
        if self._stream:
            raise EngineProtocolError("The engine was asked for a stream and gave none.")
        return reply.whole(body)

    def _refusal(self, status: int, body: bytes) -> CorralError:
        return self._reply.refused(status, body) if self._reply is not None else super()._refusal(status, body)

    def _give_up(self, error: CorralError) -> None:
        if self._link is not None:
            self._drop_link(self._link)
        self._fail(error)
