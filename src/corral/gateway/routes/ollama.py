"""
Ollama's inference routes: what a body asks for, as something that can be sent to an engine.

Where nothing is to be generated the Model is loaded, or with `keep_alive: 0` sent away: `ollama run m` and
`ollama stop m` do that.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Final

from corral.contracts.dialect import Asked, Asking, Served, Writer
from corral.dialects.ollama import answers, embed, generate, names, requests
from corral.dialects.ollama.errors import TOO_LONG, NotPulled
from corral.dialects.ollama.fields import Staying
from corral.domain.chat import ChatRequest
from corral.domain.completion import CompletionRequest
from corral.domain.embed import EmbedRequest
from corral.domain.errors import UnknownModel
from corral.gateway.directory import ModelDirectory
from corral.gateway.embedding import AskedEmbedding, Vector
from corral.gateway.routes.table import Route
from corral.gateway.translate import AskedChat, AskedCompletion, AskedLoad, AskedUnload

logger = logging.getLogger(__name__)

EMBED_ROUTES: Final = ("ollama-embed", "ollama-embeddings")


def known_name(name: str, directory: ModelDirectory) -> str:
    """The name of a Model here that a client means; what it wrote where there is none."""
    try:
        return directory.meant(names.spellings(name))[0]
    except UnknownModel:
        return name


def not_found(name: str | None, error: UnknownModel, route: Route) -> UnknownModel:
    """The error as this route words it, of the name that the client wrote."""
    return NotPulled(name or error.name, error.near) if route.reads in EMBED_ROUTES else error


def chat(body: bytes, asking: Asking) -> Asked:
    """/api/chat."""
    request, stays = requests.chat(body, asking.model, asking.facts)
    return _generating(request, stays, asking, answers.ChatWriter, answers.ChatWriter)


def generated(body: bytes, asking: Asking) -> Asked:
    """/api/generate."""
    request, stays, turns = generate.generate(body, asking.model, asking.facts)
    write = partial(answers.GenerateWriter, turns=turns)
    return _generating(request, stays, asking, answers.GenerateWriter, write)


def embedded(body: bytes, asking: Asking) -> Asked:
    """/api/embed."""
    request, stays = embed.embed(body, asking.model, asking.facts)
    began = asking.wall()

    def written(served: Served, vectors: list[Vector], tokens: int | None) -> bytes:
        total_s = asking.wall() - began
        return embed.embed_answer(asking.model, vectors, tokens=tokens, total_s=total_s, load_s=served.load_s)

    return _embedding(request, stays, asking, written)


def embedded_one(body: bytes, asking: Asking) -> Asked:
    """/api/embeddings."""
    request, stays = embed.embeddings(body, asking.model, asking.facts)
    return _embedding(request, stays, asking, lambda served, vectors, tokens: embed.embeddings_answer(vectors))


def _generating(
    request: ChatRequest | CompletionRequest | None,
    stays: Staying,
    asking: Asking,
    kind: type[answers.ChatWriter] | type[answers.GenerateWriter],
    write: Callable[..., Writer],
) -> Asked:
    _tell_unknown(stays, asking)
    began = asking.wall()
    likely = bool(request.logprobs if isinstance(request, CompletionRequest) else _likely(request))

    def loaded(reason: str) -> bytes:
        return answers.loaded(kind, asking.model, asking.wall(), reason=reason)

    def writer(served: Served) -> Writer:
        return write(asking.model, wall=asking.wall, began=began, load_s=served.load_s, likely=likely)

    if request is None and stays.unloads:
        return AskedUnload(lambda served: loaded("unload"), asking.model)
    if request is None:
        return AskedLoad(lambda served: loaded("load"), asking.model, stays.keep_s, stays.load_options)
    if isinstance(request, CompletionRequest):
        return AskedCompletion(request, asking.model, writer, stays.keep_s, stays.load_options)
    return AskedChat(request, asking.model, writer, stays.keep_s, stays.load_options)


def _likely(request: ChatRequest | None) -> object:
    return request.extra.get("top_logprobs") if request else None


def _embedding(
    request: EmbedRequest | None,
    stays: Staying,
    asking: Asking,
    written: Callable[[Served, list[Vector], int | None], bytes],
) -> Asked:
    _tell_unknown(stays, asking)
    if request is None:
        return AskedLoad(lambda served: written(served, [], None), asking.model, stays.keep_s, stays.load_options)
    return AskedEmbedding(request, asking.model, written, TOO_LONG, stays.keep_s, stays.load_options)


def _tell_unknown(stays: Staying, asking: Asking) -> None:
    if stays.unknown_options:
        shown = ", ".join(sorted(stays.unknown_options)[:_SHOWN])
        logger.info("request %s: options that mean nothing here: %s", asking.request_id, shown)


_SHOWN: Final = 10
READERS: Final[dict[str, Callable[[bytes, Asking], Asked]]] = {
    "ollama-chat": chat,
    "ollama-generate": generated,
    "ollama-embed": embedded,
    "ollama-embeddings": embedded_one,
}
"""By the name that the table of routes gives."""
