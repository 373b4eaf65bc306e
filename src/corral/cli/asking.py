"""Every route of the gateway as one question to a demo model, and whether the answer is right."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from corral.cli.connect import Corral
from corral.domain.errors import CorralError

ANSWER_S: Final = 60.0
_CHAT: Final[dict[str, Any]] = {"messages": [{"role": "user", "content": "Who are you?"}], "max_tokens": 40}
_SPEAKERS: Final[dict[str, dict[str, Any]]] = {
    "/v1/chat/completions": _CHAT,
    "/v1/chat/completions (stream)": {**_CHAT, "stream": True},
    "/chat/completions": _CHAT,
    "/v1/chat/completions/input_tokens": _CHAT,
    "/chat/completions/input_tokens": _CHAT,
    "/v1/responses/input_tokens": {"input": "Who are you?"},
    "/responses/input_tokens": {"input": "Who are you?"},
    "/v1/completions": {"prompt": "Who are you?", "max_tokens": 40},
    "/completions": {"prompt": "Who are you?", "max_tokens": 40},
    "/completion": {"prompt": "Who are you?", "n_predict": 40},
    "/v1/responses": {"input": "Who are you?", "max_output_tokens": 40},
    "/responses": {"input": "Who are you?", "max_output_tokens": 40},
    "/v1/messages": _CHAT,
    "/v1/messages/count_tokens": _CHAT,
    "/api/chat": {**_CHAT, "stream": False},
    "/api/generate": {"prompt": "Who are you?", "stream": False},
    "/tokenize": {"content": "Who are you?"},
    "/detokenize": {"tokens": [1, 2, 3]},
    "/apply-template": {"messages": _CHAT["messages"]},
}
_EMBEDDERS: Final[dict[str, dict[str, Any]]] = {
    "/v1/embeddings": {"input": "a text"},
    "/embeddings": {"content": "a text"},
    "/embedding": {"content": "a text"},
    "/api/embed": {"input": "a text"},
    "/api/embeddings": {"prompt": "a text"},
    "/tokenize": {"content": "a text"},
}
_LOOKS: Final = ("/props?model={model}", "/slots?model={model}", "/upstream/{model}/health", "/v1/models/{model}")
_GENERAL: Final = (
    "/health",
    "/v1/health",
    "/ready",
    "/v1/models",
    "/models",
    "/running",
    "/metrics",
    "/api/tags",
    "/api/ps",
    "/api/version",
    "/api/corral/status",
)
LEFT_OUT: Final = {
    "/infill": "wants a model that was trained to fill in the middle",
    "/v1/rerank": "wants a reranking model, as do its other names",
    "/v1/audio/transcriptions": "wants a model that hears, as does /v1/audio/translations",
    "/v1/audio/speech": "wants a model that speaks",
    "/v1/images/generations": "wants a model that paints, as do /v1/images/edits and /v1/images/variations",
}
"""Routes that no demo model can answer."""


@dataclass(frozen=True, slots=True)
class Question:
    """One request, and the function that tells what is right in its answer (it raises for what is not)."""

    model: str
    route: str
    method: str
    path: str
    body: Mapping[str, Any] | None
    said: Callable[[Any], str]


@dataclass(frozen=True, slots=True)
class Result:
    """`outcome` is `ok` or a sentence."""

    model: str
    route: str
    outcome: str
    seconds: float
    said: str = ""


def questions(speakers: Sequence[str], embedder: str) -> list[Question]:
    """All of them, so that each Model is loaded a few times and the others make room for it."""
    found = [Question("-", path, "GET", path, None, _anything) for path in _GENERAL]
    for model in speakers:
        for route, body in _SPEAKERS.items():
            check = _names(model) if _speaks(route) else _anything
            found.append(_post(model, route, body, check))
        found += [_get(model, route) for route in _LOOKS]
    found += [_post(embedder, route, body, _anything) for route, body in _EMBEDDERS.items()]
    found += [_get(embedder, route) for route in _LOOKS]
    for model in speakers:  # and once more in turns, for the swaps
        found.append(_post(model, "/v1/chat/completions", _CHAT, _names(model)))
    return found


def _post(model: str, route: str, body: Mapping[str, Any], said: Callable[[Any], str]) -> Question:
    return Question(model, route, "POST", route.split(" ")[0], {"model": model, **body}, said)


def _get(model: str, route: str) -> Question:
    return Question(
        model, route.split("?")[0].format(model="{model}"), "GET", route.format(model=model), None, _anything
    )


def _speaks(route: str) -> bool:
    return any(word in route for word in ("completion", "responses", "messages", "/api/")) and "tokens" not in route


def _anything(answer: Any) -> str:
    return _short(answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False))


def _names(model: str) -> Callable[[Any], str]:
    def said(answer: Any) -> str:
        text = _text(answer)
        if model.capitalize() not in text:
            raise ValueError(f"the answer is not {model}'s: {_short(text)!r}")
        return _short(text)

    return said


def _text(answer: Any) -> str:
    """The words in an answer of any of the routes that speak."""
    if isinstance(answer, str):
        return answer
    if isinstance(answer, dict):
        return "".join(
            _text(answer[key])
            for key in ("choices", "message", "output", "content", "text", "response")
            if key in answer
        )
    if isinstance(answer, list):
        return "".join(_text(item) for item in answer)
    return ""


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 48 else f"{line[:45]}..."


def ask(corral: Corral, question: Question) -> Result:
    """Ask it and judge the answer."""
    began = time.monotonic()
    try:
        with corral.open(question.method, question.path, question.body, timeout_s=ANSWER_S) as response:
            raw = response.read()
        took = time.monotonic() - began
        said = question.said(_decoded(raw, stream=bool((question.body or {}).get("stream"))))
    except (CorralError, ValueError, OSError) as error:
        sentence = error.sentence() if isinstance(error, CorralError) else str(error)
        return Result(question.model, question.route, sentence, time.monotonic() - began)
    return Result(question.model, question.route, "ok", took, said)


def _decoded(raw: bytes, *, stream: bool) -> Any:
    if not stream:
        return json.loads(raw) if raw[:1] in (b"{", b"[") else raw.decode()
    events = [line[5:].strip() for line in raw.decode().splitlines() if line.startswith("data:")]
    if not events or events[-1] != "[DONE]":
        raise ValueError("the stream has no end mark")
    deltas = [choice["delta"] for event in events[:-1] for choice in json.loads(event).get("choices", ())]
    return "".join(delta.get("content") or "" for delta in deltas)
