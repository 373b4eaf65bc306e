"""
What the client of an OpenAI stream hears while it waits: comments, which no client shows, or pieces of reasoning.

A piece of reasoning says no `role`: the answer's own first chunk does, and some clients add up what they get twice.
"""

from __future__ import annotations

import msgspec

_encode = msgspec.json.Encoder().encode


class Comments:
    """Implements `contracts.dialect.Voice` for streams of server-sent events that have no place for thoughts."""

    mends = False

    def alive(self, words: str) -> bytes:
        """A comment."""
        return b": %b\n\n" % words.encode() if words else b":\n\n"

    def thought(self, words: str) -> bytes:
        """There are none."""
        return b""

    def over(self) -> bytes:
        """Nothing was begun."""
        return b""

    def mended(self, events: bytes) -> bytes:
        """As they are."""
        return events


class ChatVoice(Comments):
    """The same for /v1/chat/completions. `created` is in seconds since the epoch."""

    def __init__(self, model: str, answer_id: str, created: int) -> None:
        self._head = {"id": answer_id, "object": "chat.completion.chunk", "created": created, "model": model}

    def thought(self, words: str) -> bytes:
        """Under both names that clients read."""
        choice = {"index": 0, "delta": {"reasoning_content": words, "reasoning": words}, "finish_reason": None}
        return b"data: %b\n\n" % _encode({**self._head, "choices": [choice]})
