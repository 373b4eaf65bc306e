"""The codec of /v1/messages on any bytes: a request's body, and what an engine says to it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from corral.dialects.anthropic import requests
from corral.dialects.anthropic.answers import MessageWriter
from corral.dialects.openai.answers import ChatReader
from corral.dialects.openai.requests import encode
from corral.domain.errors import BadRequest, EngineProtocolError
from corral.gateway.counting import CountReply
from corral.gateway.routes.reading import name_of
from corral.gateway.translate import Translated
from corral.kit.sse import take_whole
from tests.messages import events, message


def talk(body: bytes, said: Sequence[bytes]) -> None:
    """The request is refused in words or can be sent on; the answer is a proper message, or broken off in order."""
    try:
        name_of(body)
        for extensions in (True, False):
            assert isinstance(json.loads(encode(requests.messages(body).chat, "m", extensions=extensions)), dict)
        json.loads(encode(requests.count(body), "m", extensions=True))
    except BadRequest:
        pass
    cut, whole = stream(said), stream([b"".join(said)])
    assert cut == whole
    for reply in (Translated(ChatReader(), writer()), CountReply()):
        try:
            json.loads(reply.whole(b"".join(said)))
        except EngineProtocolError:
            pass
        assert 400 <= reply.refused(200, b"".join(said)).engine_status <= 599


def writer() -> MessageWriter:
    """For one answer."""
    return MessageWriter("m", "msg_1")


def stream(said: Sequence[bytes]) -> object:
    """The message that a client makes of it; of one that broke, whether it began."""
    reply, held, told = Translated(ChatReader(), writer()), bytearray(), b""
    for part in said:
        whole = take_whole(held, part)
        if whole and reply.failure is None:
            told += reply.stream(whole)
    if reply.failure is None:
        told += reply.end()
    if reply.failure is None:
        return message(told)
    kinds = [each["type"] for each in events(told)]
    assert not {"message_delta", "message_stop"} & set(kinds)
    return type(reply.failure)
