"""From the headers of a model's files to an `Inspection`: pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from corral.store.gguf.facts import FileSays, facts, says
from corral.store.gguf.header import Header, TensorInfo
from corral.store.gguf.projectors import projects
from corral.store.gguf.shape import ModelShape, shape_of
from corral.store.gguf.states import recurrent_layers
from corral.store.gguf.windows import next_layers, window_of, windowed
from corral.store.inspect.inspection import (
    Attention,
    ByLayer,
    Experts,
    Inspection,
    Projector,
    Quantisation,
    Rope,
    Split,
    Template,
    Tokenizer,
)
from corral.store.inspect.mix import active_parameters, overall_bits, parameters_of, type_shares

_TOKENS: Final = ("bos", "eos", "eot", "eom", "unknown", "padding", "seperator", "mask", "cls")
_MOST_CHARS: Final = 200


def described(
    header: Header,
    tensors: Sequence[TensorInfo],
    *,
    files: Sequence[str],
    file_bytes: int,
    split: Split | None = None,
    projector: tuple[str, Header] | None = None,
    licence: str = "",
) -> Inspection:
    """
    Of the header of the first part and the tensors of all. Raises BadGguf for what no model can be.

    `projector` is the name and the header of the file that belongs to it, `licence` what a registry says of it.
    """
    shape = shape_of(header, tensors)
    said = says(header, tensors, size_bytes=file_bytes)
    seen = _projector(header, said, projector)
    known = facts(said, options={}, projector=said if projector is None else _said(projector[1]))
    shares = type_shares(tensors)
    experts = _experts(shape)
    routed, used = (experts.count, experts.used) if experts else (0, 0)
    return Inspection(
        kind=_kind(header),
        files=tuple(files),
        architecture=known.architecture,
        name=known.name,
        task=known.task if shape.layers else "",
        capabilities=known.capabilities if shape.layers else (),
        parameters=parameters_of(tensors),
        active_parameters=active_parameters(tensors, routed, used),
        file_bytes=file_bytes,
        tensor_bytes=sum(tensor.n_bytes for tensor in tensors),
        gguf_version=header.version,
        big_endian=header.big_endian,
        layers=shape.layers - next_layers(shape) if shape.has("block_count") else None,
        next_layers=next_layers(shape),
        context_tokens=known.trained_context_tokens,
        embedding_length=known.embedding_length,
        feed_forward_length=_by_layer(shape, "feed_forward_length"),
        attention=_attention(shape) if shape.layers else None,
        experts=experts,
        rope=_rope(header, shape) if shape.layers else None,
        tokenizer=_tokenizer(header),
        template=Template(len(header.chat_template), _abilities(said)) if header.chat_template else None,
        projector=seen,
        quantisation=Quantisation(known.quantisation, overall_bits(shares), shares),
        split=split,
        licence=known.license or _short(header.text("general.license.name")) or _short(licence),
        licence_name=_short(header.text("general.license.name")),
        licence_link=_short(header.text("general.license.link")),
        languages=known.languages,
        tags=known.tags,
    )


def _kind(header: Header) -> str:
    said = header.text("general.type")
    if said == "mmproj" or header.architecture == "clip":
        return "projector"
    if header.architecture == "controlvector":
        return "control vector"
    return _short(said) or "model"


def _said(header: Header) -> FileSays:
    return says(header, header.tensors, size_bytes=header.file_bytes)


def _abilities(said: FileSays) -> tuple[str, ...]:
    return tuple(name for name in ("tools", "reasoning") if name in (said.template or ()))


def _projector(header: Header, said: FileSays, beside: tuple[str, Header] | None) -> Projector | None:
    """Its own where the file is one, else that of the file beside it."""
    if beside is not None:
        name, other = beside
        return Projector(name, _projector_kind(other), _said(other).modalities)
    return Projector("", _projector_kind(header), said.modalities) if said.modalities else None


def _projector_kind(header: Header) -> str:
    found = projects(header, ())
    return _short(next(iter(found.kinds), "")) if found is not None else ""


def _attention(shape: ModelShape) -> Attention:
    heads, width = _by_layer(shape, "attention.head_count"), shape.whole("embedding_length")
    most = max(heads, default=0) if isinstance(heads, tuple) else heads or 0
    length = width // most if most else None
    layers = shape.layers - next_layers(shape)
    windows, states = windowed(shape)[:layers], recurrent_layers(shape)[:layers]
    return Attention(
        heads=heads,
        kv_heads=_by_layer(shape, "attention.head_count_kv", heads),
        key_length=_length(shape, "key", length),
        value_length=_length(shape, "value", length),
        latent_length=shape.whole("attention.kv_lora_rank") or None,
        window_tokens=window_of(shape) or None,
        windowed_layers=sum(windows),
        recurrent_layers=sum(states),
    )


def _length(shape: ModelShape, what: str, default: int | None) -> int | None:
    """Of one head, before it is compressed; None for a model without any."""
    if default is None:
        return None
    return shape.whole(f"attention.{what}_length_mla") or shape.whole(f"attention.{what}_length") or default


def _by_layer(shape: ModelShape, key: str, default: ByLayer = None) -> ByLayer:
    """One number where all layers have the same."""
    if not shape.has(key):
        return default
    values = set(shape.by_layer(key))
    return values.pop() if len(values) == 1 else shape.by_layer(key) or None


def _experts(shape: ModelShape) -> Experts | None:
    count = shape.whole("expert_count")
    if not count:
        return None
    return Experts(
        count=count,
        used=shape.whole("expert_used_count"),
        shared=shape.whole("expert_shared_count"),
        feed_forward_length=shape.whole("expert_feed_forward_length") or None,
    )


def _rope(header: Header, shape: ModelShape) -> Rope | None:
    def real(key: str) -> float | None:
        value = header.metadata.get(f"{header.architecture}.rope.{key}")
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else None

    base, dimensions = real("freq_base"), shape.whole("rope.dimension_count") or None
    if base is None and dimensions is None:
        return None
    return Rope(
        dimensions=dimensions,
        base=base,
        scaling=_short(header.text(f"{header.architecture}.rope.scaling.type")),
        factor=real("scaling.factor"),
        original_context_tokens=shape.whole("rope.scaling.original_context_length") or None,
    )


def _tokenizer(header: Header) -> Tokenizer | None:
    model = header.text("tokenizer.ggml.model")
    tokens = header.array_length("tokenizer.ggml.tokens")
    if not model and tokens is None:
        return None
    special = {
        "separator" if name == "seperator" else name: value  # the format's own spelling
        for name in _TOKENS
        if isinstance(value := header.metadata.get(f"tokenizer.ggml.{name}_token_id"), int)
    }
    adds = header.metadata.get("tokenizer.ggml.add_bos_token")
    return Tokenizer(
        model=_short(model),
        pre=_short(header.text("tokenizer.ggml.pre")),
        tokens=tokens,
        merges=header.array_length("tokenizer.ggml.merges"),
        special=special,
        adds_bos=adds if isinstance(adds, bool) else None,
    )


def _short(text: str) -> str:
    return "".join(char for char in text[:_MOST_CHARS] if char.isprintable())
