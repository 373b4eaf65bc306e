"""JSON shapes of Models and their state, as listings show them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from corral.domain.events import Notice
from corral.domain.facts import NOTHING, ModelFacts
from corral.domain.fleet import ModelSpec
from corral.domain.instance import ALIVE, InstanceState, InstanceView
from corral.domain.queue import WaitingView
from corral.domain.units import to_millisecond

_SERVING = frozenset({InstanceState.READY, InstanceState.DRAINING})


def model_card(
    model: ModelSpec,
    view: InstanceView | None,
    *,
    created: int,
    name: str = "",
    facts: ModelFacts = NOTHING,
    context: int | None = None,
) -> dict[str, Any]:
    """
    One entry of `/v1/models`: OpenAI's four fields, then ours. `name` is the alias it was asked by.

    What the operator wrote goes before what the files say; `context` is what a loaded engine says of its own.
    `architecture` and `meta` are named as llama-server names them. A load, or a fetch, is in it while it lasts.
    """
    card: dict[str, Any] = {
        "id": name or model.name,
        "object": "model",
        "created": created,
        "owned_by": "corral",
        "state": str(view.state) if view is not None else str(InstanceState.STOPPED),
        "aliases": list(model.aliases),
    }
    context = context or facts.context_tokens
    further = {
        "name": model.title or facts.name,
        "description": model.description,
        "task": model.task or facts.task,
        "capabilities": list(model.capabilities or facts.capabilities),
        "context_length": model.metadata.get("context_length", context),
        "architecture": {
            "input_modalities": list(facts.inputs),
            "output_modalities": _OUTPUTS.get(facts.task, ["text"]),
        }
        if facts.inputs
        else None,
        "tags": list(facts.tags),
        "progress": view.progress if view is not None else None,
        "fetching": view.fetching.row() if view is not None and view.fetching is not None else None,
        "meta": _meta(facts, context),
        "metadata": dict(model.metadata),
    }
    card.update((key, value) for key, value in further.items() if value not in (None, "", [], {}))
    return card


_OUTPUTS: Final = {"embeddings": ["embeddings"], "rerank": ["rerank"]}


def _meta(facts: ModelFacts, context: int | None) -> dict[str, Any]:
    found = {
        "architecture": facts.architecture,
        "n_params": facts.parameters,
        "size": facts.size_bytes,
        "ftype": facts.quantisation,
        "n_ctx": context,
        "n_ctx_train": facts.trained_context_tokens,
        "n_embd": facts.embedding_length,
        "n_vocab": facts.vocabulary,
        "languages": list(facts.languages),
        "license": facts.license,
    }
    return {key: value for key, value in found.items() if value not in (None, "", [])}


def running(views: Iterable[InstanceView]) -> list[InstanceView]:
    """What holds memory, waits for it, or has failed."""
    return [view for view in views if view.state in ALIVE or view.waiting or view.state is InstanceState.FAILED]


def waiting_row(view: WaitingView) -> dict[str, Any]:
    """One entry of `/api/corral/queue`."""
    return {
        "model": view.model,
        "caller": view.caller,
        "priority": view.priority,
        "position": view.position,
        "waited_s": to_millisecond(view.waited_s),
        "expected_s": to_millisecond(view.expected_s),
        "held_back": view.held_back,
    }


def missing(models: Iterable[ModelSpec], view_of: Callable[[str], InstanceView | None]) -> dict[str, str]:
    """
    Models that should be up and are not, with their state.

    Pinned ones must serve, unless they were unloaded by hand. Preloaded ones must have had their turn: later they come
    and go like any other, and one that would have to wait for others' memory is passed over.
    """
    out: dict[str, str] = {}
    for model in models:
        if not model.pin and not model.preload:
            continue
        view = view_of(model.name)
        state = view.state if view is not None else InstanceState.STOPPED
        wanted = view is None or view.wanted or (model.preload and _first_load(view))
        if wanted and state not in _SERVING:
            out[model.name] = str(state)
    return out


def _first_load(view: InstanceView) -> bool:
    """Its preload is under way, or came to nothing."""
    return view.state is InstanceState.FAILED or (view.state is InstanceState.STARTING and view.load_s is None)


def notice_event(notice: Notice) -> bytes:
    """One notice as JSON with its kind in `type`."""
    fields = msgspec.to_builtins(notice)
    return msgspec.json.encode({"type": type(notice).__name__, **fields})
