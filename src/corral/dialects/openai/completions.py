"""
Texts continued as they stand: llama-server's own routes where the engine has them, else /v1/completions.

    /completion       prompt, n_predict, json_schema, n_probs     -> content, stop_type, timings
    /infill           input_prefix, input_suffix                  -> the same
    /v1/completions   prompt, suffix, max_tokens, logprobs        -> choices with text, usage
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

from corral.dialects.openai.reading import EngineError, EventReader, failed
from corral.domain.chat import Counts, Delta, Finished, Format, LogProbs, Reason, TextDelta, Timings
from corral.domain.completion import CompletionRequest
from corral.domain.errors import EngineProtocolError

_NATIVE: Final = b"/completion"
_INFILL: Final = b"/infill"
_OPENAI: Final = b"/v1/completions"
_ANY_OBJECT: Final = {"type": "object"}
_NATIVE_ALONE: Final = ("n_keep",)
_encode = msgspec.json.Encoder().encode


def encode(request: CompletionRequest, model: str, *, extensions: bool) -> tuple[bytes, bytes]:
    """Path and body; `extensions`: the engine is llama.cpp."""
    fields: dict[str, Any] = {"model": model, **request.extra}
    if request.stream:
        fields["stream"] = True
    if request.stop:
        fields["stop"] = list(request.stop)
    return _native(request, fields) if extensions else _openai(request, fields)


def _native(request: CompletionRequest, fields: dict[str, Any]) -> tuple[bytes, bytes]:
    if request.max_tokens is not None:
        fields["n_predict"] = request.max_tokens
    if request.format is not None:
        fields["json_schema"] = _ANY_OBJECT if request.format.schema is None else request.format.schema
    if request.logprobs is not None:
        fields["n_probs"] = max(1, request.logprobs)  # 0 would tell nothing at all
    if request.suffix is None:
        return _NATIVE, _encode({**fields, "prompt": request.prompt})
    return _INFILL, _encode({**fields, "input_prefix": request.prompt, "input_suffix": request.suffix})


def _openai(request: CompletionRequest, fields: dict[str, Any]) -> tuple[bytes, bytes]:
    for name in _NATIVE_ALONE:
        fields.pop(name, None)
    if request.stream:
        fields["stream_options"] = {"include_usage": True}
    if request.max_tokens is not None:
        fields["max_tokens"] = request.max_tokens
    if request.format is not None:
        fields["response_format"] = _response_format(request.format)
    if request.logprobs is not None:
        fields["logprobs"] = request.logprobs
    if request.suffix is not None:
        fields["suffix"] = request.suffix
    return _OPENAI, _encode({**fields, "prompt": request.prompt})


def _response_format(wanted: Format) -> dict[str, Any]:
    if wanted.schema is None:
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": wanted.name, "schema": wanted.schema}}


# --- what comes of it -------------------------------------------------------------------------------------------------

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class _TopProb(msgspec.Struct, gc=False):
    token: str = ""
    logprob: float | None = None


class _Prob(msgspec.Struct, gc=False):
    """llama-server's own, which are as OpenAI's chats have them."""

    token: str = ""
    logprob: float | None = None
    bytes: list[int] | None = None
    top_logprobs: list[_TopProb] | None = None


class _OldLogProbs(msgspec.Struct, gc=False):
    tokens: list[str] = []
    token_logprobs: list[float | None] = []
    top_logprobs: list[dict[str, float] | None] | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    text: str | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    logprobs: _OldLogProbs | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None


class _Timings(msgspec.Struct, gc=False):
    prompt_ms: float | None = None
    predicted_ms: float | None = None
    cache_n: _Count | None = None


class _Chunk(msgspec.Struct, gc=False):
    content: str | None = None
    stop: bool = False
    stop_type: str = ""
    stopping_word: str = ""
    tokens_evaluated: _Count | None = None
    tokens_predicted: _Count | None = None
    completion_probabilities: list[_Prob] | None = None
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    timings: _Timings | None = None
    error: EngineError | str | None = None


_chunk = msgspec.json.Decoder(_Chunk).decode


class CompletionReader(EventReader):
    """All three routes."""

    incomplete = "The engine's answer is no completion that has ended."

    def take(self, payload: bytes, deltas: list[Delta]) -> None:
        """See EventReader. What an engine says of other choices than the first is passed over."""
        chunk = _read(payload)
        if chunk.error is not None:
            raise failed(chunk.error)
        if chunk.content is not None:
            self._take_native(chunk, chunk.content, deltas)
        for choice in chunk.choices or ():
            if choice.index == 0:
                self._take_choice(choice, deltas)
        if chunk.usage is not None:
            deltas.append(Counts(chunk.usage.prompt_tokens, chunk.usage.completion_tokens))
        if chunk.timings is not None:
            deltas.append(Timings(_seconds(chunk.timings.prompt_ms), _seconds(chunk.timings.predicted_ms)))

    def _take_native(self, chunk: _Chunk, content: str, deltas: list[Delta]) -> None:
        if content:
            deltas.append(TextDelta(content))
        if chunk.completion_probabilities:
            deltas.append(LogProbs(msgspec.Raw(_encode(chunk.completion_probabilities))))
        if chunk.stop:
            self._finished = True
            reason = Reason.LENGTH if chunk.stop_type == "limit" else Reason.STOP
            deltas.append(Finished(reason, chunk.stopping_word or None))
            cached = chunk.timings.cache_n if chunk.timings is not None else None
            deltas.append(Counts(chunk.tokens_evaluated, chunk.tokens_predicted, cached))

    def _take_choice(self, choice: _Choice, deltas: list[Delta]) -> None:
        if choice.text:
            deltas.append(TextDelta(choice.text))
        if choice.logprobs is not None and choice.logprobs.tokens:
            deltas.append(LogProbs(msgspec.Raw(_encode(_probabilities(choice.logprobs)))))
        if choice.finish_reason is not None:
            self._finished = True
            word = choice.stop_reason if isinstance(choice.stop_reason, str) else None
            deltas.append(Finished(Reason.LENGTH if choice.finish_reason == "length" else Reason.STOP, word))


def _read(payload: bytes) -> _Chunk:
    try:
        return _chunk(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise EngineProtocolError(f"The engine's answer is no completion: {error}.") from None


def _probabilities(given: _OldLogProbs) -> list[_Prob]:
    """The lists side by side that OpenAI's completions have, as the one list of its chats."""
    tops = given.top_logprobs or []
    return [
        _Prob(
            token,
            given.token_logprobs[place] if place < len(given.token_logprobs) else None,
            None,
            [_TopProb(*each) for each in (tops[place] or {}).items()] if place < len(tops) else None,
        )
        for place, token in enumerate(given.tokens)
    ]


def _seconds(milliseconds: float | None) -> float | None:
    return milliseconds / 1000 if milliseconds is not None else None
