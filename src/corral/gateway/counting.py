"""
The tokens that a chat would begin with, counted by its engine. Pure.

The engine is asked what it would be asked for the chat itself, so the same prompt is counted. A llama.cpp that is too
old for the route applies its template and then counts the tokens of that: two steps of the same lease.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from corral.contracts.dialect import Outgoing, Served
from corral.dialects.openai import reading
from corral.dialects.openai import requests as openai
from corral.domain.chat import ChatRequest
from corral.domain.errors import CorralError, EngineProtocolError, EngineRefused
from corral.domain.fleet import OptionValue
from corral.domain.launch import LLAMA

_FORM: Final = b'{"input_tokens":%d}'
_LACKING: Final = (404, 405, 501)


class _Counted(msgspec.Struct):
    input_tokens: int | None = None
    tokens: list[msgspec.Raw] | None = None


class _Prompt(msgspec.Struct):
    prompt: str


def count_of(body: bytes) -> int:
    """What the engine has counted. Raises EngineProtocolError."""
    try:
        said = msgspec.json.decode(body, type=_Counted)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise EngineProtocolError(f"The engine's answer is no count of tokens: {error}.") from None
    count = len(said.tokens) if said.tokens is not None else said.input_tokens
    if count is None:
        raise EngineProtocolError("The engine's answer is no count of tokens.")
    return count


class CountReply:
    """Implements `contracts.dialect.Reply`: how many tokens a prompt has, as OpenAI and Anthropic both write it."""

    media_type = b"application/json"
    failure: CorralError | None = None

    def __init__(self, form: bytes = _FORM) -> None:
        self._form = form

    def stream(self, events: bytes) -> bytes:
        """None was asked for."""
        return b""

    def end(self) -> bytes:
        """None was asked for."""
        self.failure = EngineProtocolError("The engine gave a stream and was not asked for one.")
        return b""

    def whole(self, body: bytes) -> bytes:
        """The number alone."""
        return self._form % count_of(body)

    def refused(self, status: int, body: bytes) -> EngineRefused:
        """An engine without such a route cannot do it: that is not the client's mistake."""
        if status in _LACKING:
            return EngineRefused("The engine of this Model cannot count tokens.", engine_status=501)
        return reading.refused(status, body)

    def failed(self, error: CorralError) -> bytes:
        """None was asked for."""
        return b""


@dataclass(frozen=True, slots=True)
class AskedCount:
    """Implements `contracts.dialect.Asked`."""

    request: ChatRequest
    model: str
    keep_s: float | None = None
    load_options: Mapping[str, OptionValue] = field(default_factory=dict)
    weight: int | None = None
    stream: bool = False
    form: bytes = _FORM
    """The answer, with a place for the number."""

    def towards(self, served: Served) -> Outgoing:
        """To the route for it, and where that is missing, in steps."""
        llama = LLAMA in served.speaks
        body = openai.encode(self.request, self.model, extensions=llama)

        reply = CountReply(self.form)

        def tokenized(status: int, answer: bytes) -> Outgoing | None:
            return _tokenized(status, answer, reply)

        def template(status: int, answer: bytes) -> Outgoing | None:
            return Outgoing(b"/apply-template", body, reply, tokenized) if status in _LACKING else None

        return Outgoing(openai.COUNT, body, reply, template if llama else None)


def _tokenized(status: int, answer: bytes, reply: CountReply) -> Outgoing | None:
    if status >= 300:
        return None
    try:
        prompt = msgspec.json.decode(answer, type=_Prompt).prompt
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    body = msgspec.json.encode({"content": prompt, "add_special": True, "parse_special": True})
    return Outgoing(b"/tokenize", body, reply)
