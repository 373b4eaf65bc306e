"""Conversations that are too long: where they may begin, and how the longest one that fits is found."""

from __future__ import annotations

import json
from typing import Any

import pytest

from corral.contracts.dialect import Outgoing
from corral.domain.chat import ChatRequest, Message, Role, Text, ToolCall, ToolResult
from corral.domain.errors import EngineProtocolError, EngineRefused
from corral.gateway.counting import CountReply
from corral.gateway.forgetting import Forgetting, starts

SYSTEM, USER, ASSISTANT = Role.SYSTEM, Role.USER, Role.ASSISTANT
CONTEXT = 100
TOO_LONG = json.dumps(
    {"error": {"type": "exceed_context_size_error", "message": "too long", "n_ctx": CONTEXT}}
).encode()


def said(role: Role, words: str) -> Message:
    return Message(role, (Text(words),))


def called() -> Message:
    return Message(ASSISTANT, (ToolCall("c", "f", "{}"),))


def result() -> Message:
    return Message(Role.TOOL, (ToolResult("c", (Text("r"),)),))


def talk(turns: int) -> tuple[Message, ...]:
    return tuple(said(USER if turn % 2 == 0 else ASSISTANT, str(turn)) for turn in range(turns))


def asked(messages: tuple[Message, ...], each: int, max_tokens: int | None = None) -> tuple[list[str], int]:
    """What is sent in the end, of messages with so many tokens each, and how often something was counted."""
    sent: list[ChatRequest] = []

    def send(request: ChatRequest) -> Outgoing:
        sent.append(request)
        return Outgoing(b"/chat", b"", CountReply())

    request = ChatRequest(messages=messages, stream=True, max_tokens=max_tokens)
    outgoing: Outgoing | None = Forgetting(request, "m", send).begin()
    status, body, counted = 400, TOO_LONG, 0
    while outgoing is not None and outgoing.follow is not None:
        following = outgoing.follow(status, body)
        if following is not None and following.path != b"/chat":
            counted += 1
            asked_of: dict[str, Any] = json.loads(following.body)
            assert "stream" not in asked_of
            # what the system says is told with the words of others: a message of the engine's may be several of ours
            told = sum(len((message["content"] or "").split("\n\n")) for message in asked_of["messages"])
            status, body = 200, json.dumps({"input_tokens": each * told}).encode()
        outgoing = following
    assert sent[-1].stream
    return [part.text for message in sent[-1].messages for part in message.parts if isinstance(part, Text)], counted


def test_it_begins_with_somebody_who_speaks_and_never_with_the_whole() -> None:
    assert starts(talk(4)) == [1, 2, 3]
    assert starts((said(SYSTEM, "s"), said(USER, "u"))) == []
    assert starts((said(SYSTEM, "s"), said(USER, "u"), called(), result(), result())) == [2]
    assert starts((result(), said(USER, "u"), said(SYSTEM, "s"), said(USER, "v"))) == [3]
    assert starts(()) == []


def test_as_much_as_fits_is_kept_and_room_for_an_answer() -> None:
    assert asked(talk(10), 20) == (["7", "8", "9"], 3), "60 of 100 tokens: a quarter is for the answer"
    assert asked(talk(10), 20, max_tokens=5)[0] == ["6", "7", "8", "9"]
    assert asked(talk(10), 20, max_tokens=90)[0] == ["7", "8", "9"]
    assert asked(talk(1000), 1)[1] <= 10


def test_what_the_system_says_stays() -> None:
    messages = (said(SYSTEM, "first"), *talk(9), said(SYSTEM, "later"), said(USER, "now"))
    assert asked(messages, 20)[0] == ["first", "later", "now"]


def test_the_last_message_is_sent_whatever_it_takes() -> None:
    assert asked(talk(5), 1000)[0] == ["4"]


def test_an_engine_that_cannot_count_has_refused_the_whole() -> None:
    first = Forgetting(
        ChatRequest(messages=talk(5)), "m", lambda request: Outgoing(b"/chat", b"", CountReply())
    ).begin()
    assert first.follow is not None
    assert first.follow(400, b'{"error":"no"}') is None and first.follow(500, b"x") is None
    count = first.follow(400, TOO_LONG)
    assert count is not None and count.follow is not None
    with pytest.raises(EngineRefused, match="too long"):
        count.follow(404, b"")
    with pytest.raises(EngineProtocolError):
        count.follow(200, b"{}")
