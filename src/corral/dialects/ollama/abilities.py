"""
What a Model has to be able to do for a request, in Ollama's words where it is not: clients look for them and ask again.

A Model of which nothing is known (a remote one, or a program of any kind) is asked; its engine refuses for itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from corral.domain.chat import Media, MediaKind
from corral.domain.errors import BadRequest
from corral.domain.facts import ModelFacts

TEXT: Final = ("chat", "completion")
VECTORS: Final = ("embeddings",)


class Lacking(BadRequest):
    """The Model cannot do what is asked."""

    def __init__(self, model: str, what: str) -> None:
        super().__init__(f'"{model}" does not support {what}')


def check(model: str, facts: ModelFacts, what: str, *, task: Iterable[str], needs: Iterable[str] = ()) -> None:
    """
    `what` is what the route is for and `task` what makes a Model one for it; `needs` are capabilities. Raises Lacking.
    """
    if not facts.task:
        return
    if facts.task not in task:
        raise Lacking(model, what)
    for need in needs:
        if need not in facts.capabilities:
            raise Lacking(model, _WORDS.get(need, need))


def media_needs(media: Iterable[Media]) -> set[str]:
    """The capabilities that these images and sounds take."""
    return {"audio" if each.kind is MediaKind.AUDIO else "vision" for each in media}


_WORDS: Final = {"reasoning": "thinking", "infill": "insert"}
"""Ollama's names for them, where they differ."""
