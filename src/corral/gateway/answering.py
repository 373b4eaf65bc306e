"""
The client's side of an exchange: head, body or whole events, and what was said before they came.

The engine's head becomes ours, once. Of a stream only whole events are forwarded, so that one that breaks can still be
ended with one clean error event. A whole chat is held until it is complete.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from corral.dialects.openai.mends import THOUGHT, both_names, in_both_names
from corral.dialects.openai.mends import error as mended_error
from corral.domain.fleet import ModelSpec
from corral.gateway.heads import client_fields, own_fields
from corral.gateway.links import AnswerHead, Link
from corral.gateway.routes.table import Route
from corral.gateway.usage import Watch
from corral.gateway.waiting import Signs
from corral.kit.sse import take_whole, whole_events

if TYPE_CHECKING:
    from corral.gateway.connection import ClientConnection
    from corral.gateway.server import Gateway

WAITING, CONNECTING, SENT, STREAMING, OVER = range(5)

HELD_EVENT_LIMIT: Final = 256 * 1024  # an event that is longer is forwarded in pieces
USAGE_BODY_LIMIT: Final = 1024 * 1024  # of an answer that is no stream, kept for its token counts
CHAT_LIMIT: Final = 16 * 1024 * 1024  # of a whole chat; one that is longer keeps the names that it has


class Answer(ABC):
    """
    What the client of one request gets, as the engine's answer comes.

    Its fields have slots: a default on the class costs more to read than a field costs to set.
    """

    __slots__ = (
        "_body", "_bytes_out", "_client", "_events", "_first_at", "_gateway", "_gathered", "_gathered_bytes", "_held",
        "_load_s", "_mend", "_model", "_moved_at", "_pieces", "_pieces_bytes", "_queue_s", "_request_id", "_route",
        "_signs", "_since", "_state", "_status", "_torn", "_watch", "head_sent",
    )  # fmt: skip

    def __init__(self, client: ClientConnection, route: Route, model: ModelSpec, body: bytes) -> None:
        self._client = client
        self._gateway: Gateway = client.gateway
        self._route = route
        self._model = model
        self._body = body  # what the engine is sent, as long as it may have to be sent again
        self._request_id = client.gateway.request_id(client.head)
        self._since = client.arrived  # when the present state began
        self._watch = Watch()
        self.head_sent = False
        self._state = WAITING
        self._status = 0
        self._moved_at = 0.0  # when the answer last went on
        self._queue_s = 0.0
        self._load_s = 0.0  # the part of it in which its Model was loaded
        self._first_at: float | None = None  # when the first token came
        self._events = False  # the answer is a stream of events
        self._held: bytearray | None = None  # the beginning of an event whose end has not come
        self._pieces: list[bytes] | None = None  # of an answer that is no stream, for its token counts
        self._pieces_bytes = 0
        self._gathered: list[bytes] | None = None  # of a whole chat
        self._gathered_bytes = 0
        self._bytes_out = 0
        self._signs: Signs | None = None  # once the client has waited for long
        self._mend: Callable[[bytes], bytes] | None = None  # the answer goes on from what was said while it waited
        self._torn = False  # an event was forwarded in pieces: nothing may come between them

    @abstractmethod
    def _complete(self) -> None:
        """All of it was forwarded."""

    def _answer_whole(self, head: AnswerHead, length: int | None, body: bytes) -> None:
        """An answer that has come in one piece, as most do that are no streams."""
        client, status = self._client, head.status
        if self._route.chat and (status == 500 or body.rfind(THOUGHT) >= 0):
            status, body = mended_error(status, body) if status == 500 else (status, in_both_names(body))
            length = len(body)
        self._status = status
        self.head_sent = True
        self._bytes_out = len(body)
        out = client.head_bytes(status, client_fields(head, self._request_id, self._queue_s, self._load_s), length)
        client.transport.write(out + client.framed(body, last=True))
        if status < 400:
            self._watch.body((body,))
        self._complete()

    def _gather(self, head: AnswerHead, link: Link, data: bytes, complete: bool) -> None:
        """A whole chat is held until it is complete: with both names for thoughts it has another length."""
        held = self._gathered = self._gathered or []
        held.append(data)
        self._gathered_bytes += len(data)
        if complete:
            self._answer_whole(head, link.length, b"".join(held))
        elif self._gathered_bytes > CHAT_LIMIT:
            self._forward(self._take_head(head, link.length), b"".join(held), complete)

    def _take_head(self, head: AnswerHead, length: int | None) -> bytes:
        """The engine's head becomes ours."""
        self._state = STREAMING
        self._body = b""  # it cannot be sent again from here on
        self._status = head.status
        client = self._client
        self._moved_at = self._gateway.now
        limits = self._model.timeouts
        silent_s = limits.sign_s if head.stream else limits.idle_s
        silent, total = self._moved_at + silent_s, self._since + limits.total_s
        client.deadline = silent if silent < total else total
        self._events = head.stream
        if self.head_sent:
            return self._hand_over()
        self.head_sent = True
        if head.stream:
            length = None  # events may be held back, so a stream's length is not the engine's to say
        fields = client_fields(head, self._request_id, self._queue_s, self._load_s)
        return client.head_bytes(head.status, fields, length)

    def open_early(self) -> None:
        """
        Send the head of a stream before the engine has answered; from then on failures are events.

        For heartbeats and loading progress. Only for requests that asked for a stream. It is Corral who speaks: there
        may be no engine yet.
        """
        if self.head_sent or self._state == OVER:
            return
        self.head_sent = self._events = True
        self._status = 200
        fields = self._own_fields(self._client.dialect().stream_type, source=b"corral")
        self._client.transport.write(self._client.head_bytes(200, fields, None))

    def _own_fields(self, media_type: bytes, source: bytes = b"engine") -> bytes:
        id_line = self._client.dialect().id_line(self._request_id)
        return own_fields(media_type, self._request_id, self._queue_s, self._load_s, source=source, id_line=id_line)

    def _hand_over(self) -> bytes:
        """The stream has been open for signs of life: end them."""
        signs = self._signs
        if signs is None:
            return b""
        self._mend = signs.mend
        return self._client.framed(signs.over())

    def _forward(self, out: bytes, data: bytes, complete: bool) -> None:
        client = self._client
        self._moved_at = self._gateway.now
        if self._events:
            data = self._whole_events(data, complete)
            if data:
                if data.rfind(THOUGHT) >= 0 and self._route.chat:
                    data = both_names(data)
                self._watch.piece(data)
                if not self._watch.started and self._watch.saw_first_token(data):
                    self._first_at = self._gateway.clock.now()
                if self._mend is not None:
                    data = self._mend(data)
        elif self._pieces_bytes <= USAGE_BODY_LIMIT:
            self._pieces = self._pieces or []
            self._pieces.append(data)
            self._pieces_bytes += len(data)
        self._bytes_out += len(data)
        out += client.framed(data, last=complete)
        if out:
            client.transport.write(out)
        if complete:
            self._complete()

    def _whole_events(self, data: bytes, complete: bool) -> bytes:
        held = self._held
        if held:
            data = take_whole(held, data)
            if complete or len(held) > HELD_EVENT_LIMIT:
                data += held
                held.clear()
                self._torn = True
            return data
        if complete:
            return data
        end = whole_events(data)
        if end == len(data):
            return data
        if len(data) - end > HELD_EVENT_LIMIT:
            self._torn = True
            return data
        self._held = bytearray(data[end:])
        return data[:end]
