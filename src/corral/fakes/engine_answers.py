"""The bodies that llama-server sends, as the fake engine sends them. Pure. Shapes measured on build b11434."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

Json = Mapping[str, Any]

CREATED: Final = 1_750_000_000
FINGERPRINT: Final = "b0-fake"


def dump(value: object) -> bytes:
    """JSON without spaces, as llama.cpp writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def event(value: object) -> bytes:
    """One server-sent event."""
    return b"data: " + dump(value) + b"\n\n"


def error(code: int, message: str, kind: str) -> dict[str, Any]:
    """llama.cpp's error body."""
    return {"error": {"code": code, "message": message, "type": kind}}


LOADING: Final = error(503, "Loading model", "unavailable_error")
NOT_FOUND: Final = {"error": {"message": "File Not Found", "type": "not_found_error", "code": 404}}


def tokens(reply: str, count: int | None) -> list[str]:
    """The reply word by word; said again and again, or cut, when `count` wants more or fewer words."""
    words = [word if index == 0 else " " + word for index, word in enumerate(reply.split())] or [""]
    if count is None:
        return words
    again = [" " + words[0], *words[1:]]
    return [words[index] if index < len(words) else again[index % len(words)] for index in range(count)]


def prompt_text(body: Json) -> str:
    """What the request asks, as one text."""
    messages = body.get("messages")
    if isinstance(messages, list):
        return "\n".join(str(message.get("content", "")) for message in messages if isinstance(message, dict))
    return str(body.get("prompt", body.get("content", body.get("input", ""))))


def usage(prompt: int, completion: int) -> dict[str, Any]:
    """OpenAI's usage object, with cached tokens as llama.cpp adds them."""
    return {
        "completion_tokens": completion,
        "prompt_tokens": prompt,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


def timings(prompt: int, completion: int, prompt_ms: float, predicted_ms: float) -> dict[str, Any]:
    """The `timings` that ride on the last chunk."""
    return {
        "cache_n": 0,
        "prompt_n": prompt,
        "prompt_ms": prompt_ms,
        "prompt_per_second": 1e3 * prompt / max(prompt_ms, 1e-3),
        "predicted_n": completion,
        "predicted_ms": predicted_ms,
        "predicted_per_second": 1e3 * completion / max(predicted_ms, 1e-3),
    }


def whole(route: str, model: str, number: int, said: Sequence[str], finish: str, counts: Json) -> dict[str, Any]:
    """The answer to a request that does not stream. `counts` has the keys `usage` and `timings`."""
    text = "".join(said)
    if route == "native":
        return {"index": 0, "content": text, **native_end(model, finish, counts)}
    shared = {"created": CREATED, "model": model, "system_fingerprint": FINGERPRINT, "id": f"chatcmpl-{number}"}
    choice: dict[str, Any] = {"finish_reason": finish, "index": 0}
    if route == "chat":
        choice["message"] = {"role": "assistant", "content": text}
        return {"choices": [choice], "object": "chat.completion", **shared, **counts}
    choice |= {"text": text, "logprobs": None}
    return {"choices": [choice], "object": "text_completion", **shared, **counts}


def native_end(model: str, finish: str, counts: Json) -> dict[str, Any]:
    """What the native route says at the end of an answer."""
    return {
        "id_slot": 0,
        "stop": True,
        "model": model,
        "tokens_predicted": counts["usage"]["completion_tokens"],
        "tokens_evaluated": counts["usage"]["prompt_tokens"],
        "stop_type": "limit" if finish == "length" else "eos",
        "timings": counts["timings"],
    }


def opening(route: str, model: str, number: int) -> bytes:
    """The first event of a stream: only a chat has one before its first token."""
    if route != "chat":
        return b""
    return event(_chat_chunk(model, number, {"role": "assistant", "content": None}))


def piece(route: str, model: str, number: int, index: int, text: str, prompt: int) -> bytes:
    """The event of one token."""
    if route == "chat":
        return event(_chat_chunk(model, number, {"content": text}))
    if route == "text":
        return event(_text_chunk(model, number, text, None))
    native = {"index": 0, "content": text, "tokens": [index], "stop": False, "id_slot": -1}
    return event(native | {"tokens_predicted": index + 1, "tokens_evaluated": prompt})


def closing(route: str, model: str, number: int, finish: str, counts: Json, *, with_usage: bool) -> Iterator[bytes]:
    """The last events of a stream, with timings on the last that has JSON."""
    if route == "native":
        yield event({"index": 0, "content": "", "tokens": [], **native_end(model, finish, counts)})
        return
    if route == "text":
        yield event(_text_chunk(model, number, "", finish) | dict(counts))
    elif with_usage:
        yield event(_chat_chunk(model, number, {}, finish))
        yield event(_chat_chunk(model, number, {}) | {"choices": [], **counts})
    else:
        yield event(_chat_chunk(model, number, {}, finish) | {"timings": counts["timings"]})
    yield b"data: [DONE]\n\n"


def _chat_chunk(model: str, number: int, delta: Json, finish: str | None = None) -> dict[str, Any]:
    return {
        "choices": [{"finish_reason": finish, "index": 0, "delta": dict(delta)}],
        "created": CREATED,
        "id": f"chatcmpl-{number}",
        "model": model,
        "system_fingerprint": FINGERPRINT,
        "object": "chat.completion.chunk",
    }


def _text_chunk(model: str, number: int, text: str, finish: str | None) -> dict[str, Any]:
    return {
        "choices": [{"text": text, "index": 0, "logprobs": None, "finish_reason": finish}],
        "created": CREATED,
        "model": model,
        "system_fingerprint": FINGERPRINT,
        "object": "text_completion",
        "id": f"chatcmpl-{number}",
    }


def models(name: str, context: int) -> dict[str, Any]:
    """GET /v1/models."""
    entry = {"id": name, "aliases": [name], "object": "model", "created": CREATED, "owned_by": "llamacpp"}
    return {"object": "list", "data": [entry | {"meta": {"n_ctx": context, "n_ctx_train": context}}]}


def props(name: str, slots: int, context: int) -> dict[str, Any]:
    """GET /props."""
    return {
        "default_generation_settings": {"params": {}, "n_ctx": context},
        "total_slots": slots,
        "model_alias": name,
        "model_path": f"/{name}.gguf",
        "modalities": {"vision": False, "video": False, "audio": False},
        "chat_template": "",
        "build_info": FINGERPRINT,
        "is_sleeping": False,
    }


def slot_list(count: int, busy: int, context: int) -> list[dict[str, Any]]:
    """GET /slots."""
    return [{"id": each, "n_ctx": context, "is_processing": each < busy} for each in range(count)]


def metrics(served: int, busy: int) -> str:
    """GET /metrics: two of llama-server's names, and a histogram as vLLM has them."""
    return (
        "# HELP llamacpp:n_decode_total Total number of llama_decode() calls\n"
        f"# TYPE llamacpp:n_decode_total counter\nllamacpp:n_decode_total {served}\n"
        "# HELP llamacpp:requests_processing Number of requests processing\n"
        f"# TYPE llamacpp:requests_processing gauge\nllamacpp:requests_processing {busy}\n"
        "# TYPE fake:seconds histogram\n"
        f'fake:seconds_bucket{{le="1.0"}} {served}\nfake:seconds_bucket{{le="+Inf"}} {served}\n'
        f"fake:seconds_sum 0.5\nfake:seconds_count {served}\n"
    )


def embeddings(body: Json, model: str, size: int = 16) -> dict[str, Any]:
    """POST /v1/embeddings: a vector made of the text's hash, so that equal texts have equal vectors."""
    asked = body.get("input", body.get("content", ""))
    inputs = asked if isinstance(asked, list) else [asked]
    data = [
        {"object": "embedding", "index": index, "embedding": [byte / 255 - 0.5 for byte in _digest(text)[:size]]}
        for index, text in enumerate(inputs)
    ]
    count = sum(len(str(text).split()) for text in inputs)
    return {"object": "list", "model": model, "data": data, "usage": {"prompt_tokens": count, "total_tokens": count}}


def _digest(value: object) -> bytes:
    return hashlib.sha256(str(value).encode()).digest()
