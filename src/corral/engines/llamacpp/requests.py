"""
llama-server's own request fields, and the values that it can bear.

It checks few of them: a negative `n_discard` once wrote outside its memory (CVE-2026-21869), a large `repeat_last_n` is
a buffer of that many tokens. So what is out of range is refused before it goes out, whoever sends it. Values of
another type are left to the engine, which passes over them.

`read_request` takes the place of the gateway's own look at a body, so that a plain request is looked at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, NamedTuple

import msgspec

from corral.contracts.requests import OwnFields
from corral.dialects.openai.mends import REPLAYED
from corral.dialects.openai.mends import REQUESTS as MENDED
from corral.domain.bodies import UNREADABLE, unreadable
from corral.domain.errors import BadRequest
from corral.domain.fleet import ModelSpec
from corral.domain.launch import LLAMA

_INT: Final = 2**31 - 1  # llama.cpp's int32_t
_TOKENS: Final = 10_000_000  # no context is longer
_WORDS: Final = 1_000_000  # no vocabulary is larger
_REAL: Final = 1e6


class Range(NamedTuple):
    """What a number may be, or how many items a list, mapping or text may have (`items`)."""

    low: float
    high: float
    items: bool = False

    def words(self) -> str:
        """The rest of a sentence that begins with the field's name."""
        if self.items:
            return f"must not have more than {self.high:g} items"
        return f"must be from {_written(self.low)} to {_written(self.high)}"


def _written(value: float) -> str:
    return f"{value:d}" if isinstance(value, int) else f"{value:g}"


RANGES: Final[Mapping[str, Range]] = {
    # how much
    "n_predict": Range(-2, _INT), "max_tokens": Range(-2, _INT), "max_completion_tokens": Range(-2, _INT),
    "n_keep": Range(-1, _INT), "n_discard": Range(0, _INT), "n_indent": Range(0, _INT),
    "n_cache_reuse": Range(0, _INT), "n_probs": Range(0, _WORDS), "top_logprobs": Range(0, _WORDS),
    "t_max_predict_ms": Range(-1, 2**53), "t_max_prompt_ms": Range(-1, 2**53),
    "reasoning_budget_tokens": Range(-1, _INT), "thinking_budget_tokens": Range(-1, _INT),
    "top_n": Range(0, _INT), "embd_normalize": Range(-1, 1000),
    # sampling
    "top_k": Range(-1, _INT), "min_keep": Range(0, _WORDS), "repeat_last_n": Range(-1, _TOKENS),
    "dry_multiplier": Range(0, _REAL), "dry_base": Range(0, _REAL), "dry_allowed_length": Range(0, _TOKENS),
    "dry_penalty_last_n": Range(-1, _TOKENS), "dry_sequence_breakers": Range(0, 64, items=True),
    "mirostat": Range(0, 2), "mirostat_tau": Range(0, _REAL), "mirostat_eta": Range(0, _REAL),
    "samplers": Range(0, 64, items=True), "logit_bias": Range(0, 100_000, items=True),
    "grammar_triggers": Range(0, 1024, items=True), "preserved_tokens": Range(0, 1024, items=True),
    "speculative.n_max": Range(0, 1024), "speculative.n_min": Range(0, 1024),
    # the rest
    "stop": Range(0, 1024, items=True), "response_fields": Range(0, 1024, items=True),
    "lora": Range(0, 64, items=True),
}  # fmt: skip
BY_SLOTS: Final = ("n", "n_cmpl", "id_slot")
"""What depends on how many slots the Model has."""

_LORA: Final[Mapping[str, Range]] = {"id": Range(0, 1023), "scale": Range(-_REAL, _REAL)}
_PLACE: Final = re.compile(r"at `\$\.([^`\[]+)(\[[^`]*\]\.?)?([a-z]*)`")


def _type(bounds: Range) -> Any:
    if bounds.items:
        size = msgspec.Meta(max_length=int(bounds.high))
        return Annotated[list[Any], size] | Annotated[dict[str, Any], size] | str | int | float | bool | None
    whole = msgspec.Meta(ge=int(bounds.low), le=int(bounds.high))
    real = msgspec.Meta(ge=bounds.low, le=bounds.high)
    return Annotated[int, whole] | Annotated[float, real] | str | bool | list[Any] | dict[str, Any] | None


def _struct(title: str, ranges: Mapping[str, Range], kinds: Mapping[str, Any]) -> Any:
    plain = {field: field.replace(".", "_") for field in ranges}
    fields = [(plain[field], kinds.get(field) or _type(bounds), None) for field, bounds in ranges.items()]
    return msgspec.defstruct(
        title, [*((each, kind, None) for each, kind in kinds.items() if each not in ranges), *fields],
        rename={plain[field]: field for field in ranges}, gc=False,
    )  # fmt: skip


_Adapter: Any = _struct("Adapter", _LORA, {})
_adapters: Any = Annotated[list[_Adapter], msgspec.Meta(max_length=64)]
_KINDS: Final[Mapping[str, Any]] = {"lora": _adapters | str | int | float | bool | None}
_decode = msgspec.json.Decoder(_struct("OwnFields", RANGES, {**_KINDS, **dict.fromkeys(BY_SLOTS, Any)})).decode
_any_slots: Any = Annotated[int, msgspec.Meta(ge=0, le=0)] | None
_one: Any = Annotated[int, msgspec.Meta(ge=1, le=1)] | None
_message: Any = msgspec.defstruct("Message", [(REPLAYED, None, None)], gc=False)
_plain: Any = {
    "model": str | None, "stream": bool | None, "n": _one, "n_cmpl": _one, "id_slot": _any_slots,
    **dict.fromkeys(MENDED, None), "tool_choice": str | None, "messages": list[_message] | None,
}  # fmt: skip
read_request = msgspec.json.Decoder(_struct("PlainRequest", RANGES, {**_KINDS, **_plain})).decode
"""`model` and `stream` of a body that is fine for any number of slots, and has nothing to mend."""


def check_request(body: bytes, slots: int) -> None:
    """See that a JSON body has nothing that the engine could not bear. Raises BadRequest."""
    try:
        fields = _decode(body)
    except msgspec.ValidationError as error:
        raise BadRequest(_sentence(str(error))) from None
    except UNREADABLE as error:
        raise unreadable(error) from None
    for name, low, high in (("n", 1, slots), ("n_cmpl", 1, slots), ("id_slot", -1, slots - 1)):
        value = getattr(fields, name)
        if isinstance(value, int | float) and not low <= value <= high:
            raise BadRequest(f"{name} must be from {low} to {high}: the Model has {slots} slots.")


def concerns(model: ModelSpec) -> bool:
    """A llama-server serves it: started by this engine, or by its operator who says so."""
    return model.engine == "llamacpp" or model.options.get("speaks") == LLAMA


OWN_FIELDS: Final = OwnFields(concerns, read_request, check_request)


def _sentence(error: str) -> str:
    place = _PLACE.search(error)
    if place is None or place[1] not in RANGES:
        return f"The request body is wrong: {error}."
    field, inner = place[1], place[3]
    if RANGES[field].items and "length" not in error and inner not in _LORA:
        return f"The request body is wrong: {error}."
    if inner in _LORA:
        return f"{inner} of an item of {field} {_LORA[inner].words()}."
    return f"{field} {RANGES[field].words()}."
