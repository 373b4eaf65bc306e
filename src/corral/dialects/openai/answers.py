"""
Reading what an OpenAI-speaking engine answers to /v1/chat/completions: streams and whole answers, as Deltas.

llama-server, vLLM and others agree on the shape and differ in what they add: reasoning is `reasoning_content` or
`reasoning`, llama-server tells `timings`, vLLM says which of the client's stop sequences it was (`stop_reason`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar

import msgspec

from corral.dialects.openai.reading import EngineError, EventReader, failed
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
from corral.domain.errors import EngineProtocolError

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


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


_UNSAID: Final = msgspec.Raw()


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


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    timings: msgspec.Raw = _UNSAID
    error: EngineError | str | None = None
    prompt_progress: _Progress | None = None
    verbose: _Verbose | None = msgspec.field(default=None, name="__verbose")


_T = TypeVar("_T")
_chunk = msgspec.json.Decoder(_Chunk).decode
_timings = msgspec.json.Decoder(_Timings | None).decode
_own = msgspec.json.Decoder(dict[str, Any]).decode
_REASONS: Final = {
    "stop": Reason.STOP, "length": Reason.LENGTH, "tool_calls": Reason.TOOL_CALLS, "function_call": Reason.TOOL_CALLS,
    "content_filter": Reason.FILTERED,
}  # fmt: skip


class ChatReader(EventReader):
    """Chat completions, whole and as streams."""

    incomplete = "The engine's answer has no choice that is complete."

    def take(self, payload: bytes, deltas: list[Delta]) -> None:
        """See EventReader. What an engine says of other choices than the first is passed over."""
        chunk = _read(_chunk, payload)
        if chunk.error is not None:
            raise failed(chunk.error)
        for choice in chunk.choices or ():
            if choice.index == 0:
                self._take_choice(choice, chunk.verbose, deltas)
        if chunk.prompt_progress is not None:
            deltas.append(Counts(chunk.prompt_progress.total, None, chunk.prompt_progress.cache))
        if chunk.usage is not None:
            usage = chunk.usage
            cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details is not None else None
            deltas.append(Counts(usage.prompt_tokens, usage.completion_tokens, cached))
        if chunk.timings is not _UNSAID:
            own = bytes(chunk.timings)
            said = _read(_timings, own)
            if said is not None:
                deltas.append(Timings(_seconds(said.prompt_ms), _seconds(said.predicted_ms), _read(_own, own)))

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


def _read(decode: Callable[[bytes], _T], payload: bytes) -> _T:
    try:
        return decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise EngineProtocolError(f"The engine's answer is no chat completion: {error}.") from None


def _call(call: _Call, index: int) -> ToolCallDelta:
    function = call.function or _Function()
    return ToolCallDelta(index, call.id or "", function.name or "", function.arguments or "")


def _seconds(milliseconds: float | None) -> float | None:
    return milliseconds / 1000 if milliseconds is not None else None
