"""
An answer that its request has begun: the last message is the model's own, and llama.cpp goes on after it.

It says the beginning once more, in one piece before the first of its own; no other engine does, and no client of the
dialects that chats are translated for wants it: to them an answer is what was added.
"""

from __future__ import annotations

from collections.abc import Sequence

from corral.dialects.openai.answers import ChatReader
from corral.domain.chat import ChatRequest, Delta, Role, Text, TextDelta, Thinking


def begun(request: ChatRequest) -> str:
    """The text that the answer begins with; nothing where somebody else spoke last, or the model has made calls."""
    last = request.messages[-1] if request.messages else None
    if last is None or last.role is not Role.ASSISTANT:
        return ""
    if any(not isinstance(part, Text | Thinking) for part in last.parts):
        return ""
    return "".join(part.text for part in last.parts if isinstance(part, Text))


class BegunReader(ChatReader):
    """The first text without what is there already."""

    def __init__(self, echo: str) -> None:
        super().__init__()
        self._echo = echo

    def stream(self, events: bytes) -> list[Delta]:
        """Whole events, up to a failure."""
        return self._added(super().stream(events))

    def again(self, events: bytes) -> tuple[type[Delta], bytes] | None:
        """See Reader. The text that has the beginning must be read."""
        return None if self._echo else super().again(events)

    def whole(self, body: bytes) -> list[Delta]:
        """An answer that is no stream."""
        return self._added(super().whole(body))

    def _added(self, deltas: Sequence[Delta]) -> list[Delta]:
        """Only the first piece is looked at."""
        found: list[Delta] = []
        for delta in deltas:
            if self._echo and isinstance(delta, TextDelta):
                rest, self._echo = delta.text.removeprefix(self._echo), ""
                if rest:
                    found.append(TextDelta(rest))
            else:
                found.append(delta)
        return found
