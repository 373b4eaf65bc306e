"""
The routes that lead to an engine, and what each needs.

An explicit list: what is not here is not reachable, whatever the engine offers (`/tools`, `/cors-proxy`,
`/models/load`, POST `/lora-adapters` are left out on purpose).
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple


class ModelFrom(Enum):
    """Where a request says which Model it wants."""

    BODY = "the field `model` of the JSON body"
    QUERY = "the query parameter `model`"
    FORM = "the field `model` of the multipart form"
    PATH = "the path, after /upstream/"


FROM_BODY, FROM_QUERY, FROM_FORM, FROM_PATH = ModelFrom
"""The same as plain names: Python 3.11 looks a member of an Enum up ten times as long as a name."""


class Route(NamedTuple):
    """
    One route to an engine. `weight` as in `Requested`: 0 takes no slot. `label` is the metric label.

    `loads` False: the Model must be running already, else 409. `dialect` is that of its errors and, where `reads` is
    given, of its requests: then they are read by that name (routes/reading) and not passed untouched. `task` is what
    the default Model for it is looked up by (domain.requests). `chat`: what clients and engines have other words for
    is mended (dialects/openai/mends).
    """

    label: str
    method: bytes
    model_from: ModelFrom = ModelFrom.BODY
    weight: int = 1
    loads: bool = True
    dialect: str = "openai"
    reads: str = ""
    task: str = "chat"
    chat: bool = False


_ROUTES: Final = (
    *(Route(path, b"POST", chat=True) for path in ("/v1/chat/completions", "/chat/completions")),
    *(Route(path, b"POST", reads="responses") for path in ("/v1/responses", "/responses")),
    *(
        Route(path, b"POST", task="completion")
        for path in ("/v1/completions", "/completion", "/completions", "/infill")
    ),
    *(Route(path, b"POST", task="embeddings") for path in ("/v1/embeddings", "/embedding", "/embeddings")),
    *(Route(path, b"POST", task="rerank") for path in ("/v1/rerank", "/v1/reranking", "/rerank", "/reranking")),
    Route("/v1/audio/speech", b"POST", task="speech"),
    Route("/v1/images/generations", b"POST", task="images"),
    *(
        Route(path, b"POST", weight=0)
        for path in (
            "/tokenize", "/detokenize", "/apply-template",
            "/v1/chat/completions/input_tokens", "/chat/completions/input_tokens",
        )
    ),
    *(
        Route(path, b"POST", weight=0, reads="responses-count")
        for path in ("/v1/responses/input_tokens", "/responses/input_tokens")
    ),
    *(
        Route(path, b"POST", ModelFrom.FORM, task="transcription")
        for path in ("/v1/audio/transcriptions", "/audio/transcriptions", "/v1/audio/translations")
    ),
    *(Route(path, b"POST", ModelFrom.FORM, task="images") for path in ("/v1/images/edits", "/v1/images/variations")),
    Route("/v1/messages", b"POST", dialect="anthropic", reads="anthropic-messages"),
    Route("/v1/messages/count_tokens", b"POST", weight=0, dialect="anthropic", reads="anthropic-count"),
    *(Route(f"/api/{name}", b"POST", dialect="ollama", reads=f"ollama-{name}") for name in ("chat", "generate")),
    *(
        Route(f"/api/{name}", b"POST", dialect="ollama", reads=f"ollama-{name}", task="embeddings")
        for name in ("embed", "embeddings")
    ),
    *(Route(path, b"GET", ModelFrom.QUERY, weight=0, loads=False) for path in ("/props", "/slots")),
)  # fmt: skip

HOT: Final[dict[bytes, Route]] = {route.label.encode(): route for route in _ROUTES}
"""Raw path -> route. A path that needs decoding to match is not one of these."""

UPSTREAM: Final = b"/upstream/"
UPSTREAM_LABEL: Final = "/upstream"
