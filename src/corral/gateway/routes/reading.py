"""
The requests that are read before they are served, by the name that the table of routes gives: body -> Asked.

Here client and engine dialects are put together; each of them knows only domain.chat.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable
from typing import Final

import msgspec

from corral.contracts.dialect import Asked, Asking, Served, Writer
from corral.dialects.anthropic import answers as anthropic_answers
from corral.dialects.anthropic import requests as anthropic
from corral.dialects.openai import responses_requests as responses
from corral.dialects.openai.requests import EARLY_COUNTS, STOP_WORD
from corral.dialects.openai.responses_answers import ResponseWriter
from corral.domain.bodies import UNREADABLE, unreadable
from corral.domain.errors import UnknownModel
from corral.domain.facts import ModelFacts
from corral.domain.fleet import ModelSpec
from corral.gateway.counting import AskedCount
from corral.gateway.directory import ModelDirectory
from corral.gateway.routes import ollama
from corral.gateway.routes.openai import named
from corral.gateway.routes.table import Route
from corral.gateway.translate import AskedChat, AskedUnload
from corral.kit.http_heads import RequestHead


class _Named(msgspec.Struct):
    model: str | None = None


_named = msgspec.json.Decoder(_Named).decode


def name_of(body: bytes) -> str | None:
    """The Model that a body names, before any other look at it. Raises BadRequest for what is no JSON in UTF-8."""
    try:
        if not body.isascii():
            body.decode()  # what is passed over, or goes on as it was written (schemas), is looked at by no decoder
        return _named(body).model
    except UNREADABLE as error:
        raise unreadable(error) from None


def read(
    route: Route,
    head: RequestHead,
    body: bytes,
    directory: ModelDirectory,
    *,
    request_id: bytes,
    wall: Callable[[], float],
) -> tuple[ModelSpec, Asked]:
    """The Model that is meant and what is asked of it. Raises BadRequest and UnknownModel."""
    name = name_of(body)
    known = _known(name, route, directory)
    try:
        model = named(known, route, directory)
    except UnknownModel as error:
        raise ollama.not_found(name, error, route) from None
    facts = _facts(model, directory.facts_of(model.name))
    asking = Asking(name or model.name, facts, request_id.decode("latin-1"), wall, head.fields)
    asked = READERS[route.reads](body, asking)
    if known and isinstance(asked, AskedUnload):
        directory.get(known)  # who stands in answers for a name that nobody has, and does not go for it
    return model, asked


def _known(name: str | None, route: Route, directory: ModelDirectory) -> str | None:
    return ollama.known_name(name, directory) if name and route.dialect == "ollama" else name


def _facts(model: ModelSpec, facts: ModelFacts) -> ModelFacts:
    """What the operator says goes before what the file does."""
    if model.task or model.capabilities:
        task, capabilities = model.task or facts.task, model.capabilities or facts.capabilities
        return dataclasses.replace(facts, task=task, capabilities=capabilities)
    return facts


def _anthropic_messages(body: bytes, asking: Asking) -> Asked:
    asked = anthropic.messages(body)
    message_id = f"msg_{secrets.token_hex(12)}"

    def writer(served: Served) -> Writer:
        return anthropic_answers.MessageWriter(
            asking.model,
            message_id,
            hides_thinking=asked.hides_thinking,
            silent=asked.silent,
        )

    for_llama = {**(EARLY_COUNTS if asked.chat.stream else {}), **(STOP_WORD if asked.chat.stop else {})}
    return AskedChat(asked.chat, asking.model, writer, for_llama=for_llama)


def _anthropic_count(body: bytes, asking: Asking) -> Asked:
    return AskedCount(anthropic.count(body), asking.model)


def _response(body: bytes, asking: Asking) -> Asked:
    asked = responses.response(body)
    unique = secrets.token_hex(12)

    def writer(served: Served) -> Writer:
        return ResponseWriter(asking.model, unique, asked.echo, wall=asking.wall, namespaces=asked.namespaces)

    return AskedChat(asked.chat, asking.model, writer)


def _response_count(body: bytes, asking: Asking) -> Asked:
    form = b'{"object":"response.input_tokens","input_tokens":%d}'
    return AskedCount(responses.response(body).chat, asking.model, form=form)


READERS: Final[dict[str, Callable[[bytes, Asking], Asked]]] = {
    "anthropic-messages": _anthropic_messages,
    "anthropic-count": _anthropic_count,
    **ollama.READERS,
    "responses": _response,
    "responses-count": _response_count,
}
