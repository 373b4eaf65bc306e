"""
Reading the bodies of /api/generate: a chat of one turn, or a text that is continued as it stands.

    prompt, system, images        one turn of a chat, in the Model's own template
    raw                           the prompt as it is
    suffix                        what is missing between the prompt and the suffix
    template                      the prompt that this template makes of it, as it is
    context                       the turns before it, as an earlier answer told them
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from corral.dialects.ollama.abilities import TEXT, check
from corral.dialects.ollama.context import text_of, turns_of
from corral.dialects.ollama.fields import (
    Generating,
    Staying,
    format_of,
    logprobs_of,
    staying,
    think_of,
)
from corral.dialects.ollama.media import media
from corral.dialects.ollama.options import Options, options_of
from corral.dialects.ollama.requests import check_chat, told_logprobs
from corral.dialects.ollama.templates import render
from corral.domain.bodies import decoded
from corral.domain.chat import ChatRequest, Message, Part, Role, Text
from corral.domain.completion import CompletionRequest
from corral.domain.errors import BadRequest
from corral.domain.facts import ModelFacts


class _Generate(Generating):
    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    context: list[int] | None = None
    raw: bool | None = None
    images: list[str] | None = None


_generate = msgspec.json.Decoder(_Generate).decode
_WHAT: Final = "generate"


class Generate(NamedTuple):
    """No request where there is no prompt: then the Model is only to be loaded."""

    request: ChatRequest | CompletionRequest | None
    stays: Staying
    turns: tuple[Message, ...] | None = None
    """Of which the answer's `context` is made; None where it has none."""


def generate(body: bytes, model: str, facts: ModelFacts) -> Generate:
    """Raises BadRequest."""
    asked = decoded(_generate, body)
    stays = staying(asked)
    _check_together(asked)
    if not asked.prompt:
        return Generate(None, stays)
    options = options_of(asked.options, context_tokens=facts.context_tokens)
    earlier = turns_of(asked.context) if asked.context else ()
    text = _text(asked, asked.prompt, facts)
    if text is None:
        request = _turn(asked, asked.prompt, earlier, options, facts)
        check_chat(request, model, facts, _WHAT)
        return Generate(request, stays, request.messages)
    check(model, facts, _WHAT, task=TEXT, needs=("infill",) if asked.suffix else ())
    if think_of(asked.think, facts) is not None and asked.think:
        check(model, facts, _WHAT, task=TEXT, needs=("reasoning",))
    continued = CompletionRequest(
        prompt="".join(map(text_of, earlier)) + text,
        suffix=asked.suffix or None,
        stream=asked.stream is not False,
        format=format_of(asked.format),
        max_tokens=options.max_tokens,
        stop=options.stop,
        logprobs=logprobs_of(asked),
        extra=options.extra,
    )
    turns = None if asked.raw or asked.suffix else (*earlier, Message(Role.USER, (Text(text),)))
    return Generate(continued, stays, turns)


def _check_together(asked: _Generate) -> None:
    if asked.raw and (asked.template or asked.system or asked.context):
        raise BadRequest("raw mode does not support template, system, or context")
    if asked.suffix and (asked.template or asked.system or asked.context):
        raise BadRequest("`suffix` goes with a prompt alone, without `template`, `system` and `context`.")
    if asked.images and (asked.raw or asked.suffix or asked.template):
        raise BadRequest("`images` go with the Model's own template alone, without `raw`, `suffix` and `template`.")


def _text(asked: _Generate, prompt: str, facts: ModelFacts) -> str | None:
    """What is to be continued as it stands; None for a turn of a chat."""
    if asked.raw or asked.suffix:
        return prompt
    if asked.template:
        return render(asked.template, system=asked.system or "", prompt=prompt)
    if facts.task == "completion" and not asked.images:  # a Model without a chat template
        return f"{asked.system}\n\n{prompt}" if asked.system else prompt
    return None


def _turn(
    asked: _Generate, prompt: str, earlier: tuple[Message, ...], options: Options, facts: ModelFacts
) -> ChatRequest:
    said: list[Part] = [Text(prompt)]
    said += [media(image, "images") for image in asked.images or ()]
    if asked.system:  # templates take one, at the beginning
        kept = (turn for turn in earlier if turn.role is not Role.SYSTEM)
        earlier = (Message(Role.SYSTEM, (Text(asked.system),)), *kept)
    return ChatRequest(
        messages=(*earlier, Message(Role.USER, tuple(said))),
        forgets=bool(asked.context) and asked.truncate is not False,
        stream=asked.stream is not False,
        format=format_of(asked.format),
        think=think_of(asked.think, facts),
        max_tokens=options.max_tokens,
        stop=options.stop,
        extra={**options.extra, **told_logprobs(logprobs_of(asked))},
    )
