"""/api/embed, and /api/embeddings that came before it: what is asked, and the answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from corral.dialects.ollama.abilities import VECTORS, check
from corral.dialects.ollama.answers import ns
from corral.dialects.ollama.fields import Common, Staying, staying
from corral.domain.bodies import decoded
from corral.domain.embed import EmbedRequest
from corral.domain.errors import BadRequest
from corral.domain.facts import ModelFacts

Vector = Sequence[float] | msgspec.Raw

_encode = msgspec.json.Encoder().encode
_WHAT: Final = "embeddings"


class _Embed(Common):
    input: msgspec.Raw = msgspec.Raw()
    truncate: bool | None = None
    dimensions: int | None = None


class _Embeddings(Common):
    prompt: str | None = None


_embed = msgspec.json.Decoder(_Embed).decode
_embeddings = msgspec.json.Decoder(_Embeddings).decode
_inputs = msgspec.json.Decoder(str | list[str] | None).decode


def embed(body: bytes, model: str, facts: ModelFacts) -> tuple[EmbedRequest | None, Staying]:
    """/api/embed. No request where there is no input: then the Model is only to be loaded. Raises BadRequest."""
    asked = decoded(_embed, body)
    stays = staying(asked)
    try:
        given = _inputs(asked.input) if bytes(asked.input) else None
    except msgspec.ValidationError:
        raise BadRequest("invalid input type") from None  # Ollama's own words, to the last one
    if asked.dimensions is not None and asked.dimensions < 0:
        raise BadRequest("`dimensions` is 0 or more; 0 is all of them.")
    check(model, facts, _WHAT, task=VECTORS)
    if not given:
        return None, stays
    inputs = (given,) if isinstance(given, str) else tuple(given)
    return EmbedRequest(inputs=inputs, truncate=asked.truncate is not False, dimensions=asked.dimensions or None), stays


def embeddings(body: bytes, model: str, facts: ModelFacts) -> tuple[EmbedRequest | None, Staying]:
    """/api/embeddings: one text, its vector as the engine gives it. Raises BadRequest."""
    asked = decoded(_embeddings, body)
    stays = staying(asked)
    check(model, facts, _WHAT, task=VECTORS)
    return (EmbedRequest(inputs=(asked.prompt,), normalised=False) if asked.prompt else None), stays


def embed_answer(
    model: str, vectors: Sequence[Vector], *, tokens: int | None = None, total_s: float = 0.0, load_s: float = 0.0
) -> bytes:
    """Of /api/embed."""
    answer = {"model": model, "embeddings": vectors, "total_duration": ns(total_s), "load_duration": ns(load_s)}
    return _encode(answer if tokens is None else {**answer, "prompt_eval_count": tokens})


def embeddings_answer(vectors: Sequence[Vector]) -> bytes:
    """Of /api/embeddings."""
    return _encode({"embedding": vectors[0] if vectors else []})
