"""
Types of the KV cache that a model cannot have: header -> sentences. Facts of llama.cpp b11434. Pure.

Quantised types are blocks of 32 values, and with flash attention each head has to be whole blocks. Without it all heads
of a token lie in one row, and that has to be. Compressed attention (MLA) has one row for keys and values, and so one
type.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from corral.contracts.headers import Header
from corral.domain.fleet import OptionValue
from corral.engines.llamacpp.checks import QUANTISED_KV

_BLOCK: Final = 32  # values in a block of every quantised type that a KV cache may have
_USUAL: Final = "f16"
_WHOLE: Final = "Take f16, bf16 or f32."
_LENGTHS: Final = {"k": "attention.key_length", "v": "attention.value_length"}


def wrong_types(options: Mapping[str, OptionValue], model: Header, *, draft: bool = False) -> list[str]:
    """Sentences. `draft`: the model is the one that drafts for another, and has options of its own."""
    types = {half: f"cache_type_{half}{'_draft' if draft else ''}" for half in _LENGTHS}
    key, value = (str(options.get(name, _USUAL)) for name in types.values())
    if _is_compressed(model) and key != value:
        return [
            f"options.{types['k']} {key} and {types['v']} {value} have to be the same for this model: its attention is "
            "compressed, and keys and values are one. Set both, or neither."
        ]
    if model.number("attention.head_count") == 0:
        return []
    return list(_cut_blocks(options, types, model, "the draft model" if draft else "this model"))


def _cut_blocks(
    options: Mapping[str, OptionValue], types: Mapping[str, str], model: Header, whose: str
) -> Iterator[str]:
    flash = options.get("flash_attn") != "off"
    for half, name in types.items():
        kind, size = options.get(name), _length(model, half)
        if kind not in QUANTISED_KV or not size:
            continue
        if flash and size % _BLOCK:
            yield (
                f"options.{name} cannot be {kind} for {whose}: its heads of {size} values do not "
                f"divide into blocks of {_BLOCK}. {_WHOLE}"
            )
        row = size * (_heads(model) or 0)
        if not flash and half == "k" and row % _BLOCK:  # values need flash attention for these types
            yield (
                f"options.{name} cannot be {kind} for {whose}: its {row // size} "
                f"head{'s' if row > size else ''} of {size} values do not make whole blocks of {_BLOCK}. {_WHOLE}"
            )


def _is_compressed(model: Header) -> bool:
    lengths = model.number("attention.key_length_mla"), model.number("attention.value_length_mla")
    return model.architecture == "deepseek4" or all(lengths)


def _length(model: Header, half: str) -> int | None:
    """Of one head; None where the file does not say."""
    heads, width = model.number("attention.head_count"), model.number("embedding_length")
    return model.number(_LENGTHS[half]) or (width // heads if heads and width else None)


def _heads(model: Header) -> int | None:
    """Of keys; None where layers have different numbers."""
    return model.number("attention.head_count_kv") or model.number("attention.head_count")
