"""
What the client of an Ollama stream hears while it waits: pieces of an answer that are empty, or pieces of thinking.

There are no comments in newline-delimited JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode


class LineVoice:
    """Implements `contracts.dialect.Voice`. `chat`: of /api/chat, else of /api/generate. `wall` as in ChatWriter."""

    mends = False

    def __init__(self, model: str, wall: Callable[[], float], *, chat: bool) -> None:
        self._model, self._wall, self._chat = model, wall, chat

    def alive(self, words: str) -> bytes:
        """An empty piece."""
        return self._line({})

    def thought(self, words: str) -> bytes:
        """A piece of thinking."""
        return self._line({"thinking": words})

    def over(self) -> bytes:
        """Nothing was begun."""
        return b""

    def mended(self, events: bytes) -> bytes:
        """As they are."""
        return events

    def _line(self, more: dict[str, Any]) -> bytes:
        now = datetime.fromtimestamp(self._wall(), UTC).isoformat().replace("+00:00", "Z")
        said = {"message": {"role": "assistant", "content": "", **more}} if self._chat else {"response": "", **more}
        return _encode({"model": self._model, "created_at": now, **said, "done": False}) + b"\n"
