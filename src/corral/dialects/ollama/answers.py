"""
Writing the answers of /api/chat: newline-delimited JSON, calls as objects, counts and durations in the last line.

Calls are told whole, in a line before the last: some clients read no calls in the line that says `done`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from corral.domain.chat import Counts, Delta, Finished, Reason, TextDelta, ThinkingDelta, Timings, ToolCallDelta
from corral.domain.errors import CorralError

_encode = msgspec.json.Encoder().encode
_NS: Final = 1_000_000_000


class _Call(msgspec.Struct):
    id: str = ""
    name: str = ""
    arguments: str = ""


class ChatWriter:
    """
    Implements `contracts.dialect.Writer`. One for each answer.

    `wall` gives seconds since the epoch, `began` is when it was asked.
    """

    media_type = b"application/x-ndjson"
    failure: CorralError | None = None

    def __init__(self, model: str, *, wall: Callable[[], float], began: float, load_s: float = 0.0) -> None:
        self._wall = wall
        self._began = began
        self._load_s = load_s
        self._model = _encode(model)
        self._calls: dict[int, _Call] = {}
        self._reason = Reason.STOP
        self._counts = Counts()
        self._timings = Timings()
        self._stamp = b""
        self._stamped_ms = -1

    def stream(self, deltas: Sequence[Delta]) -> bytes:
        """A line for each piece of text."""
        out = []
        for delta in deltas:
            if isinstance(delta, TextDelta):
                out.append(self._line(b'{"role":"assistant","content":%b}' % _encode(delta.text)))
            elif isinstance(delta, ThinkingDelta):
                out.append(self._line(b'{"role":"assistant","content":"","thinking":%b}' % _encode(delta.text)))
            else:
                self._keep(delta)
        return b"".join(out)

    def end(self) -> bytes:
        """The calls, and the last line."""
        calls = b""
        if self._calls:
            calls = self._line(b'{"role":"assistant","content":"","tool_calls":%b}' % _encode(self._told_calls()))
        return calls + self._last({"role": "assistant", "content": ""}) + b"\n"

    def whole(self, deltas: Sequence[Delta]) -> bytes:
        """One object."""
        message: dict[str, Any] = {"role": "assistant", "content": ""}
        thoughts = []
        for delta in deltas:
            if isinstance(delta, TextDelta):
                message["content"] += delta.text
            elif isinstance(delta, ThinkingDelta):
                thoughts.append(delta.text)
            else:
                self._keep(delta)
        if thoughts:
            message["thinking"] = "".join(thoughts)
        if self._calls:
            message["tool_calls"] = self._told_calls()
        return self._last(message)

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

    def _line(self, message: bytes) -> bytes:
        return b'{"model":%b,"created_at":"%b","message":%b,"done":false}\n' % (self._model, self._now(), message)

    def _last(self, message: dict[str, Any]) -> bytes:
        counts, timings = self._counts, self._timings
        told = {
            "total_duration": _ns(self._wall() - self._began),
            "load_duration": _ns(self._load_s),
            "prompt_eval_count": counts.prompt,
            "prompt_eval_duration": _ns(timings.prompt_s),
            "eval_count": counts.completion,
            "eval_duration": _ns(timings.completion_s),
        }
        return _encode(
            {
                "model": msgspec.Raw(self._model),
                "created_at": self._now().decode(),
                "message": message,
                "done": True,
                "done_reason": "length" if self._reason is Reason.LENGTH else "stop",
                **{name: value for name, value in told.items() if value is not None},
            }
        )

    def _now(self) -> bytes:
        wall = self._wall()
        ms = int(wall * 1000)
        if ms != self._stamped_ms:
            self._stamped_ms = ms
            moment = datetime.fromtimestamp(wall, UTC)
            self._stamp = moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()
        return self._stamp


def _ns(seconds: float | None) -> int | None:
    return round(seconds * _NS) if seconds is not None else None


def _object(arguments: str) -> Any:
    """What the model wrote; an object even where it wrote none, for clients decode one."""
    try:
        found = msgspec.json.decode(arguments or "{}")
    except (msgspec.MsgspecError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"arguments": arguments}
