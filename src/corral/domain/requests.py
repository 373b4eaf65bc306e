"""What is done to the fields of requests on their way to an engine, and who answers those that name no Model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

ROUTING_FIELDS: Final = ("model", "messages", "stream", "prompt", "input")
"""What a request is about, and how it is answered: no rule touches these."""

TASKS: Final = ("chat", "completion", "embeddings", "rerank", "transcription", "speech", "images")
"""What routes are for; each may have a default Model."""


@dataclass(frozen=True, slots=True)
class RequestRules:
    """
    Top-level fields of requests: `defaults` where a request has none (or null), then `strip`, then `set`.

    `model` is the name that the engine gets in the place of the client's, "" leaves that: a name that only Corral knows
    means nothing to an engine.
    """

    defaults: Mapping[str, object] = field(default_factory=dict)
    strip: tuple[str, ...] = ()
    set: Mapping[str, object] = field(default_factory=dict)
    model: str = ""

    def under(self, more: RequestRules) -> RequestRules:
        """These with `more` on top, which goes before them field by field."""
        return RequestRules(
            defaults={**self.defaults, **more.defaults},
            strip=tuple(dict.fromkeys((*self.strip, *more.strip))),
            set={**self.set, **more.set},
            model=more.model or self.model,
        )


@dataclass(frozen=True, slots=True)
class ProfileSpec:
    """Parameters under names of their own, for one and the same Model: `MODEL:name`, and the aliases."""

    name: str
    rules: RequestRules
    aliases: tuple[str, ...] = ()

    def names(self, model: str) -> tuple[str, ...]:
        """All names that clients may use for it."""
        return (f"{model}:{self.name}", *self.aliases)


@dataclass(frozen=True, slots=True)
class DefaultModels:
    """
    Which Model answers requests of a task that name none, by task.

    `for_unknown`: it answers those that name one which is not there as well, as a lone llama-server does.
    """

    by_task: Mapping[str, str] = field(default_factory=dict)
    for_unknown: bool = False

    def of(self, task: str) -> str:
        """The name, "" for none. What completes text is asked for completions where nothing else is."""
        return self.by_task.get(task) or (self.by_task.get("chat", "") if task == "completion" else "")


def fits(task: str, known: str) -> bool:
    """Whether a Model whose own task is `known` ("" for unknown) can be meant by a request of this task."""
    if task in ("embeddings", "rerank"):
        return known in ("", task)
    return known not in ("embeddings", "rerank")
