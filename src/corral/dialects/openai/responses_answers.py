"""
Writing the answers of /v1/responses: items that begin, grow and are done, each event with its number.

    response.created, in_progress
    reasoning | message      output_item.added, content_part.added, ....delta, ....done, content_part.done, item.done
    function_call            output_item.added, arguments.delta; done with the answer, for calls may come interleaved
    response.completed | incomplete | failed      with the whole response

A piece of text costs one event made of bytes that are ready but for the number and the piece.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from corral.dialects.openai.errors import shown
from corral.dialects.openai.responses_items import SEAL
from corral.domain.chat import (
    Counts,
    Delta,
    Finished,
    LogProbs,
    Reason,
    TextDelta,
    ThinkingDelta,
    Timings,
    ToolCallDelta,
)
from corral.domain.errors import CorralError
from corral.kit import sse

_encode = msgspec.json.Encoder().encode
_string = msgspec.json.Decoder(str).decode
_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_TEXT, _THOUGHT = "output_text", "reasoning_text"
_INCOMPLETE: Final = {Reason.LENGTH: "max_output_tokens", Reason.FILTERED: "content_filter"}


class _Open:
    """An item with text that grows: the model's words, or its thoughts."""

    def __init__(self, kind: str, item_id: str, index: int) -> None:
        self.kind, self.id, self.index = kind, item_id, index
        self.pieces: list[bytes] = []  # JSON strings
        self.logprobs: list[msgspec.Raw] = []
        name = b"response.%b.delta" % kind.encode()
        self.before = b'event: %b\ndata: {"type":"%b","sequence_number":' % (name, name)
        self.middle = b',"item_id":"%b","output_index":%d,"content_index":0,"delta":' % (item_id.encode(), index)

    def text(self) -> str:
        """All of it."""
        return _string(b'"%b"' % b"".join([piece[1:-1] for piece in self.pieces]))

    def part(self, text: str) -> dict[str, Any]:
        """Its one part."""
        if self.kind == _THOUGHT:
            return {"type": _THOUGHT, "text": text}
        return {"type": _TEXT, "annotations": [], "logprobs": self.logprobs, "text": text}

    def item(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        """The item."""
        if self.kind == _THOUGHT:
            item = {"type": "reasoning", "id": self.id, "summary": [], "content": content, "status": status}
            if content:
                item["encrypted_content"] = SEAL + content[0]["text"]
            return item
        return {"type": "message", "id": self.id, "role": "assistant", "content": content, "status": status}


class _Call:
    """A call that is being written; it begins for the client once its name is known."""

    def __init__(self) -> None:
        self.index = -1
        self.item_id = self.call_id = self.name = self.namespace = self.arguments = ""

    def item(self, status: str, arguments: str) -> dict[str, Any]:
        """The item."""
        return {
            "type": "function_call",
            "id": self.item_id,
            "call_id": self.call_id,
            "name": self.name,
            "arguments": arguments,
            "status": status,
            **({"namespace": self.namespace} if self.namespace else {}),
        }


class ResponseWriter:
    """
    Implements `contracts.dialect.Writer`. One for each answer.

    `unique` is what its ids are made of, `echo` and `namespaces` are its ResponseRequest's, `wall` gives seconds since
    the epoch.
    """

    media_type = b"text/event-stream"
    failure: CorralError | None = None

    def __init__(
        self,
        model: str,
        unique: str,
        echo: Mapping[str, Any],
        *,
        wall: Callable[[], float],
        namespaces: Mapping[str, tuple[str, str]] = {},
    ) -> None:
        self._model, self._unique, self._echo, self._wall = model, unique, echo, wall
        self._namespaces = namespaces
        self._created = int(wall())
        self._number = 0
        self._output: list[dict[str, Any]] = []
        self._open: _Open | None = None
        self._calls: dict[int, _Call] = {}
        self._reason = Reason.STOP
        self._counts: Counts | None = None
        self._timings: dict[str, Mapping[str, Any]] = {}
        self._begun = False

    def stream(self, deltas: Sequence[Delta]) -> bytes:
        """The events of these pieces."""
        out = [] if self._begun else [self._begin()]
        for place, delta in enumerate(deltas):
            kind = type(delta)
            if kind is TextDelta:
                after = deltas[place + 1] if place + 1 < len(deltas) else None
                self._grow(_TEXT, _encode(delta.text), out, after if isinstance(after, LogProbs) else None)  # type: ignore[union-attr]
            elif kind is ThinkingDelta:
                self._grow(_THOUGHT, _encode(delta.text), out, None)  # type: ignore[union-attr]
            else:
                self._keep(delta, out)
        return b"".join(out)

    def again(self, kind: type[Delta], text: bytes) -> bytes | None:
        """See Writer."""
        item = self._open
        if item is None or item.kind is not (_TEXT if kind is TextDelta else _THOUGHT):
            return None
        return self._piece(item, text, None)

    def end(self) -> bytes:
        """All that is open is done, and the whole response."""
        out = [] if self._begun else [self._begin()]
        status = self._finish(out)
        out.append(self._event(f"response.{status}", response=self._response(status), **self._timings))
        return b"".join(out)

    def whole(self, deltas: Sequence[Delta]) -> bytes:
        """The response alone."""
        self.stream(deltas)
        return _encode({**self._response(self._finish([])), **self._timings})

    def failed(self, error: CorralError) -> bytes:
        """Implements `contracts.dialect.TellsFailure`. The official clients look outside the response, and raise it."""
        begun = b"" if self._begun else self._begin()
        number = self._number
        self._finish([], "incomplete")  # nobody is told that anything is done, but what there is is in the response
        self._number = number
        response = self._response("failed")
        response["error"] = {"code": "server_error", "message": error.sentence()}
        return begun + self._event("response.failed", response=response, error=shown(error))

    def _begin(self) -> bytes:
        self._begun = True
        begun = self._response("in_progress")
        return self._event("response.created", response=begun) + self._event("response.in_progress", response=begun)

    def _event(self, name: str, /, **fields: Any) -> bytes:
        number, self._number = self._number, self._number + 1
        return sse.event(_encode({"type": name, "sequence_number": number, **fields}), name=name)

    def _grow(self, kind: str, text: bytes, out: list[bytes], logprobs: LogProbs | None) -> None:
        item = self._open
        if item is None or item.kind != kind:
            item = self._open_item(kind, out)
        out.append(self._piece(item, text, logprobs))

    def _piece(self, item: _Open, text: bytes, logprobs: LogProbs | None) -> bytes:
        item.pieces.append(text)
        number, self._number = self._number, self._number + 1
        if item.kind is _THOUGHT:
            after = b"}\n\n"
        elif logprobs is None:
            after = b',"logprobs":[]}\n\n'
        else:
            item.logprobs += _list(logprobs.content)
            after = b',"logprobs":%b}\n\n' % bytes(logprobs.content)
        return b"%b%d%b%b%b" % (item.before, number, item.middle, text, after)

    def _open_item(self, kind: str, out: list[bytes]) -> _Open:
        self._close(out, "completed")
        index = len(self._output)
        prefix = "rs" if kind == _THOUGHT else "msg"
        item = self._open = _Open(kind, f"{prefix}_{self._unique}{index}", index)
        self._output.append(item.item("in_progress", []))
        out.append(self._event("response.output_item.added", output_index=index, item=self._output[index]))
        out.append(self._part("response.content_part.added", item, part=item.part("")))
        return item

    def _part(self, name: str, item: _Open, **fields: Any) -> bytes:
        return self._event(name, item_id=item.id, output_index=item.index, content_index=0, **fields)

    def _close(self, out: list[bytes], status: str) -> None:
        """The text that is open is done."""
        item, self._open = self._open, None
        if item is None:
            return
        text = item.text()
        part = item.part(text)
        more = {"logprobs": item.logprobs} if item.kind == _TEXT else {}
        out.append(self._part(f"response.{item.kind}.done", item, text=text, **more))
        out.append(self._part("response.content_part.done", item, part=part))
        self._done(item.index, item.item(status, [part]), out)

    def _done(self, index: int, item: dict[str, Any], out: list[bytes]) -> None:
        self._output[index] = item
        out.append(self._event("response.output_item.done", output_index=index, item=item))

    def _keep(self, delta: Delta, out: list[bytes]) -> None:
        if isinstance(delta, ToolCallDelta):
            self._call(delta, out)
        elif isinstance(delta, Finished):
            self._reason = delta.reason
        elif isinstance(delta, Counts):
            self._counts = delta
        elif isinstance(delta, Timings) and delta.own:
            self._timings = {"timings": delta.own}

    def _call(self, delta: ToolCallDelta, out: list[bytes]) -> None:
        call = self._calls.setdefault(delta.index, _Call())
        call.call_id = call.call_id or delta.id
        piece = delta.arguments
        if call.index < 0:
            call.name += delta.name
            call.arguments += piece
            if call.name:
                self._begin_call(call, out)
            return
        call.arguments += piece
        if piece:
            out.append(self._arguments(call, piece))

    def _begin_call(self, call: _Call, out: list[bytes]) -> None:
        self._close(out, "completed")
        call.namespace, call.name = self._namespaces.get(call.name, ("", call.name))
        call.index = len(self._output)
        call.item_id = f"fc_{self._unique}{call.index}"
        call.call_id = call.call_id or f"call_{self._unique}{call.index}"
        self._output.append(call.item("in_progress", ""))
        out.append(self._event("response.output_item.added", output_index=call.index, item=self._output[-1]))
        if call.arguments:
            out.append(self._arguments(call, call.arguments))

    def _arguments(self, call: _Call, piece: str) -> bytes:
        name = "response.function_call_arguments.delta"
        return self._event(name, item_id=call.item_id, output_index=call.index, delta=piece)

    def _finish(self, out: list[bytes], status: str = "") -> str:
        """Everything is done; the status of the whole."""
        status = status or ("incomplete" if self._reason in _INCOMPLETE else "completed")
        self._close(out, status)
        for call in self._calls.values():
            if call.index >= 0:
                done = {"item_id": call.item_id, "output_index": call.index, "name": call.name}
                out.append(self._event("response.function_call_arguments.done", **done, arguments=call.arguments))
                self._done(call.index, call.item(status, call.arguments), out)
        return status

    def _response(self, status: str) -> dict[str, Any]:
        over = status != "in_progress"
        reason = _INCOMPLETE.get(self._reason) if status == "incomplete" else None
        return {
            "id": f"resp_{self._unique}",
            "object": "response",
            "created_at": self._created,
            "completed_at": int(self._wall()) if status == "completed" else None,
            "status": status,
            "model": self._model,
            "output": self._output if over else [],
            "error": None,
            "incomplete_details": {"reason": reason} if reason is not None else None,
            "usage": _usage(self._counts) if over else None,
            **self._echo,
        }


def _usage(counts: Counts | None) -> dict[str, Any] | None:
    """None where the engine did not count. Engines do not tell thoughts and answer apart, or what they put aside."""
    if counts is None or counts.prompt is None or counts.completion is None:
        return None
    return {
        "input_tokens": counts.prompt,
        "input_tokens_details": {"cached_tokens": counts.cached or 0, "cache_write_tokens": 0},
        "output_tokens": counts.completion,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": counts.prompt + counts.completion,
    }
