"""
What the client of /v1/messages hears while it waits: pings, or a thinking block of its own before the answer's blocks.

Such a block needs a message around it. So the message begins with it, the answer's own `message_start` is left out, its
blocks count on from ours, and what that start said of the prompt's tokens is told at the end, where clients read it.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from corral.dialects.anthropic.answers import PING, SIGNATURE
from corral.kit import sse

_encode = msgspec.json.Encoder().encode
_BLOCKS: Final = frozenset({"content_block_start", "content_block_delta", "content_block_stop"})


class MessageVoice:
    """Implements `contracts.dialect.Voice`."""

    def __init__(self, model: str, message_id: str) -> None:
        self.mends = False
        self._message: dict[str, Any] = {
            "id": message_id,
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        self._usage: dict[str, Any] = {}  # of the start that was left out

    def alive(self, words: str) -> bytes:
        """A ping: it has no place for words."""
        return PING

    def thought(self, words: str) -> bytes:
        """A piece of the block, which begins with the first."""
        out = b""
        if not self.mends:
            self.mends = True
            block = {"type": "thinking", "thinking": "", "signature": ""}
            out = _event({"type": "message_start", "message": self._message})
            out += _event({"type": "content_block_start", "index": 0, "content_block": block})
        return out + _delta({"type": "thinking_delta", "thinking": words})

    def over(self) -> bytes:
        """The block ends."""
        if not self.mends:
            return b""
        signature = _delta({"type": "signature_delta", "signature": SIGNATURE})
        return signature + _event({"type": "content_block_stop", "index": 0})

    def mended(self, events: bytes) -> bytes:
        """The answer's events without its start, its blocks counted from one."""
        return b"".join(self._mended(payload) for payload in sse.payloads(events))

    def _mended(self, payload: bytes) -> bytes:
        told = msgspec.json.decode(payload)
        kind = told["type"]
        if kind == "message_start":
            self._usage = told["message"].get("usage") or {}
            return b""
        if kind in _BLOCKS:
            told["index"] += 1
        elif kind == "message_delta":
            told["usage"] = {**self._usage, **(told.get("usage") or {})}
        return _event(told)


def _event(told: dict[str, Any]) -> bytes:
    return sse.event(_encode(told), name=str(told["type"]))


def _delta(delta: dict[str, str]) -> bytes:
    return _event({"type": "content_block_delta", "index": 0, "delta": delta})
