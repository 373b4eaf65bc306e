"""
Writing the answers of /v1/messages: content in blocks, one after the other, each with a beginning and an end.

    message_start (content_block_start content_block_delta* content_block_stop)* message_delta message_stop

Anthropic counts the part of the prompt that came from the cache apart: `input_tokens` is without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from corral.domain.chat import Counts, Delta, Finished, Reason, TextDelta, ThinkingDelta, ToolCallDelta
from corral.domain.errors import CorralError, EngineProtocolError
from corral.kit import sse

_encode = msgspec.json.Encoder().encode
SIGNATURE: Final = "Y29ycmFs"
"""Clients want one to send a thinking block back. It is never looked at."""
PING: Final = sse.event(b'{"type":"ping"}', name="ping")
_STOP: Final = sse.event(b'{"type":"message_stop"}', name="message_stop")
_DELTA: Final = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":%b:'
_TEXT, _THINKING = -1, -2
"""The kind of the open block; that of a call is its index."""
_FIELDS: Final = {_TEXT: b'"text_delta","text"', _THINKING: b'"thinking_delta","thinking"'}
_CALL: Final = b'"input_json_delta","partial_json"'


class MessageWriter:
    """Implements `contracts.dialect.Writer`. One for each answer; what is hidden is `requests.Asked`'s."""

    media_type = b"text/event-stream"

    def __init__(self, model: str, message_id: str, *, hides_thinking: bool = False, silent: bool = False) -> None:
        self.failure: CorralError | None = None
        self._model = model
        self._id = message_id
        self._hides_thinking = hides_thinking
        self._silent = silent
        self._counts = Counts()
        self._reason: str | None = None
        self._word: str | None = None
        self._started = False
        self._index = -1
        self._open: int | None = None
        self._prefix = b""
        self._calls: set[int] = set()

    def stream(self, deltas: Sequence[Delta]) -> bytes:
        """The next events."""
        out: list[bytes] = []
        for delta in deltas:
            if isinstance(delta, TextDelta):
                self._text(delta.text, out)
            elif isinstance(delta, ThinkingDelta):
                self._thinking(delta.text, out)
            elif isinstance(delta, ToolCallDelta):
                self._call(delta, out)
                if self.failure is not None:
                    break
            elif isinstance(delta, Finished):
                self._finished(delta)
            elif isinstance(delta, Counts):
                self._counts = delta  # llama.cpp's first ones come before the first word, so `message_start` has them
        return b"".join(out)

    def again(self, kind: type[Delta], text: bytes) -> bytes | None:
        """See Writer."""
        if self._open == _TEXT if kind is TextDelta else self._open == _THINKING and not self._hides_thinking:
            return b"%b%b}}\n\n" % (self._prefix, text)
        return None

    def end(self) -> bytes:
        """The last block ends, and the message."""
        out: list[bytes] = []
        self._start(out)
        self._close(out)
        delta = {"stop_reason": self._reason, "stop_sequence": self._word, **self._details()}
        told = _encode({"type": "message_delta", "delta": delta, "usage": self._usage()})
        return b"".join((*out, sse.event(told, name="message_delta"), _STOP))

    def whole(self, deltas: Sequence[Delta]) -> bytes:
        """One object."""
        texts, thoughts = [], []
        calls: dict[int, list[str]] = {}
        for delta in deltas:
            if isinstance(delta, TextDelta):
                texts.append(delta.text)
            elif isinstance(delta, ThinkingDelta):
                thoughts.append(delta.text)
            elif isinstance(delta, ToolCallDelta):
                self._calls.add(delta.index)
                call = calls.setdefault(delta.index, ["", "", ""])
                call[0], call[1] = call[0] or delta.id, call[1] + delta.name
                call[2] += delta.arguments
            elif isinstance(delta, Finished):
                self._finished(delta)
            elif isinstance(delta, Counts):
                self._counts = delta
        content: list[dict[str, Any]] = []
        if thoughts:
            thought = "" if self._hides_thinking else "".join(thoughts)
            content.append({"type": "thinking", "thinking": thought, "signature": SIGNATURE})
        text = "".join(texts)
        if text:
            content.append({"type": "text", "text": text})
        for index, (call_id, name, arguments) in sorted(calls.items()):
            call_id = call_id or self._call_id(index)
            content.append({"type": "tool_use", "id": call_id, "name": name, "input": _object(arguments)})
        message = self._message([] if self._silent else content)
        message.update(stop_reason=self._reason, stop_sequence=self._word, **self._details())
        return _encode(message)

    # --- the pieces of a stream ---

    def _text(self, text: str, out: list[bytes]) -> None:
        if self._open == _TEXT:
            out.append(b"%b%b}}\n\n" % (self._prefix, _encode(text)))
            return
        if text and not self._silent:
            self._begin(_TEXT, b'{"type":"text","text":""}', out)
            out.append(b"%b%b}}\n\n" % (self._prefix, _encode(text)))

    def _thinking(self, text: str, out: list[bytes]) -> None:
        if self._silent:
            return
        self._begin(_THINKING, b'{"type":"thinking","thinking":"","signature":""}', out)
        if not self._hides_thinking:
            out.append(b"%b%b}}\n\n" % (self._prefix, _encode(text)))

    def _call(self, delta: ToolCallDelta, out: list[bytes]) -> None:
        index = delta.index
        if self._silent:
            return
        if self._open != index:
            if index in self._calls:
                self.failure = EngineProtocolError("The engine went on with a call after it had begun something else.")
                return
            self._calls.add(index)
            block = {"type": "tool_use", "id": delta.id or self._call_id(index), "name": delta.name, "input": {}}
            self._begin(index, _encode(block), out)
        if delta.arguments:
            out.append(b"%b%b}}\n\n" % (self._prefix, _encode(delta.arguments)))

    def _call_id(self, index: int) -> str:
        return f"toolu_{self._id.removeprefix('msg_')}_{index}"

    def _begin(self, kind: int, block: bytes, out: list[bytes]) -> None:
        if self._open == kind:
            return
        self._start(out)
        self._close(out)
        self._open = kind
        self._index += 1
        self._prefix = _DELTA % (self._index, _FIELDS.get(kind, _CALL))
        told = b'{"type":"content_block_start","index":%d,"content_block":%b}' % (self._index, block)
        out.append(sse.event(told, name="content_block_start"))

    def _start(self, out: list[bytes]) -> None:
        if not self._started:
            self._started = True
            told = _encode({"type": "message_start", "message": self._message([])})
            out += (sse.event(told, name="message_start"), PING)

    def _close(self, out: list[bytes]) -> None:
        if self._open is None:
            return
        if self._open == _THINKING:
            head = _DELTA % (self._index, b'"signature_delta","signature"')
            out.append(b'%b"%b"}}\n\n' % (head, SIGNATURE.encode()))
        self._open = None
        out.append(sse.event(b'{"type":"content_block_stop","index":%d}' % self._index, name="content_block_stop"))

    # --- what both have ---

    def _finished(self, delta: Finished) -> None:
        self._word = delta.stop_sequence or None
        if delta.reason is Reason.LENGTH:
            self._reason = "max_tokens"
        elif delta.reason is Reason.FILTERED:
            self._reason = "refusal"
        elif self._calls:
            self._reason = "tool_use"
        else:
            self._reason = "stop_sequence" if self._word else "end_turn"
        if self._silent:
            self._reason, self._word = "max_tokens", None

    def _details(self) -> dict[str, Any]:
        if self._reason != "refusal":
            return {}
        return {"stop_details": {"type": "refusal", "category": None, "explanation": None}}

    def _message(self, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": self._usage(),
        }

    def _usage(self) -> dict[str, int]:
        counts = self._counts
        cached = counts.cached or 0
        return {
            "input_tokens": max(0, (counts.prompt or 0) - cached),
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": cached,
            "output_tokens": 0 if self._silent else counts.completion or 0,
        }


def _object(arguments: str) -> Any:
    """What the model wrote; an object even where it wrote none, for clients decode one."""
    try:
        found = msgspec.json.decode(arguments or "{}")
    except (msgspec.MsgspecError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"arguments": arguments}
