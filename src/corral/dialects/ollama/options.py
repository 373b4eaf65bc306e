"""
`options` of Ollama's requests: those of one answer by their OpenAI names, those of a load by llama.cpp's.

As with Ollama, a name that is not known is passed over, a number with a fraction is taken for a whole one, null says
nothing, and a value of a wrong type is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from corral.domain.errors import BadRequest
from corral.domain.fleet import OptionValue

_MOST: Final = 2**31 - 1
_INTS: Final = (
    "num_keep", "seed", "num_predict", "top_k", "repeat_last_n",
    "num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "draft_num_predict",
)  # fmt: skip
_FLOATS: Final = (
    "top_p", "min_p", "typical_p", "temperature", "repeat_penalty", "presence_penalty", "frequency_penalty",
)  # fmt: skip
_SAME: Final = frozenset({"top_k", "repeat_last_n", *_FLOATS})
"""Engines know these by the same name."""
_LEAST_CONTEXT: Final = 4
_SHOWN: Final = 50
_RANDOM: Final = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Options:
    """
    What `options` say. `extra` are fields of one answer, `load` is what to start the engine with, `unknown` the names
    that mean nothing here. `max_tokens` None is no bound: negative numbers mean that.
    """

    extra: Mapping[str, Any] = field(default_factory=dict)
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    load: Mapping[str, OptionValue] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


def options_of(given: Mapping[str, Any] | None, *, context_tokens: int | None = None) -> Options:
    """`context_tokens` is what one request may use, where that is known. Raises BadRequest."""
    if not given:
        return Options()
    said: dict[str, Any] = {}
    unknown = []
    for name, value in given.items():
        if name not in _CHECKS:
            unknown.append(name[:_SHOWN])
        elif value is not None:
            said[name] = _CHECKS[name](name, value)
    extra = {name: value for name, value in said.items() if name in _SAME}
    if extra.get("repeat_last_n", 0) < 0:  # all of the context, for which llama.cpp has no number
        extra["repeat_last_n"] = max(0, said.get("num_ctx", 0)) or context_tokens or -1
    if said.get("seed", -1) >= 0:
        extra["seed"] = said["seed"]
    if "num_keep" in said:
        extra["n_keep"] = said["num_keep"]
    most = said.get("num_predict", -1)
    return Options(extra, most if most >= 0 else None, said.get("stop", ()), _load(said), tuple(unknown))


def _load(said: Mapping[str, Any]) -> dict[str, OptionValue]:
    found: dict[str, OptionValue] = {}
    if "num_ctx" in said:
        found["ctx_size"] = max(_LEAST_CONTEXT, said["num_ctx"])
    if said.get("num_batch", 0) > 0:
        found["batch_size"] = said["num_batch"]
    if "num_gpu" in said:
        found["n_gpu_layers"] = said["num_gpu"] if said["num_gpu"] >= 0 else "auto"
    if said.get("main_gpu", -1) >= 0:
        found["main_gpu"] = said["main_gpu"]
    if "use_mmap" in said:
        found["load_mode"] = "mmap" if said["use_mmap"] else "none"
    if "num_thread" in said:
        found["threads"] = said["num_thread"] if said["num_thread"] > 0 else -1
    if said.get("draft_num_predict", -1) >= 0:
        found["draft_max"] = said["draft_num_predict"]
    return found


def _wrong(name: str, kind: str) -> BadRequest:
    return BadRequest(f'option "{name}" must be of type {kind}')


def _int(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(name, "integer")
    if not -_MOST <= value <= 2 * _MOST + 1:
        raise BadRequest(f'option "{name}" is out of range')
    return int(value)


def _seed(name: str, value: object) -> int:
    """Clients draw them from 63 bits; an engine's have 32, of which the highest means a random one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(name, "integer")
    if not -(2**63) <= value < 2**63:
        raise BadRequest(f'option "{name}" is out of range')
    return int(value) % _RANDOM if value >= 0 else -1


def _float(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(name, "float32")
    if not -3.4e38 <= value <= 3.4e38:
        raise BadRequest(f'option "{name}" is out of range')
    return value


def _bool(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _wrong(name, "boolean")
    return value


def _texts(name: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list):
        raise _wrong(name, "array")
    if not all(isinstance(each, str) for each in value):
        raise BadRequest(f'option "{name}" must be of an array of strings')
    return tuple(value)


_CHECKS: Final[dict[str, Any]] = {
    **dict.fromkeys(_INTS, _int),
    **dict.fromkeys(_FLOATS, _float),
    "seed": _seed,
    "use_mmap": _bool,
    "stop": _texts,
}
