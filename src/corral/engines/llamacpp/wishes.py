"""
What requests want a Model loaded with (Ollama's num_ctx and its like), as far as its operator allows.

A context is asked for by the request, and llama.cpp is given one for all slots: where they share it, it is the same
number; where each has a cache of its own, it is that of one request times the slots. Too large values are cut silently,
as Ollama does it: to what the model was trained for, and to the operator's bound.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Final

from corral.contracts.engine import Wished
from corral.domain.errors import BadRequest
from corral.domain.fleet import ModelSpec, OptionValue
from corral.domain.launch import LoadWish
from corral.engines.llamacpp.options import plain
from corral.engines.llamacpp.settings import settings_of

BY_DEFAULT: Final[Mapping[str, bool | int]] = {"ctx_size": True}
ASKABLE: Final = ("ctx_size", "batch_size", "n_gpu_layers", "main_gpu", "load_mode", "threads", "draft_max")
"""Options that say nothing of other files or programs."""

_WORDS: Final = ("load_mode",)
_STEP: Final = 256  # llama.cpp rounds contexts up to a multiple of this
_MOST: Final = 1 << 31  # it counts tokens in 32 bits


def wished(model: ModelSpec, wanted: Mapping[str, OptionValue], trained_tokens: int | None) -> Wished:
    """See `contracts.engine.Engine.wished`."""
    settings = settings_of(model)
    allowed = {**BY_DEFAULT, **model.load_options}
    options: dict[str, OptionValue] = {}
    own: dict[str, OptionValue] = {}
    ignored = []
    for name, value in wanted.items():
        bound = allowed.get(name, False)
        written = name in settings.chosen and name not in model.options  # among `args`, where it stays as it is
        if bound is False or written or name not in ASKABLE:
            ignored.append(name)
            continue
        value = _bounded(name, value, bound)
        before = settings.options.get(name)
        if name == "ctx_size":
            before = _own_context(settings.options, settings.slots, trained_tokens)
            value = _context(value, settings.options, settings.slots, trained_tokens)
        if value != before:
            options[name] = value
            if before is not None:
                own[name] = before
    if not options:
        return Wished(None, tuple(ignored))
    _check(model, options)
    return Wished(LoadWish(options, own), tuple(ignored))


def chosen_by_engine(
    options: Mapping[str, OptionValue], context_tokens: int | None, slots: int
) -> dict[str, OptionValue]:
    """See `contracts.engine.ReadyInfo.options`. `context_tokens` is one slot's: `fit` may have made it smaller."""
    if context_tokens is None or _number(options.get("ctx_size")):
        return {}
    return {"ctx_size": _padded(context_tokens) * _caches(options, slots)}


def problems(model: ModelSpec) -> list[str]:
    """Sentences about `load_options`."""
    return [
        f"load_options.{name} is nothing that requests may choose; they may choose: {', '.join(ASKABLE)}."
        for name in model.load_options
        if name not in ASKABLE
    ] + [
        f"load_options.{name} has no most; it is true or false."
        for name, bound in model.load_options.items()
        if name in _WORDS and not isinstance(bound, bool)
    ]


def _bounded(name: str, value: OptionValue, bound: bool | int) -> OptionValue:
    try:
        value = plain(name, value)
    except ValueError as error:
        raise BadRequest(f"{error}.") from None
    if bound is True:
        return value
    # "auto", "all", a negative number and a context of 0 leave it to llama.cpp: that may be more than the bound.
    least = 1 if name == "ctx_size" else 0
    return min(value, bound) if isinstance(value, int) and value >= least else bound


def _check(model: ModelSpec, options: Mapping[str, OptionValue]) -> None:
    """What is wrong with the Model already is told when it is started."""
    known = settings_of(model).problems
    found = settings_of(dataclasses.replace(model, options={**model.options, **options})).problems
    wrong = next((sentence for sentence in found if sentence not in known), None)
    if wrong is not None:
        raise BadRequest(f"{model.name!r} cannot be loaded like that: {wrong}")


def _context(value: OptionValue, options: Mapping[str, OptionValue], slots: int, trained: int | None) -> int:
    """Tokens of one request -> over all slots."""
    each = _number(options.get("kv_unified_per_slot"))
    one = min(bound for bound in (_number(value) or trained or _MOST, trained, each, _MOST // slots) if bound)
    return _padded(one) * _caches(options, slots)


def _own_context(options: Mapping[str, OptionValue], slots: int, trained: int | None) -> int:
    """What the Model has over all slots; where nobody knows, more than anybody could want."""
    chosen = _number(options.get("ctx_size"))
    if chosen:
        return _padded(chosen)
    each = _number(options.get("kv_unified_per_slot")) or (0 if _shared(options) else trained)
    return _padded(each * slots if each else trained or _MOST)


def _caches(options: Mapping[str, OptionValue], slots: int) -> int:
    """How many times the context of one request there is."""
    return 1 if _shared(options) and not _number(options.get("kv_unified_per_slot")) else slots


def _shared(options: Mapping[str, OptionValue]) -> bool:
    return options.get("kv_unified", True) is not False


def _number(value: OptionValue | None) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _padded(tokens: int) -> int:
    return -(-tokens // _STEP) * _STEP
