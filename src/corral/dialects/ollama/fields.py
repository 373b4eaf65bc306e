"""What requests of several routes have in common: `format`, `think`, `logprobs`, `keep_alive`, `options`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec

from corral.dialects.ollama.durations import keep_s
from corral.dialects.ollama.options import options_of
from corral.domain.chat import Format, Think
from corral.domain.errors import BadRequest
from corral.domain.facts import ModelFacts
from corral.domain.fleet import OptionValue

Body = TypeVar("Body")
_EFFORTS: Final = ("low", "medium", "high", "max")
_MOST_LOGPROBS: Final = 20


class Common(msgspec.Struct, kw_only=True):
    """Fields that every inference route has; any other that is not known is passed over, as Ollama does."""

    model: str | None = None
    keep_alive: float | str | None = None
    options: dict[str, Any] | None = None


class Generating(Common, kw_only=True):
    """Fields of the routes that generate text. `shift` is taken and not used: engines do not shift their context."""

    stream: bool | None = None
    format: msgspec.Raw = msgspec.Raw()
    think: bool | str | None = None
    truncate: bool | None = None
    shift: bool | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class Staying:
    """What a request says of the Model that serves it: how long it stays, and what it is to be loaded with."""

    keep_s: float | None = None
    load_options: Mapping[str, OptionValue] = field(default_factory=dict)
    unknown_options: tuple[str, ...] = ()

    @property
    def unloads(self) -> bool:
        """Whether a request that asks for nothing else sends the Model away."""
        return self.keep_s == 0


def staying(asked: Common) -> Staying:
    """Raises BadRequest."""
    options = options_of(asked.options)
    return Staying(keep_s(asked.keep_alive), options.load, options.unknown)


def format_of(given: msgspec.Raw) -> Format | None:
    """`"json"`, a JSON schema, or nothing said. Raises BadRequest."""
    text = bytes(given).strip()
    if text in (b"", b"null", b'""'):
        return None
    if text == b'"json"':
        return Format()
    if text.startswith(b"{"):
        return Format(msgspec.Raw(text))
    raise BadRequest('`format` is "json" or a JSON schema.')


def think_of(given: bool | str | None, facts: ModelFacts) -> Think | None:
    """True, false, an effort, or nothing said; false says nothing to a Model that never thinks. Raises BadRequest."""
    if given is None or given == "":
        return None
    if isinstance(given, bool):
        never = not given and bool(facts.task) and "reasoning" not in facts.capabilities
        return None if never else Think(given)
    if given not in _EFFORTS:
        raise BadRequest(f"`think` is true, false, or one of {', '.join(_EFFORTS)}, not {given[:50]!r}.")
    return Think(True, effort=given)


def logprobs_of(asked: Generating) -> int | None:
    """How many likely tokens are told for each one, None where no probabilities are wanted. Raises BadRequest."""
    most = asked.top_logprobs or 0
    if not 0 <= most <= _MOST_LOGPROBS:
        raise BadRequest(f"top_logprobs must be between 0 and {_MOST_LOGPROBS}")
    return most if asked.logprobs else None
