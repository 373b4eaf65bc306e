"""Ollama's routes between a body that fuzzed bytes are and an engine that says them."""

from __future__ import annotations

import contextlib
import json
from typing import Final

from corral.contracts.dialect import Asked, Asking, Outgoing, Served
from corral.domain.errors import BadRequest, CorralError
from corral.domain.facts import NOTHING
from corral.gateway.routes.ollama import READERS
from corral.gateway.routes.reading import name_of
from corral.kit.sse import take_whole

_ENGINES: Final = (Served(frozenset()), Served(frozenset({"llama.cpp"})))


def talk(body: bytes, said: list[bytes]) -> None:
    """The same body to every route, and the same answer from every kind of engine."""
    asking = Asking("m", NOTHING, "r", lambda: 1.0)
    for read in READERS.values():
        asked: Asked | None = None
        with contextlib.suppress(BadRequest):
            name_of(body)
            asked = read(body, asking)
        if asked is not None:
            for served in _ENGINES:
                _answered(asked, served, said or [b""])


def _answered(asked: Asked, served: Served, parts: list[bytes]) -> None:
    at_once, in_pieces = asked.towards(served), asked.towards(served)
    if not isinstance(at_once, Outgoing) or not isinstance(in_pieces, Outgoing):
        json.loads(at_once.body)
        return
    json.loads(at_once.body)
    assert at_once.body == in_pieces.body
    assert _streamed(at_once, [b"".join(parts)]) == _streamed(in_pieces, parts)
    with contextlib.suppress(CorralError):
        again = asked.towards(served)
        assert isinstance(again, Outgoing) and again.reply is not None
        json.loads(again.reply.whole(parts[0]))


def _streamed(outgoing: Outgoing, parts: list[bytes]) -> list[list[object]]:
    """As the relay does it: whole events alone, up to a failure. Which lines the text is in may depend on the cuts."""
    reply, held, told = outgoing.reply, bytearray(), b""
    assert reply is not None
    for part in parts:
        events = take_whole(held, part)
        if events and reply.failure is None:
            told += reply.stream(events)
    told += reply.end() if reply.failure is None else b""
    lines = [json.loads(line) for line in told.splitlines()]
    said = [line.get("message", line) for line in lines]
    text = [message.get("content", "") + message.get("response", "") for message in said]
    thoughts = [message.get("thinking", "") for message in said]
    probabilities = [each for line in lines for each in line.get("logprobs", ())]
    return [["".join(text)], ["".join(thoughts)], probabilities, lines[-1:] if reply.failure is None else []]
