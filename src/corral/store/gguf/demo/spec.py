"""What a demo model should be like."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Task(StrEnum):
    """What the model is for."""

    SAY = "say"  # says its sentence to everything
    OBEY = "obey"  # says it where it is free; writes short JSON and tool calls where it is asked to
    EMBED = "embed"  # a vector for a text, mean pooling
    RERANK = "rerank"  # a score for a query and a document


@dataclass(frozen=True, slots=True)
class DemoSpec:
    """
    A demo model as values: `build(path, spec)` writes it.

    `size_bytes` pads the feed-forward until the tensors take that much (0 = as small as can be): the file then loads
    and takes memory like a model of that size. `parts` above 1 writes the split files that llama.cpp knows. `endless`
    says the sentence again and again, until the caller's max_tokens.
    """

    name: str = "demo"
    sentence: str = "I am a demo model."
    thought: str = ""
    task: Task = Task.SAY
    arch: str = "llama"  # a key of architectures.LAYERS
    endless: bool = False
    context: int = 32768
    layers: int = 1
    experts: int = 0
    size_bytes: int = 0
    parts: int = 1
    seed: int = 1  # of the random weights that embed and rerank have
