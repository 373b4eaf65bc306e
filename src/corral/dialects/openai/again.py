"""
The events of a stream are the same, byte for byte, but for the piece of text in each: read one, and know the next.

Quotes inside JSON strings are escaped, so `"content":` in the bytes is always a key. Where an event has that key once
and its value is the text that was read from it, then any event that begins and ends with the same bytes and has a JSON
string between them means the same with another text, which need not be decoded to be told in other words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from corral.domain.chat import Delta, TextDelta, ThinkingDelta

_encode = msgspec.json.Encoder().encode
_KEYS: Final = {
    TextDelta: (b'"content":', b'"text":'),
    ThinkingDelta: (b'"reasoning_content":', b'"reasoning":'),  # in the order in which they are read
}
_PLAIN: Final = re.compile(rb'"[^"\\\x00-\x1f]*(?:\\["\\/bfnrt][^"\\\x00-\x1f]*)*"').fullmatch
_TRIES: Final = 8
"""Events that were learned for nothing, one after the other: this engine counts in each, and is not like that."""


class Again:
    """One for each answer. `kind` is what the text is a piece of."""

    __slots__ = ("_after", "_before", "_left", "kind")

    def __init__(self) -> None:
        self.kind: type[Delta] = TextDelta
        self._before = self._after = b""
        self._left = _TRIES

    def text(self, events: bytes) -> bytes | None:
        """The text of one event like the last, a JSON string as it was written; None where it must be read."""
        before, after = self._before, self._after
        if not before or not events.startswith(before) or not events.endswith(after):
            return None
        text = events[len(before) : -len(after)]
        if len(text) < 3 or _PLAIN(text) is None or not (text.isascii() or _is_utf8(text)):
            return None
        self._left = _TRIES
        return text

    def learn(self, events: bytes, deltas: Sequence[Delta]) -> None:
        """These events were read, and meant this."""
        self._before = b""
        if len(deltas) != 1 or not self._left:
            return
        delta = deltas[0]
        if not isinstance(delta, TextDelta | ThinkingDelta):
            return
        self._left -= 1
        text = _encode(delta.text)
        for key in _KEYS[type(delta)]:
            at = events.find(key + text)
            if at >= 0 and events.count(key) == 1:
                at += len(key)
                self.kind, self._before, self._after = type(delta), events[:at], events[at + len(text) :]
                return


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
