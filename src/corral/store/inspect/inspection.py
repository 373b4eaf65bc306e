"""
What is said of a model: values, as people and programs want to see them.

A number is None where the file does not say it, and a tuple where it differs from layer to layer. `dataclasses.asdict`
of an `Inspection` is the JSON of `corral models inspect --json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from corral.store.inspect.mix import TypeShare

ByLayer = int | tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Split:
    """The files of a split model. `missing` are names of parts that are not there."""

    parts: int
    complete: bool
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Attention:
    """Lengths are of one head. `latent_length` is that of compressed keys and values (MLA)."""

    heads: ByLayer
    kv_heads: ByLayer
    key_length: int | None
    value_length: int | None
    latent_length: int | None
    window_tokens: int | None
    windowed_layers: int
    recurrent_layers: int


@dataclass(frozen=True, slots=True)
class Experts:
    """Routed experts: how many a layer has, how many a token uses; `shared` ones are for every token."""

    count: int
    used: int
    shared: int
    feed_forward_length: int | None


@dataclass(frozen=True, slots=True)
class Rope:
    """How positions are told apart; `factor` and `original_context_tokens` where the context was stretched."""

    dimensions: int | None
    base: float | None
    scaling: str
    factor: float | None
    original_context_tokens: int | None


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """`special` are ids of tokens by their part: `bos`, `eos`, ..."""

    model: str
    pre: str
    tokens: int | None
    merges: int | None
    special: Mapping[str, int]
    adds_bos: bool | None


@dataclass(frozen=True, slots=True)
class Template:
    """The chat template: how long it is, and which of `tools` and `reasoning` it knows."""

    chars: int
    abilities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Projector:
    """The file that adds pictures or sound to a model; `file` is the one beside it that was found."""

    file: str
    kind: str
    inputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Quantisation:
    """`name` is what the file calls it; `bits_per_weight` what a weight really takes, all tensors counted."""

    name: str
    bits_per_weight: float | None
    types: tuple[TypeShare, ...]


@dataclass(frozen=True, slots=True)
class Inspection:
    """
    One model. `kind` is model, projector, adapter, or what else the file says that it is.

    `files` are the names of its parts, as far as they are there. `licence` is commonly `other` where one has a name
    of its own, and a link to its text.
    """

    kind: str
    files: tuple[str, ...]
    architecture: str
    name: str
    task: str
    capabilities: tuple[str, ...]
    parameters: int
    active_parameters: int
    file_bytes: int
    tensor_bytes: int
    gguf_version: int
    big_endian: bool
    layers: int | None
    next_layers: int
    context_tokens: int | None
    embedding_length: int | None
    feed_forward_length: ByLayer
    attention: Attention | None
    experts: Experts | None
    rope: Rope | None
    tokenizer: Tokenizer | None
    template: Template | None
    projector: Projector | None
    quantisation: Quantisation
    split: Split | None
    licence: str
    licence_name: str
    licence_link: str
    languages: tuple[str, ...]
    tags: tuple[str, ...]
