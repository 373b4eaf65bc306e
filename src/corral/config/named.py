"""What names, paths, hosts and arguments of a config must look like, and the types that are made of them."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    WithJsonSchema,
)

from corral.config import macros
from corral.config.fields import (
    TEXTS_SCHEMA,
    EnvValue,
    texts,
)
from corral.domain.names import MODEL_NAME


def _path(value: str) -> str:
    if "\0" in value:
        raise ValueError("cannot contain a NUL character")
    return value


def _macro_name(value: str) -> str:
    if not macros.NAME.match(value):
        raise ValueError(f"{value[:60]!r} cannot be the name of a macro: letters, digits, _ and -, 64 at most")
    if value in macros.RESERVED:
        raise ValueError(f"{value!r} is a name that Corral gives; choose another")
    return value


def _arg(value: object) -> object:
    if value is None:
        return None
    if isinstance(value, list | tuple):
        if all(isinstance(item, str | int | float) and not isinstance(item, bool) for item in value):
            return tuple(value)
        raise ValueError("must be a list of texts and numbers")
    if isinstance(value, str | int | float):
        return value
    raise ValueError("must be a text, a number, true, false or a list of texts and numbers")


def _model_name(value: str) -> str:
    if not MODEL_NAME.match(value):
        raise ValueError(
            f"{value[:60]!r} cannot be a name: begin with a letter or a digit, go on with those and . _ : / @ + -"
        )
    return value


def _by_task(value: object) -> object:
    return {"chat": value} if isinstance(value, str) else value


def _variable_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        raise ValueError(f"{value[:60]!r} cannot be the name of an environment variable")
    return value


def _origin(value: str) -> str:
    if not re.fullmatch(r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?", value):
        raise ValueError(f"{value[:60]!r} must be an origin such as http://10.0.0.5:8000: no path, no user")
    value = value.rstrip("/").lower()
    return _without_port(value, {"http": "80", "https": "443"}[value.partition(":")[0]])


def _without_port(value: str, *usual: str) -> str:
    """As requests are compared with it: the usual port is not written."""
    found = re.search(r":([0-9]{1,5})$", value)
    if found is None:
        return value
    port = int(found[1])
    if not 0 < port <= 65535:
        raise ValueError(f"{value[:60]!r} cannot have port {port}: they go from 1 to 65535")
    plain = value[: found.start()]
    return plain if str(port) in usual else f"{plain}:{port}"


def _endpoint(value: str) -> str:
    if value and not re.fullmatch(r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[^?#@\s]*)?", value):
        raise ValueError(f"{value[:60]!r} must be an address such as https://hub.example.org, without a user in it")
    return value.rstrip("/")


def _host(value: str) -> str:
    if not re.fullmatch(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?", value):
        raise ValueError(f"{value[:60]!r} cannot be a host: write huggingface.co, or host:port")
    return _without_port(value.lower(), "80", "443")


def _token(value: str) -> str:
    if not all(33 <= ord(char) <= 126 for char in value):
        raise ValueError("must be a token: printable ASCII without spaces")
    return value


FilePath = Annotated[str, AfterValidator(_path)]
Origin = Annotated[str, AfterValidator(_origin)]
Endpoint = Annotated[str, AfterValidator(_endpoint)]
Host = Annotated[str, AfterValidator(_host)]
Token = Annotated[str, AfterValidator(_token)]
ModelName = Annotated[str, AfterValidator(_model_name)]
Names = Annotated[tuple[ModelName, ...], BeforeValidator(texts), WithJsonSchema(TEXTS_SCHEMA)]
Task = Literal["chat", "completion", "embeddings", "rerank", "transcription", "speech", "images"]
ByTask = Annotated[
    dict[Task, ModelName],
    BeforeValidator(_by_task),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {
                    "type": "object",
                    "properties": {task: {"type": "string"} for task in get_args(Task)},
                    "additionalProperties": False,
                },
            ]
        }
    ),
]
Arg = Annotated[
    Any,
    BeforeValidator(_arg),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": ["string", "number", "boolean", "null"]},
                {"type": "array", "items": {"type": ["string", "number"]}},
            ]
        }
    ),
]
Args = dict[str, Arg]
Env = dict[Annotated[str, AfterValidator(_variable_name)], EnvValue | None]
Options = dict[str, Any]
Macros = dict[Annotated[str, AfterValidator(_macro_name)], Any]


Capability = Literal["chat", "completion", "embeddings", "rerank", "tools", "reasoning", "infill", "vision", "audio"]


LoadingState = Annotated[
    Literal["reasoning", "comment", "off"],
    BeforeValidator(lambda value: "off" if value is False else value),  # what YAML makes of a bare off
    WithJsonSchema({"enum": ["reasoning", "comment", "off", False]}),
]
