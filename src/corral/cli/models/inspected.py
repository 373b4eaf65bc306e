"""An inspection in words, for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from corral.domain.units import format_bytes, format_parameters

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
        ("licence", _licence(found)),
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
            format_parameters(share.parameters) or "0",
            format_bytes(share.n_bytes) if share.n_bytes else "-",
            _bits(share.bits_per_weight),
        )
        for share in quantisation.types
    ]


def _joined(*parts: str) -> str:
    """What there is to say, in one line."""
    return ", ".join(part for part in parts if part)


def _bits(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _parameters(found: Inspection) -> str:
    active = found.active_parameters
    some = f", {format_parameters(active)} of them for a token" if active < found.parameters else ""
    return (format_parameters(found.parameters) or "0") + some


def _files(found: Inspection) -> str:
    order = ", big-endian" if found.big_endian else ""
    name = found.files[0] if len(found.files) == 1 else f"{found.files[0]} and {len(found.files) - 1} more"
    return f"{name}, {format_bytes(found.file_bytes)}, GGUF version {found.gguf_version}{order}"


def _layers(found: Inspection) -> str:
    if found.layers is None:
        return ""
    return _joined(
        str(found.layers),
        f"{found.next_layers} more for further tokens" if found.next_layers else "",
        f"embedding {found.embedding_length:,}" if found.embedding_length else "",
        f"feed-forward {_by_layer(found.feed_forward_length)}" if found.feed_forward_length else "",
    )


def _attention(attention: Attention) -> str:
    return _joined(
        *_heads(attention),
        f"compressed to {attention.latent_length} (MLA)" if attention.latent_length else "",
        f"a window of {attention.window_tokens:,} tokens in {attention.windowed_layers} layers"
        if attention.windowed_layers
        else "",
        f"a recurrent state in {attention.recurrent_layers} layers" if attention.recurrent_layers else "",
    )


def _heads(attention: Attention) -> Iterator[str]:
    if not attention.heads:
        return
    yield f"{_by_layer(attention.heads)} heads"
    if attention.kv_heads is not None:
        yield f"{_by_layer(attention.kv_heads)} for keys and values"
    keys, values = attention.key_length, attention.value_length
    if keys:
        yield f"{keys} long" if keys == values else f"{keys} and {values} long"


def _by_layer(value: ByLayer) -> str:
    if not isinstance(value, tuple):
        return f"{value:,}"
    return f"{min(value):,} to {max(value):,}"


def _experts(experts: Experts) -> str:
    return _joined(
        str(experts.count),
        f"{experts.used} for a token",
        f"{experts.shared} shared" if experts.shared else "",
        f"feed-forward {experts.feed_forward_length:,}" if experts.feed_forward_length else "",
    )


def _rope(rope: Rope) -> str:
    return _joined(
        "" if rope.base is None else f"base {rope.base:,.10g}",
        f"{rope.dimensions} dimensions" if rope.dimensions else "",
        _stretched(rope) if rope.scaling and rope.scaling != "none" else "",
    )


def _stretched(rope: Rope) -> str:
    by = f" by {rope.factor:g}" if rope.factor else ""
    original = f" from {rope.original_context_tokens:,} tokens" if rope.original_context_tokens else ""
    return f"stretched{by}{original} ({rope.scaling})"


def _tokenizer(tokenizer: Tokenizer) -> str:
    bos = {None: "", True: "prompts begin with bos", False: "no bos before prompts"}
    return _joined(
        f"{tokenizer.model} ({tokenizer.pre})" if tokenizer.pre else tokenizer.model or "not said",
        "" if tokenizer.tokens is None else f"{tokenizer.tokens:,} tokens",
        *(f"{part} {number}" for part, number in tokenizer.special.items()),
        bos[tokenizer.adds_bos],
    )


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


def _licence(found: Inspection) -> str:
    name = "" if found.licence_name == found.licence else found.licence_name
    return _joined(found.licence, name, found.licence_link)


def _quantisation(quantisation: Quantisation) -> str:
    if quantisation.bits_per_weight is None:
        return quantisation.name
    return f"{quantisation.name}, {quantisation.bits_per_weight:.2f} bits per weight"


def _split(split: Split) -> str:
    if split.complete:
        return f"{split.parts} parts, all there"
    absent = ", ".join(split.missing[:3]) + (f" and {len(split.missing) - 3} more" if len(split.missing) > 3 else "")
    return f"{split.parts} parts, {len(split.missing)} of them missing: {absent}"
