"""The codec of /v1/responses, and the mends of chats, on any bytes: a request's body, and what an engine says to it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from corral.dialects.openai import mends
from corral.dialects.openai.answers import ChatReader
from corral.dialects.openai.requests import encode
from corral.dialects.openai.responses_answers import ResponseWriter
from corral.dialects.openai.responses_requests import response
from corral.domain.errors import BadRequest, EngineProtocolError
from corral.gateway.routes.reading import name_of
from corral.gateway.translate import Translated
from corral.kit.sse import take_whole


def talk(body: bytes, said: Sequence[bytes]) -> None:
    """The request is refused in words or can be sent on; the answer is a whole response, or broken off in order."""
    echo: dict[str, Any] = {}
    namespaces: Mapping[str, tuple[str, str]] = {"a": ("s", "b")}
    try:
        name_of(body)
        _, echo, namespaces = response(body)
        for extensions in (True, False):
            assert isinstance(json.loads(encode(response(body).chat, "m", extensions=extensions)), dict)
    except BadRequest:
        pass
    try:
        assert mends.for_llama(mends.for_llama(body)) == mends.for_llama(body)
    except BadRequest:
        pass
    cut, whole = stream(said, echo, namespaces), stream([b"".join(said)], echo, namespaces)
    assert cut == whole
    mends.in_both_names(b"".join(said))
    mends.both_names(b"".join(said))
    try:
        json.loads(_reply(echo, namespaces).whole(b"".join(said)))
    except EngineProtocolError:
        pass


def _reply(echo: dict[str, Any], namespaces: Mapping[str, tuple[str, str]]) -> Translated:
    return Translated(ChatReader(), ResponseWriter("m", "u", echo, wall=lambda: 1.0, namespaces=namespaces))


def stream(said: Sequence[bytes], echo: dict[str, Any], namespaces: Mapping[str, tuple[str, str]]) -> object:
    """The response at its end; its texts are those of the pieces, and its events are numbered."""
    reply, held, told = _reply(echo, namespaces), bytearray(), b""
    for part in said:
        whole = take_whole(held, part)
        if whole and reply.failure is None:
            told += reply.stream(whole)
    if reply.failure is None:
        told += reply.end()
    if reply.failure is not None:
        told += reply.failed(reply.failure)
    events = [json.loads(line[6:]) for line in told.splitlines() if line.startswith(b"data: ")]
    assert [each["sequence_number"] for each in events] == list(range(len(events)))
    last = events[-1]["response"]
    assert (last["status"] == "failed") == (reply.failure is not None)
    texts = dict.fromkeys(range(len(last["output"])), "")
    for each in events:
        if each["type"].endswith(".delta"):
            texts[each["output_index"]] += each["delta"]
    for index, item in enumerate(last["output"]):
        assert texts[index] == (item["arguments"] if "arguments" in item else item["content"][0]["text"])
    return last
