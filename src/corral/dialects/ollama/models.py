"""
Models as Ollama's clients see them: `/api/tags`, `/api/show`, `/api/ps`. Pure.

Clients read more than the names: what a Model can do (`capabilities`), how much context it takes (`model_info`, by the
key of its own architecture), how large it is. So nothing here is invented, and what is not known is left out or empty.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from corral.domain.facts import FileDetails, ModelFacts
from corral.domain.fleet import OptionValue

VERSION: Final = "0.18.0"
"""Whose API this is. Clients refuse versions that they think too old (VS Code wants 0.6.4); none is too new."""
FOREVER_S: Final = 200 * 365 * 86400.0
"""A Model that stays expires in two hundred years: the field is a moment, and clients compute with it."""
LONG_ARRAY: Final = 5
"""Arrays with more items than this are shown on demand only (`verbose`)."""

_CAPABILITIES: Final = {
    "chat": "completion",
    "completion": "completion",
    "tools": "tools",
    "infill": "insert",
    "vision": "vision",
    "embeddings": "embedding",
    "reasoning": "thinking",
    "audio": "audio",
}
_HIDDEN: Final = frozenset({"general.name", "tokenizer.chat_template"})
_PARAMETERS: Final = {
    "ctx_size": "num_ctx",
    "n_predict": "num_predict",
    "seed": "seed",
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "typical_p": "typical_p",
    "repeat_last_n": "repeat_last_n",
    "repeat_penalty": "repeat_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def moment(wall: float) -> str:
    """Seconds since 1970 -> RFC 3339. A file may claim any time: what has no date is the first one."""
    try:
        return (_EPOCH + timedelta(seconds=wall)).isoformat().replace("+00:00", "Z")
    except (OverflowError, ValueError):
        return "1970-01-01T00:00:00Z"


def human_count(number: int) -> str:
    """7615616512 -> `7.6B`, as Ollama writes how many parameters there are."""
    for size, letter, digits in ((10**9, "B", 1), (10**6, "M", 2), (10**3, "K", 0)):
        if number >= size:
            whole = number % size == 0
            return f"{number / size:.{0 if whole else digits}f}{letter}"
    return str(number)


def capabilities(known: Sequence[str]) -> list[str]:
    """Ours in Ollama's words, each once; what it has no word for (rerank) is left out."""
    return list(dict.fromkeys(_CAPABILITIES[each] for each in known if each in _CAPABILITIES))


def digest(model: str, facts: ModelFacts) -> str:
    """64 hex digits: of the file, else of the name, so that it stays the same."""
    return facts.file_digest or hashlib.sha256(f"corral model {model}".encode()).hexdigest()


def details(facts: ModelFacts) -> dict[str, Any]:
    """What sort of model it is."""
    found: dict[str, Any] = {
        "parent_model": "",
        "format": "gguf" if facts.size_bytes else "",
        "family": facts.architecture,
        "families": [facts.architecture] if facts.architecture else [],
        "parameter_size": human_count(facts.parameters) if facts.parameters else "",
        "quantization_level": facts.quantisation,
    }
    further = {"context_length": facts.context_tokens, "embedding_length": facts.embedding_length}
    return {**found, **{key: value for key, value in further.items() if value}}


def tag(name: str, model: str, facts: ModelFacts, able: Sequence[str], *, created: float) -> dict[str, Any]:
    """One entry of `/api/tags`. `name` may be an alias; `created` is when a Model without a file came."""
    return {
        "name": name,
        "model": name,
        "modified_at": moment(created if facts.modified_at is None else facts.modified_at),
        "size": facts.size_bytes or 0,
        "digest": digest(model, facts),
        "details": details(facts),
        "capabilities": capabilities(able),
    }


def running(
    name: str, model: str, facts: ModelFacts, *, size: int, size_vram: int, expires_at: float, context: int | None
) -> dict[str, Any]:
    """One entry of `/api/ps`: sizes are what is counted for it in memory, `expires_at` seconds since 1970."""
    return {
        "name": name,
        "model": name,
        "size": size,
        "digest": digest(model, facts),
        "details": details(facts),
        "expires_at": moment(expires_at),
        "size_vram": size_vram,
        "context_length": context or facts.context_tokens or 0,
    }


def show(
    name: str,
    facts: ModelFacts,
    able: Sequence[str],
    options: Mapping[str, OptionValue],
    file: FileDetails | None,
    *,
    created: float,
    verbose: bool,
) -> dict[str, Any]:
    """`/api/show`. `file` None: it has none, or could not be read; then what is known of it must do."""
    parameters = _parameters(options)
    template = options.get("chat_template") or (file.metadata.get("tokenizer.chat_template") if file else "") or ""
    found: dict[str, Any] = {
        "license": facts.license,
        "modelfile": "".join(f"{line}\n" for line in (f"FROM {name}", *(f"PARAMETER {each}" for each in parameters))),
        "parameters": "\n".join(parameters),
        "template": template,
        "details": details(facts),
        "model_info": _model_info(facts, file, verbose=verbose),
        "capabilities": capabilities(able),
        "modified_at": moment(created if facts.modified_at is None else facts.modified_at),
    }
    if file is not None and file.projector:
        found["projector_info"] = _shown(file.projector, verbose=verbose)
    if file is not None and verbose:
        found["tensors"] = [
            {"name": tensor, "type": kind, "shape": list(shape)} for tensor, kind, shape in file.tensors
        ]
    return found


def _parameters(options: Mapping[str, OptionValue]) -> list[str]:
    """What the operator has set, in Ollama's words and columns."""
    return [f"{theirs:<30} {options[ours]}" for ours, theirs in _PARAMETERS.items() if ours in options]


def _model_info(facts: ModelFacts, file: FileDetails | None, *, verbose: bool) -> dict[str, Any]:
    known = {
        "general.architecture": facts.architecture,
        "general.parameter_count": facts.parameters,
        f"{facts.architecture}.context_length": facts.trained_context_tokens,
        f"{facts.architecture}.embedding_length": facts.embedding_length,
    }
    found = {key: value for key, value in known.items() if value and facts.architecture}
    return found if file is None else {**found, **_shown(file.metadata, verbose=verbose)}


def _shown(metadata: Mapping[str, object], *, verbose: bool) -> dict[str, object]:
    return {
        key: [] if isinstance(value, list) and len(value) > LONG_ARRAY and not verbose else value
        for key, value in metadata.items()
        if key not in _HIDDEN
    }
