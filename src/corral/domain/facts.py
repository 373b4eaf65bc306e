"""What is known of a Model without running it: from its files, for listings. The operator's own words go before."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """
    Facts of one Model as it is configured. What the files do not say is None or empty.

    `context_tokens` is what one request may use, prompt and answer together, with the Model's options;
    `trained_context_tokens` what the model was trained for. `task`: chat, completion, embeddings or rerank;
    `capabilities` are tools, reasoning, infill, vision and audio as well.
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


NOTHING = ModelFacts(inputs=())
"""Of a Model without a file, or with one that cannot be read."""
