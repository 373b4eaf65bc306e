"""
Reading what an OpenAI-speaking engine answers to /v1/chat/completions: streams and whole answers, as Deltas.

llama-server, vLLM and others agree on the shape and differ in what they add: reasoning is `reasoning_content` or
`reasoning`, llama-server tells `timings`, vLLM says which of the client's stop sequences it was (`stop_reason`).
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

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
from corral.domain.errors import CorralError, EngineDied, EngineFailed, EngineProtocolError, EngineRefused
from corral.kit import sse

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_WORDS: Final = 2000
"""Of an engine's error that is no JSON."""
_NO_MEDIA: Final = "input is not supported"


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct, gc=False):
    index: int = 0
    id: str | None = None
    function: _Function | None = None


class _LogProbs(msgspec.Struct, gc=False):
    content: msgspec.Raw = msgspec.Raw()


class _Said(msgspec.Struct, gc=False):
    """`delta` of a chunk, `message` of a whole answer."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Said | None = None
    message: _Said | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    logprobs: _LogProbs | None = None


class _Details(msgspec.Struct, gc=False):
    cached_tokens: _Count | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    prompt_tokens_details: _Details | None = None


class _Timings(msgspec.Struct, gc=False):
    prompt_ms: float | None = None
    predicted_ms: float | None = None


class _Progress(msgspec.Struct, gc=False):
    """llama-server's own, where it is asked for: how far it is with the prompt."""

    total: _Count | None = None
    cache: _Count | None = None


class _Verbose(msgspec.Struct, gc=False):
    """llama-server's own, where it is asked for."""

    stopping_word: str | None = None


class _Error(msgspec.Struct, gc=False):
    message: str = ""
    type: str = ""


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    timings: _Timings | None = None
    error: _Error | str | None = None
    prompt_progress: _Progress | None = None
    verbose: _Verbose | None = msgspec.field(default=None, name="__verbose")


class _Refusal(msgspec.Struct, gc=False):
    error: _Error | str | None = None
    message: str | None = None
    detail: str | None = None


_chunk = msgspec.json.Decoder(_Chunk).decode
_refusal = msgspec.json.Decoder(_Refusal, strict=False).decode
_REASONS: Final = {
    "stop": Reason.STOP, "length": Reason.LENGTH, "tool_calls": Reason.TOOL_CALLS, "function_call": Reason.TOOL_CALLS,
    "content_filter": Reason.FILTERED,
}  # fmt: skip


class ChatReader:
    """Implements `contracts.dialect.Reader`. One for each answer."""

    def __init__(self) -> None:
        self.failure: CorralError | None = None
        self._finished = False

    def stream(self, events: bytes) -> list[Delta]:
        """Chunks of the first choice; what an engine says of others is passed over."""
        deltas: list[Delta] = []
        for payload in sse.payloads(events):
            if payload == b"[DONE]":
                continue
            try:
                self._take(_read(payload), deltas)
            except EngineFailed as failure:
                self.failure = failure
                break
        return deltas

    def end(self) -> None:
        """An engine that is cut off mid-stream may still end its body properly."""
        if not self._finished and self.failure is None:
            self.failure = EngineDied("The engine's stream ended before its answer did.")

    def whole(self, body: bytes) -> list[Delta]:
        """The same deltas as a stream of the same answer would give, in one."""
        deltas: list[Delta] = []
        self._take(_read(body), deltas)
        if not self._finished:
            raise EngineProtocolError("The engine's answer has no choice that is complete.")
        return deltas

    def refused(self, status: int, body: bytes) -> EngineRefused:
        """The engine's own words; its status where that is one of an error."""
        nothing = f"The engine answered with status {status}."
        status = status if 400 <= status <= 599 else 502
        try:
            said = _refusal(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            words = body[:_WORDS].decode("utf-8", "replace").strip()
            return EngineRefused(words or nothing, engine_status=status)
        error = said.error
        if isinstance(error, _Error):
            if status == 500 and _NO_MEDIA in error.message:
                status = 400  # llama-server's answer to an image for a model without eyes: nothing of it has failed
            return EngineRefused(error.message, engine_status=status, engine_type=error.type)
        return EngineRefused(error or said.message or said.detail or "", engine_status=status)

    def _take(self, chunk: _Chunk, deltas: list[Delta]) -> None:
        if chunk.error is not None:
            raise EngineFailed(chunk.error if isinstance(chunk.error, str) else chunk.error.message)
        for choice in chunk.choices or ():
            if choice.index == 0:
                self._take_choice(choice, chunk.verbose, deltas)
        if chunk.prompt_progress is not None:
            deltas.append(Counts(chunk.prompt_progress.total, None, chunk.prompt_progress.cache))
        if chunk.usage is not None:
            usage = chunk.usage
            cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details is not None else None
            deltas.append(Counts(usage.prompt_tokens, usage.completion_tokens, cached))
        if chunk.timings is not None:
            deltas.append(Timings(_seconds(chunk.timings.prompt_ms), _seconds(chunk.timings.predicted_ms)))

    def _take_choice(self, choice: _Choice, verbose: _Verbose | None, deltas: list[Delta]) -> None:
        said = choice.delta or choice.message
        if said is not None:
            thinking = said.reasoning_content or said.reasoning
            if thinking:
                deltas.append(ThinkingDelta(thinking))
            if said.content:
                deltas.append(TextDelta(said.content))
            for place, call in enumerate(said.tool_calls or ()):
                deltas.append(_call(call, place if choice.message is not None else call.index))
        if choice.logprobs is not None and bytes(choice.logprobs.content) not in (b"", b"null"):
            deltas.append(LogProbs(choice.logprobs.content))
        if choice.finish_reason is not None:
            self._finished = True
            word = choice.stop_reason if isinstance(choice.stop_reason, str) else None
            if verbose is not None:
                word = word or verbose.stopping_word
            deltas.append(Finished(_REASONS.get(choice.finish_reason, Reason.STOP), word))


def _read(payload: bytes) -> _Chunk:
    try:
        return _chunk(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise EngineProtocolError(f"The engine's answer is no chat completion: {error}.") from None


def _call(call: _Call, index: int) -> ToolCallDelta:
    function = call.function or _Function()
    return ToolCallDelta(index, call.id or "", function.name or "", function.arguments or "")


def _seconds(milliseconds: float | None) -> float | None:
    return milliseconds / 1000 if milliseconds is not None else None
