"""
Writing the answers of /api/chat and /api/generate: newline-delimited JSON, calls as objects, counts and durations in
the last line.

Calls are told whole, in a line before the last: some clients read no calls in the line that says `done`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

import msgspec

from corral.dialects.ollama.context import told as told_context
from corral.domain.chat import (
    Counts,
    Delta,
    Finished,
    LogProbs,
    Message,
    Reason,
    TextDelta,
    ThinkingDelta,
    Timings,
    ToolCallDelta,
)
from corral.domain.errors import CorralError

_encode = msgspec.json.Encoder().encode
_strings = msgspec.json.Decoder(list[str]).decode
_NS: Final = 1_000_000_000
_LONGEST_S: Final = 1e9
_NOTHING: Final = b'""'


class _Call(msgspec.Struct):
    id: str = ""
    name: str = ""
    arguments: str = ""


class _Likely(msgspec.Struct, omit_defaults=True):
    token: str
    logprob: float | None
    bytes: list[int] | None = None


class _LogProb(_Likely, omit_defaults=True):
    top_logprobs: list[_Likely] | None = None


_INSTANT_S: Final = 1e-6
_logprobs = msgspec.json.Decoder(list[_LogProb]).decode


class _Writer(ABC):
    """
    Implements `contracts.dialect.Writer`. One for each answer.

    `wall` gives seconds since the epoch, `began` is when it was asked. `likely` has the tokens shown that were likely
    too: engines tell some, whether they were asked or not.
    """

    media_type = b"application/x-ndjson"
    failure: CorralError | None = None
    _TEXT: ClassVar[bytes]
    _THOUGHT: ClassVar[bytes]
    _CALLS: ClassVar[bytes]

    def __init__(
        self, model: str, *, wall: Callable[[], float], began: float, load_s: float = 0.0, likely: bool = True
    ) -> None:
        self._wall = wall
        self._likely = likely
        self._began = began
        # As Ollama counts it: with the wait for an engine's slot, and never quite nothing.
        self._load_s = load_s or max(wall() - began, _INSTANT_S)
        self._model = _encode(model)
        self._calls: dict[int, _Call] = {}
        self._reason = Reason.STOP
        self._counts = Counts()
        self._timings = Timings()
        self._opening = b""  # what all lines of one second begin with
        self._second = -1

    def stream(self, deltas: Sequence[Delta]) -> bytes:
        """A line for each piece of text, with the probabilities that follow it."""
        out: list[bytes] = []
        fields = b""
        for delta in deltas:
            if isinstance(delta, TextDelta | ThinkingDelta):
                if fields:
                    out.append(self._line(fields))
                fields = (self._TEXT if isinstance(delta, TextDelta) else self._THOUGHT) % _encode(delta.text)
            elif isinstance(delta, LogProbs):
                shown = _encode(self._probabilities(delta))
                out.append(self._line(b'%b,"logprobs":%b' % (fields or self._TEXT % _NOTHING, shown)))
                fields = b""
            else:
                self._keep(delta)
        if fields:
            out.append(self._line(fields))
        return b"".join(out)

    def again(self, kind: type[Delta], text: bytes) -> bytes:
        """See Writer."""
        return self._line((self._TEXT if kind is TextDelta else self._THOUGHT) % text)

    def end(self) -> bytes:
        """The calls, and the last line."""
        calls = self._line(self._CALLS % _encode(self._told_calls())) if self._calls else b""
        return calls + self._last(self._answer("", "", [])) + b"\n"

    def whole(self, deltas: Sequence[Delta]) -> bytes:
        """One object."""
        text, thoughts, probabilities = [], [], []
        for delta in deltas:
            if isinstance(delta, TextDelta):
                text.append(delta.text)
            elif isinstance(delta, ThinkingDelta):
                thoughts.append(delta.text)
            elif isinstance(delta, LogProbs):
                probabilities += self._probabilities(delta)
            else:
                self._keep(delta)
        answer = self._answer("".join(text), "".join(thoughts), self._told_calls())
        if probabilities:
            answer["logprobs"] = probabilities
        return self._last(answer)

    @abstractmethod
    def _answer(self, text: str, thoughts: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
        """The fields that hold the answer itself, of a line that is decoded whole."""

    def _keep(self, delta: Delta) -> None:
        if isinstance(delta, ToolCallDelta):
            call = self._calls.setdefault(delta.index, _Call())
            call.id = call.id or delta.id
            call.name += delta.name
            call.arguments += delta.arguments
        elif isinstance(delta, Finished):
            self._reason = delta.reason
        elif isinstance(delta, Counts):
            self._counts = delta
        elif isinstance(delta, Timings):
            self._timings = delta

    def _told_calls(self) -> list[dict[str, Any]]:
        return [
            {"id": call.id, "function": {"index": place, "name": call.name, "arguments": _object(call.arguments)}}
            for place, (_, call) in enumerate(sorted(self._calls.items()))
        ]

    def _probabilities(self, delta: LogProbs) -> list[_LogProb]:
        """None where the engine's make no sense: the text is what was asked for."""
        try:
            told = _logprobs(delta.content)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return []
        if not self._likely:
            for each in told:
                each.top_logprobs = None
        return told

    def _line(self, fields: bytes) -> bytes:
        wall = self._wall()
        second = int(wall)
        if second != self._second:  # its date costs more than the rest of a line
            self._second = second
            self._opening = b'{"model":%b,"created_at":"%b' % (self._model, stamp(second)[:-7])
        return b'%b%06dZ",%b,"done":false}\n' % (self._opening, (wall - second) * 1_000_000, fields)

    def _last(self, answer: dict[str, Any]) -> bytes:
        counts, timings = self._counts, self._timings
        told = {
            "total_duration": ns(self._wall() - self._began),
            "load_duration": ns(self._load_s),
            "prompt_eval_count": counts.prompt,
            "prompt_eval_duration": ns(timings.prompt_s),
            "eval_count": counts.completion,
            "eval_duration": ns(timings.completion_s),
        }
        return _encode(
            {
                "model": msgspec.Raw(self._model),
                "created_at": stamp(self._wall()).decode(),
                **answer,
                "done": True,
                "done_reason": "length" if self._reason is Reason.LENGTH else "stop",
                **{name: value for name, value in told.items() if value is not None},
            }
        )


class ChatWriter(_Writer):
    """Of /api/chat."""

    _TEXT = b'"message":{"role":"assistant","content":%b}'
    _THOUGHT = b'"message":{"role":"assistant","content":"","thinking":%b}'
    _CALLS = b'"message":{"role":"assistant","content":"","tool_calls":%b}'

    def _answer(self, text: str, thoughts: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
        return {"message": _told({"role": "assistant", "content": text}, thoughts, calls)}


class GenerateWriter(_Writer):
    """Of /api/generate."""

    _TEXT = b'"response":%b'
    _THOUGHT = b'"response":"","thinking":%b'
    _CALLS = b'"response":"","tool_calls":%b'

    def __init__(
        self,
        model: str,
        *,
        wall: Callable[[], float],
        began: float,
        load_s: float = 0.0,
        likely: bool = True,
        turns: Sequence[Message] | None = None,
    ) -> None:
        """`turns` are those that its `context` begins with; it has none without them."""
        super().__init__(model, wall=wall, began=began, load_s=load_s, likely=likely)
        self._turns = turns
        self._said: list[bytes] = []  # strings of JSON, some as an engine wrote them

    def stream(self, deltas: Sequence[Delta]) -> bytes:
        """What is said is kept for `context`."""
        if self._turns is not None:
            self._said += [_encode(delta.text) for delta in deltas if isinstance(delta, TextDelta)]
        return super().stream(deltas)

    def again(self, kind: type[Delta], text: bytes) -> bytes:
        """See Writer."""
        if self._turns is not None and kind is TextDelta:
            self._said.append(text)
        return super().again(kind, text)

    def _answer(self, text: str, thoughts: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
        answer = _told({"response": text}, thoughts, calls)
        context = self._context(text)
        return answer if context is None else {**answer, "context": context}

    def _context(self, text: str) -> list[int] | None:
        if self._turns is None:
            return None
        try:
            return told_context(self._turns, text or "".join(_strings(b"[%b]" % b",".join(self._said))))
        except (msgspec.MsgspecError, UnicodeError):  # an engine's string that is none: it has been told as it was
            return None


def loaded(answer: type[_Writer], model: str, wall: float, *, reason: str) -> bytes:
    """What a request gets that wanted its Model to come (`reason` load) or to go (unload)."""
    fields = {"response": ""} if answer is GenerateWriter else {"message": {"role": "assistant", "content": ""}}
    return _encode({"model": model, "created_at": stamp(wall).decode(), **fields, "done": True, "done_reason": reason})


def stamp(wall: float) -> bytes:
    """A moment as RFC 3339 writes it."""
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()


def ns(seconds: float | None) -> int | None:
    """Nanoseconds, of a clock that may have been set back, and of engines that may say anything."""
    return round(min(max(seconds, 0.0), _LONGEST_S) * _NS) if seconds is not None else None


def _told(fields: dict[str, Any], thoughts: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
    if thoughts:
        fields["thinking"] = thoughts
    if calls:
        fields["tool_calls"] = calls
    return fields


def _object(arguments: str) -> Any:
    """What the model wrote, in one line; an object even where it wrote none, for clients decode one."""
    try:
        if isinstance(msgspec.json.decode(arguments or "{}"), dict):
            return msgspec.Raw(msgspec.json.format(arguments or "{}", indent=-1).encode())
    except (msgspec.MsgspecError, RecursionError):
        pass
    return {"arguments": arguments}
