"""The kinds of value that a config has beside plain text: sizes, durations, counts, booleans, lists of text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, Union

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from corral.config.document import EnvText, GivenText
from corral.config.problems import Keys
from corral.domain.units import FOREVER, parse_bytes, parse_duration

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


_SECRET_NAME = re.compile(r"(^|_)(KEY|TOKEN|SECRET|PASSWORD)$", re.IGNORECASE)


def is_secret(keys: Keys) -> bool:
    """True for a place whose value is never shown."""
    if keys[:2] == ("server", "keys"):
        return keys[-1] == "key"
    if keys[:2] == ("store", "tokens"):
        return True
    return any(key in ("env", "options", "args", "macros") for key in keys[:-1]) and bool(
        _SECRET_NAME.search(str(keys[-1]))
    )


def hidden(value: object) -> bool:
    """True for text that a template took out of the environment, where anything may be a secret."""
    return isinstance(value, EnvText) and not isinstance(value, GivenText)


def shown(value: object) -> str:
    """A value as the file writes it, cut short; text from the environment is not shown, it may be a secret."""
    if hidden(value):
        return "the text that the environment has there"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _duration(value: object) -> float:
    if not isinstance(value, str | int | float):
        raise ValueError(f"must be a duration such as 30s or 10m, not {shown(value)}")
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
        raise ValueError(f"must be a size such as 4GiB, not {shown(value)}")
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
    raise ValueError(f"must be true or false, not {shown(value)}")


def texts(value: object) -> object:
    if isinstance(value, EnvText):
        return tuple(item.strip() for item in value.split(",") if item.strip())
    if isinstance(value, str):
        return (value,)
    return value


def exact_duration(seconds: float) -> str | float:
    """As short as it can be written without losing anything: `10m`, `1h30m`, `never`."""
    if seconds == FOREVER:
        return "never"
    if seconds == 0 or seconds != int(seconds):
        return f"{seconds * 1000:g}ms" if seconds and seconds * 1000 == int(seconds * 1000) else seconds
    rest, text = int(seconds), ""
    for unit, size in (("h", 3600), ("m", 60), ("s", 1)):
        if rest >= size:
            text += f"{rest // size}{unit}"
            rest %= size
    return text


def exact_size(count: int) -> str | int:
    """`64MiB` where that is the whole truth, else the number of bytes."""
    for unit, size in (("TiB", 1024**4), ("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if count and count % size == 0:
            return f"{count // size}{unit}"
    return count


Duration = Annotated[float, BeforeValidator(_duration), PlainSerializer(exact_duration), WithJsonSchema(_DURATION)]
"""Seconds, or `never`."""
Finite = Annotated[float, BeforeValidator(_finite), PlainSerializer(exact_duration), WithJsonSchema(_FINITE)]
"""Seconds; never is refused."""
Timeout = Annotated[float, BeforeValidator(_timeout), PlainSerializer(exact_duration), WithJsonSchema(_FINITE)]
"""Seconds, more than 0; never is refused."""
Size = Annotated[int, BeforeValidator(_size), PlainSerializer(exact_size), WithJsonSchema(_SIZE)]
"""Bytes."""
Budget = Annotated[
    int | str,
    BeforeValidator(_budget),
    PlainSerializer(lambda value: value if isinstance(value, str) else exact_size(value)),
    WithJsonSchema({"anyOf": [{"enum": ["auto", "unlimited"]}, *_SIZE["anyOf"]]}),
]
"""Bytes, or a word."""
T = TypeVar("T")
ByDevice = Union[T, dict[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.:-]*$")], T]]  # noqa: UP007
"""One value, or one for each device by name."""
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
    raise ValueError(f"must be a text; write it in quotes, not as {shown(value)}")


EnvValue = Annotated[
    str, BeforeValidator(environment_value), WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer"}]})
]
