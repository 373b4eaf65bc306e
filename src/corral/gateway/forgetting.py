"""
A conversation that has outgrown its engine's context, of a client that expects its beginning to be forgotten.

    /v1/chat/completions -> the answer
                         -> too long -> .../input_tokens for half of it, a quarter, ... -> /v1/chat/completions, shorter

What the system says stays, and the last message does; a tool's result never stands without its call. Only llama.cpp
says how long is too long, and counts. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from corral.contracts.dialect import Outgoing
from corral.dialects.openai import embeddings
from corral.dialects.openai import requests as openai
from corral.domain.chat import ChatRequest, Message, Role
from corral.domain.errors import EngineRefused
from corral.gateway.counting import CountReply, count_of

_ROOM: float = 1 / 4
"""This share of the context is left to the answer, or less where less was asked for: an engine stops where it ends."""

Send = Callable[[ChatRequest], Outgoing]


class Forgetting:
    """The way of one request that may be made shorter."""

    def __init__(self, request: ChatRequest, model: str, send: Send) -> None:
        self._request, self._model, self._send = request, model, send
        self._refused: EngineRefused | None = None
        self._most = 0  # tokens of a prompt
        self._starts = starts(request.messages)
        self._first, self._last = 0, len(self._starts) - 1  # the start that is looked for lies between these

    def begin(self) -> Outgoing:
        """All of it."""
        outgoing = self._send(self._request)
        if not self._starts:
            return outgoing

        def follow(status: int, body: bytes) -> Outgoing | None:
            limit = embeddings.limit_tokens(body) if embeddings.too_long(status, body) else None
            if not limit:
                return None
            assert outgoing.reply is not None
            self._refused = outgoing.reply.refused(status, body)
            room = int(limit * _ROOM)
            self._most = limit - min(room, room if self._request.max_tokens is None else self._request.max_tokens)
            return self._next()

        return outgoing._replace(follow=follow)

    def _next(self) -> Outgoing:
        if self._first == self._last:
            return self._send(self._from(self._starts[self._last]))
        shorter = msgspec.structs.replace(self._from(self._starts[self._middle]), stream=False)
        body = openai.encode(shorter, self._model, extensions=True)
        return Outgoing(openai.COUNT, body, CountReply(), self._counted)

    @property
    def _middle(self) -> int:
        return (self._first + self._last) // 2

    def _counted(self, status: int, body: bytes) -> Outgoing | None:
        if status >= 300 and self._refused is not None:
            raise self._refused  # what the client asked for was too long; that it cannot be counted is our affair
        if count_of(body) < self._most:
            self._last = self._middle
        else:
            self._first = self._middle + 1
        return self._next()

    def _from(self, start: int) -> ChatRequest:
        messages = self._request.messages
        kept = tuple(each for each in messages[:start] if each.role is Role.SYSTEM)
        return msgspec.structs.replace(self._request, messages=kept + messages[start:])


def starts(messages: Sequence[Message]) -> list[int]:
    """Where what is left of a conversation may begin, in order; nothing where all of it is needed."""
    spoken = [place for place, each in enumerate(messages) if each.role not in (Role.SYSTEM, Role.TOOL)]
    return spoken[1:]
