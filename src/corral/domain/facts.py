"""What is known of a Model without running it: from its files, for listings. The operator's own words go before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """
    Facts of one Model as it is configured. What the files do not say is None or empty.

    `context_tokens` is what one request may use, prompt and answer together, with the Model's options;
    `trained_context_tokens` what the model was trained for. `task`: chat, completion, embeddings or rerank;
    `capabilities` are tools, reasoning, infill, vision and audio as well. `modified_at` (seconds since 1970) is when
    the file was last written; `file_digest` (64 hex digits) is another for another file, and for the same written
    anew: not a hash of its content, for which all of it would have to be read.
    """

    architecture: str = ""
    name: str = ""
    task: str = ""
    capabilities: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ("text",)
    context_tokens: int | None = None
    trained_context_tokens: int | None = None
    parameters: int | None = None
    quantisation: str = ""
    size_bytes: int | None = None
    embedding_length: int | None = None
    vocabulary: int | None = None
    languages: tuple[str, ...] = ()
    license: str = ""
    tags: tuple[str, ...] = ()
    modified_at: float | None = None
    file_digest: str = ""


NOTHING = ModelFacts(inputs=())
"""Of a Model without a file, or with one that cannot be read."""


@dataclass(frozen=True, slots=True)
class FileDetails:
    """
    All that a Model's file says, read when somebody asks for it. Values are as JSON has them, long arrays empty.

    `tensors` are (name, type, shape). `projector` is the metadata of the file that adds pictures or sound.
    """

    metadata: Mapping[str, object] = field(default_factory=dict)
    tensors: tuple[tuple[str, str, tuple[int, ...]], ...] = ()
    projector: Mapping[str, object] = field(default_factory=dict)
