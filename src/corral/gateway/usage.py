"""
Watching an answer go by: token counts and the moment of the first token.

Of a stream nothing is kept but its last few pieces, for engines tell `usage` and `timings` at the end, and the first
that names either before a token has come. To look into every piece would cost more than all else that is done with it.
Nothing is decoded but those two objects. Quotes inside JSON strings are escaped, so `"usage":` in the bytes is always a
key and never what a model said.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence
from typing import Annotated, Final, TypeVar

import msgspec

from corral.kit import sse

_USAGE: Final = b'"usage":'
_TIMINGS: Final = b'"timings":'
_BRACE = re.compile(rb"[{}]")
_OBJECT_LIMIT: Final = 4096
_TAIL: Final = 16 * 1024
_PIECES: Final = 6  # a last word, counts, timings, `[DONE]` and a heartbeat between them, each in a packet of its own
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""What is beyond is no count, and would spoil the sums that it is added to."""


class _Details(msgspec.Struct):
    cached_tokens: _Count | None = None


class _Usage(msgspec.Struct):
    """The union of what OpenAI (chat and responses) and Anthropic call usage."""

    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    input_tokens: _Count | None = None
    output_tokens: _Count | None = None
    prompt_tokens_details: _Details | None = None
    input_tokens_details: _Details | None = None
    cache_read_input_tokens: _Count | None = None


class _Timings(msgspec.Struct):
    """llama-server's own: `prompt_n` leaves out what came from the cache."""

    prompt_n: _Count | None = None
    cache_n: _Count | None = None
    predicted_n: _Count | None = None


class _Whole(msgspec.Struct):
    """An answer that is no stream."""

    usage: _Usage | None = None
    timings: _Timings | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[msgspec.Raw] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    text: str | None = None


class _AnthropicDelta(msgspec.Struct):
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None


class _Chunk(msgspec.Struct):
    """The places where a first token can be, in all streams that engines speak."""

    choices: list[_Choice] | None = None
    content: str | None = None
    type: str | None = None
    delta: str | _AnthropicDelta | None = None


_chunk = msgspec.json.Decoder(_Chunk, strict=False).decode
_whole = msgspec.json.Decoder(_Whole).decode
_usage = msgspec.json.Decoder(_Usage).decode
_timings = msgspec.json.Decoder(_Timings).decode


class Watch:
    """The watch over one answer. Counts stay None where the engine said nothing."""

    __slots__ = (
        "_first", "_last", "_tail", "cached_tokens", "completion_tokens", "prompt_tokens", "started",
    )  # fmt: skip

    def __init__(self) -> None:
        self.started = False  # a first token was seen
        self.prompt_tokens: int | None = None
        self.cached_tokens: int | None = None
        self.completion_tokens: int | None = None
        self._first = b""
        self._last = b""
        self._tail: deque[bytes] | None = None

    def saw_first_token(self, events: bytes) -> bool:
        """True when these events hold the first non-empty delta; to be asked until it has said so."""
        for payload in sse.payloads(events):
            try:
                chunk = _chunk(payload)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                continue  # `[DONE]`, or a shape that is not known here
            if _has_delta(chunk):
                self.started = True
                return True
        return False

    def piece(self, data: bytes) -> None:
        """Keep the piece for as long as it may be one of those that tell the token counts."""
        tail = self._tail
        if tail is None:
            tail = self._tail = deque(maxlen=_PIECES)
        tail.append(data[-_TAIL:])  # what a client that reads slowly gets comes in large pieces
        if not self.started and not self._first and (_USAGE in data or _TIMINGS in data):
            self._first = data

    def body(self, pieces: Sequence[bytes]) -> None:
        """The same for an answer that is no stream. One that is long is looked at at its ends only."""
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if len(data) > 4 * _TAIL:
            self._first = self._last = data[:_OBJECT_LIMIT] + data[-_TAIL:]
            return
        try:
            whole = _whole(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self._first = self._last = data  # no JSON, or usage of another shape
            return
        if whole.usage is not None:
            self._take_usage(whole.usage)
        elif whole.timings is None:
            self._first = self._last = data  # it may be further inside
        if whole.timings is not None:
            self._take_timings(whole.timings)

    def finish(self) -> None:
        """Work the counts out of what was kept."""
        first, last = self._first, self._last if self._tail is None else b"".join(self._tail)
        if not last:
            return
        for data in (last,) if first is last else (first, last):
            usage = _found(data, _USAGE, _usage)
            if usage is not None:
                self._take_usage(usage)
        timings = _found(last, _TIMINGS, _timings)
        if timings is not None:
            self._take_timings(timings)

    def _take_usage(self, usage: _Usage) -> None:
        prompt = usage.input_tokens if usage.prompt_tokens is None else usage.prompt_tokens
        completion = usage.output_tokens if usage.completion_tokens is None else usage.completion_tokens
        details = usage.prompt_tokens_details or usage.input_tokens_details
        cached = usage.cache_read_input_tokens if details is None else details.cached_tokens
        if prompt is not None:
            self.prompt_tokens = prompt
        if completion is not None:
            self.completion_tokens = completion
        if cached is not None:
            self.cached_tokens = cached

    def _take_timings(self, timings: _Timings) -> None:
        if self.cached_tokens is None:
            self.cached_tokens = timings.cache_n
        if self.completion_tokens is None:
            self.completion_tokens = timings.predicted_n
        if self.prompt_tokens is None and timings.prompt_n is not None:
            self.prompt_tokens = timings.prompt_n + (timings.cache_n or 0)


T = TypeVar("T")


def _found(data: bytes, key: bytes, decode: Callable[[bytes], T]) -> T | None:
    """The last object that such a key names; None where there is none, or it is not what it should be."""
    text = _object_after(data, key)
    if text is None:
        return None
    try:
        return decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _has_delta(chunk: _Chunk) -> bool:
    for choice in chunk.choices or ():
        delta = choice.delta
        if choice.text:
            return True
        if delta is not None and (delta.content or delta.reasoning_content or delta.reasoning or delta.tool_calls):
            return True
    if chunk.content:
        return True
    if isinstance(chunk.delta, str):
        return bool(chunk.delta) and str(chunk.type).endswith(".delta")
    part = chunk.delta
    return part is not None and bool(part.text or part.thinking or part.partial_json)


def _object_after(data: bytes, key: bytes) -> bytes | None:
    """The JSON object that is the value of the last such key; None for another value or one that is cut off."""
    at = data.rfind(key)
    while at >= 0:
        after = at + len(key)
        start = data.find(b"{", after, after + 3)
        if start >= 0 and not data[after:start].strip():
            return _balanced(data, start)
        at = data.rfind(key, 0, at)  # `"usage":null` in every chunk but one is usual
    return None


def _balanced(data: bytes, start: int) -> bytes | None:
    end = data.find(b"}", start, start + _OBJECT_LIMIT)
    if data.find(b"{", start + 1, end) < 0:  # the usual case: nothing nested
        return data[start : end + 1] if end >= 0 else None
    depth = 0
    for brace in _BRACE.finditer(data, start, start + _OBJECT_LIMIT):
        depth += 1 if brace[0] == b"{" else -1
        if depth == 0:
            return data[start : brace.end()]
    return None
