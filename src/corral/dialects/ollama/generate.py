"""
Reading the bodies of /api/generate: a chat of one turn, or a text that is continued as it stands.

    prompt, system, images        one turn of a chat, in the Model's own template
    raw                           the prompt as it is
    suffix                        what is missing between the prompt and the suffix
    template                      the prompt that this template makes of it, as it is
"""

from __future__ import annotations

from typing import Final

import msgspec

from corral.dialects.ollama.abilities import TEXT, check
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


def generate(body: bytes, model: str, facts: ModelFacts) -> tuple[ChatRequest | CompletionRequest | None, Staying]:
    """No request where there is no prompt: then the Model is only to be loaded. Raises BadRequest."""
    asked = decoded(_generate, body)
    stays = staying(asked)
    _check_together(asked)
    if not asked.prompt:
        return None, stays
    options = options_of(asked.options, context_tokens=facts.context_tokens)
    text = _text(asked, asked.prompt, facts)
    if text is None:
        request = _turn(asked, asked.prompt, options, facts)
        check_chat(request, model, facts, _WHAT)
        return request, stays
    check(model, facts, _WHAT, task=TEXT, needs=("infill",) if asked.suffix else ())
    if think_of(asked.think, facts) is not None and asked.think:
        check(model, facts, _WHAT, task=TEXT, needs=("reasoning",))
    continued = CompletionRequest(
        prompt=text,
        suffix=asked.suffix or None,
        stream=asked.stream is not False,
        format=format_of(asked.format),
        max_tokens=options.max_tokens,
        stop=options.stop,
        logprobs=logprobs_of(asked),
        extra=options.extra,
    )
    return continued, stays


def _check_together(asked: _Generate) -> None:
    if asked.context:
        raise BadRequest(
            "`context` is not supported: its tokens are those of another server.",
            hint="Send the conversation to /api/chat.",
        )
    if asked.raw and (asked.template or asked.system):
        raise BadRequest("raw mode does not support template, system, or context")
    if asked.suffix and (asked.template or asked.system):
        raise BadRequest("`suffix` goes with a prompt alone, without `template` and `system`.")
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


def _turn(asked: _Generate, prompt: str, options: Options, facts: ModelFacts) -> ChatRequest:
    said: list[Part] = [Text(prompt)]
    said += [media(image, "images") for image in asked.images or ()]
    user = Message(Role.USER, tuple(said))
    messages = (Message(Role.SYSTEM, (Text(asked.system),)), user) if asked.system else (user,)
    return ChatRequest(
        messages=messages,
        stream=asked.stream is not False,
        format=format_of(asked.format),
        think=think_of(asked.think, facts),
        max_tokens=options.max_tokens,
        stop=options.stop,
        extra={**options.extra, **told_logprobs(logprobs_of(asked))},
    )
