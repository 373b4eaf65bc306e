"""The kinds of value that a config has beside plain text: sizes, durations, counts, booleans, lists of text."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from corral.config.document import EnvText
from corral.domain.units import FOREVER, format_bytes, format_duration, parse_bytes, parse_duration

_DURATION = {
    "anyOf": [
        {"type": "number", "minimum": 0},
        {"type": "string", "pattern": r"^\s*([0-9]+(\.[0-9]+)?(ms|s|m|h|d)?)+\s*$"},
        {"const": "never"},
    ]
}
_FINITE = {"anyOf": _DURATION["anyOf"][:2]}
_SIZE = {
    "anyOf": [
        {"type": "integer", "minimum": 0},
        {"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*([kKmMgGtT]?[iI]?[bB]?)\s*$"},
    ]
}
_SWITCH = {"anyOf": [{"type": "boolean"}, {"enum": ["on", "off", "yes", "no"]}]}
TEXTS_SCHEMA = {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]}


def _shown(value: object) -> str:
    text = repr(str(value)) if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _duration(value: object) -> float:
    if not isinstance(value, str | int | float):
        raise ValueError(f"must be a duration such as 30s or 10m, not {_shown(value)}")
    return parse_duration(value)


def _finite(value: object) -> float:
    seconds = _duration(value)
    if seconds == FOREVER:
        raise ValueError("must end some time: write a duration such as 10m, or a long one such as 7d")
    return seconds


def _timeout(value: object) -> float:
    seconds = _finite(value)
    if seconds <= 0:
        raise ValueError("must be longer than 0")
    return seconds


def _size(value: object) -> int:
    if not isinstance(value, str | int):
        raise ValueError(f"must be a size such as 4GiB, not {_shown(value)}")
    return parse_bytes(value)


def _budget(value: object) -> int | str:
    if value in ("auto", "unlimited"):
        return str(value)
    try:
        return _size(value)
    except ValueError as error:
        raise ValueError(f"must be auto, unlimited or a size: {error}") from None


def _count(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(f"must be a whole number, not {str(value).lower()}")
    return value


def _switch(value: object) -> bool:
    """YAML 1.2 has only true and false; people also write what YAML 1.1 took."""
    if isinstance(value, bool):
        return value
    word = value.lower() if isinstance(value, str) else value
    if word in ("true", "on", "yes") or (isinstance(value, EnvText) and word == "1"):
        return True
    if word in ("false", "off", "no") or (isinstance(value, EnvText) and word in ("0", "")):
        return False
    raise ValueError(f"must be true or false, not {_shown(value)}")


def texts(value: object) -> object:
    if isinstance(value, EnvText):
        return tuple(item.strip() for item in value.split(",") if item.strip())
    if isinstance(value, str):
        return (value,)
    return value


Duration = Annotated[float, BeforeValidator(_duration), PlainSerializer(format_duration), WithJsonSchema(_DURATION)]
"""Seconds, or `never`."""
Finite = Annotated[float, BeforeValidator(_finite), PlainSerializer(format_duration), WithJsonSchema(_FINITE)]
"""Seconds; never is refused."""
Timeout = Annotated[float, BeforeValidator(_timeout), PlainSerializer(format_duration), WithJsonSchema(_FINITE)]
"""Seconds, more than 0; never is refused."""
Size = Annotated[int, BeforeValidator(_size), PlainSerializer(format_bytes), WithJsonSchema(_SIZE)]
"""Bytes."""
Budget = Annotated[
    int | str,
    BeforeValidator(_budget),
    PlainSerializer(lambda value: value if isinstance(value, str) else format_bytes(value)),
    WithJsonSchema({"anyOf": [{"enum": ["auto", "unlimited"]}, *_SIZE["anyOf"]]}),
]
"""Bytes, or a word."""
Count = Annotated[int, BeforeValidator(_count)]
"""A whole number; `true` is none."""
Switch = Annotated[bool, BeforeValidator(_switch), WithJsonSchema(_SWITCH)]
"""true or false; on, off, yes, no and, from the environment, 1 and 0 are taken as well."""
Texts = Annotated[tuple[str, ...], BeforeValidator(texts), WithJsonSchema(TEXTS_SCHEMA)]
"""A list of texts; one text alone is a list of one, text from the environment is split at commas."""
Port = Annotated[Count, Field(ge=0, le=65535)]


def environment_value(value: Any) -> str:
    """The text of one environment variable for an engine. Only what has one spelling may stand without quotes."""
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("cannot contain a NUL character")
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"must be a text; write it in quotes, not as {_shown(value)}")


EnvValue = Annotated[
    str, BeforeValidator(environment_value), WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer"}]})
]
