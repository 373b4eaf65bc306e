"""An inspection in words, for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from corral.domain.units import format_bytes

if TYPE_CHECKING:
    from corral.store.inspect.inspection import (
        Attention,
        ByLayer,
        Experts,
        Inspection,
        Quantisation,
        Rope,
        Split,
        Tokenizer,
    )


def lines(found: Inspection) -> Iterator[tuple[str, str]]:
    """Pairs of a word and what is to be said; nothing of what the file does not say."""
    for name, text in (
        ("name", found.name),
        ("kind", "" if found.kind == "model" else found.kind),
        ("architecture", found.architecture or "not said"),
        ("parameters", _parameters(found)),
        ("files", _files(found)),
        ("layers", _layers(found)),
        ("attention", _attention(found.attention) if found.attention else ""),
        ("experts", _experts(found.experts) if found.experts else ""),
        ("context", f"{found.context_tokens:,} tokens" if found.context_tokens else ""),
        ("rope", _rope(found.rope) if found.rope else ""),
        ("tokenizer", _tokenizer(found.tokenizer) if found.tokenizer else ""),
        ("chat template", _template(found)),
        ("projector", _projector(found)),
        ("good for", ", ".join(found.capabilities)),
        ("quantisation", _quantisation(found.quantisation)),
        ("split", _split(found.split) if found.split else ""),
        ("licence", found.licence),
        ("languages", ", ".join(found.languages)),
        ("tags", ", ".join(found.tags)),
    ):
        if text:
            yield name, text


def type_rows(quantisation: Quantisation) -> list[tuple[str, ...]]:
    """Rows of the table of tensors by type."""
    return [
        (
            share.type,
            f"{share.tensors:,}",
            count(share.parameters),
            format_bytes(share.n_bytes) if share.n_bytes else "-",
            _bits(share.bits_per_weight),
        )
        for share in quantisation.types
    ]


def count(parameters: int) -> str:
    """`7.616 B`, `38.3 M`."""
    for size, unit in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K")):
        if parameters >= size:
            return f"{parameters / size:.4g} {unit}"
    return str(parameters)


def _bits(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _parameters(found: Inspection) -> str:
    active = found.active_parameters
    return count(found.parameters) + (f", {count(active)} of them for a token" if active < found.parameters else "")


def _files(found: Inspection) -> str:
    order = ", big-endian" if found.big_endian else ""
    name = found.files[0] if len(found.files) == 1 else f"{found.files[0]} and {len(found.files) - 1} more"
    return f"{name}, {format_bytes(found.file_bytes)}, GGUF version {found.gguf_version}{order}"


def _layers(found: Inspection) -> str:
    if found.layers is None:
        return ""
    parts = [str(found.layers)]
    if found.next_layers:
        parts.append(f"{found.next_layers} more for further tokens")
    if found.embedding_length:
        parts.append(f"embedding {found.embedding_length:,}")
    if found.feed_forward_length:
        parts.append(f"feed-forward {_by_layer(found.feed_forward_length)}")
    return ", ".join(parts)


def _attention(attention: Attention) -> str:
    parts = []
    if attention.heads:
        parts.append(f"{_by_layer(attention.heads)} heads")
    if attention.heads and attention.kv_heads is not None:
        parts.append(f"{_by_layer(attention.kv_heads)} for keys and values")
    if attention.heads and attention.key_length:
        keys, values = attention.key_length, attention.value_length
        parts.append(f"{keys} long" if keys == values else f"{keys} and {values} long")
    if attention.latent_length:
        parts.append(f"compressed to {attention.latent_length} (MLA)")
    if attention.windowed_layers:
        parts.append(f"a window of {attention.window_tokens:,} tokens in {attention.windowed_layers} layers")
    if attention.recurrent_layers:
        parts.append(f"a recurrent state in {attention.recurrent_layers} layers")
    return ", ".join(parts)


def _by_layer(value: ByLayer) -> str:
    if not isinstance(value, tuple):
        return f"{value:,}"
    return f"{min(value):,} to {max(value):,}"


def _experts(experts: Experts) -> str:
    parts = [f"{experts.count}", f"{experts.used} for a token"]
    if experts.shared:
        parts.append(f"{experts.shared} shared")
    if experts.feed_forward_length:
        parts.append(f"feed-forward {experts.feed_forward_length:,}")
    return ", ".join(parts)


def _rope(rope: Rope) -> str:
    parts = []
    if rope.base is not None:
        parts.append(f"base {rope.base:,.10g}")
    if rope.dimensions:
        parts.append(f"{rope.dimensions} dimensions")
    if rope.scaling and rope.scaling != "none":
        stretched = f" by {rope.factor:g}" if rope.factor else ""
        original = f" from {rope.original_context_tokens:,} tokens" if rope.original_context_tokens else ""
        parts.append(f"stretched{stretched}{original} ({rope.scaling})")
    return ", ".join(parts)


def _tokenizer(tokenizer: Tokenizer) -> str:
    parts = [f"{tokenizer.model} ({tokenizer.pre})" if tokenizer.pre else tokenizer.model or "not said"]
    if tokenizer.tokens is not None:
        parts.append(f"{tokenizer.tokens:,} tokens")
    parts += [f"{part} {number}" for part, number in tokenizer.special.items()]
    if tokenizer.adds_bos is not None:
        parts.append("prompts begin with bos" if tokenizer.adds_bos else "no bos before prompts")
    return ", ".join(parts)


def _template(found: Inspection) -> str:
    if found.template is None:
        return "none" if found.kind == "model" and found.task == "completion" else ""
    knows = " and ".join(found.template.abilities)
    return f"{found.template.chars:,} characters, " + (f"knows {knows}" if knows else "neither tools nor reasoning")


def _projector(found: Inspection) -> str:
    if found.projector is None:
        return ""
    inputs = " and ".join(found.projector.inputs) or "nothing"
    where = f"{found.projector.file}: " if found.projector.file else ""
    kind = f" ({found.projector.kind})" if found.projector.kind else ""
    return f"{where}adds {inputs}{kind}"


def _quantisation(quantisation: Quantisation) -> str:
    if quantisation.bits_per_weight is None:
        return quantisation.name
    return f"{quantisation.name}, {quantisation.bits_per_weight:.2f} bits per weight"


def _split(split: Split) -> str:
    if split.complete:
        return f"{split.parts} parts, all there"
    absent = ", ".join(split.missing[:3]) + (f" and {len(split.missing) - 3} more" if len(split.missing) > 3 else "")
    return f"{split.parts} parts, {len(split.missing)} of them missing: {absent}"
