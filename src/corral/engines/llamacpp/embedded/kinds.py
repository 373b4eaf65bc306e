"""
How a value of an option becomes fields of the wheel's CommonParams: the ways that there are. Pure.

A field is a dotted path; its value is plain JSON, or a list that begins with its kind (`enum`, `file`, ...), which the
worker turns into an object of the wheel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from corral.domain.fleet import OptionValue
from corral.engines.llamacpp.checks import listed

Fields = dict[str, Any]
Setter = Callable[[OptionValue], Fields]

_MIB: Final = 1024**2
_SPLITS: Final = 128  # tensor_split and fit_params_target are arrays of this fixed length
_CPUS: Final = 512  # bits of a CPU mask
EXPERTS: Final = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps"  # llama.cpp: LLM_FFN_EXPS_REGEX


def same(path: str) -> Setter:
    return lambda value: {path: value}


def negated(path: str) -> Setter:
    return lambda value: {path: value is not True}


def enum(path: str, cls: str, members: dict[str, str]) -> Setter:
    return lambda value: {path: ["enum", cls, members[str(value)]]}


def named(path: str, cls: str, prefix: str, *words: str) -> Setter:
    """An enumeration whose members are a prefix and the word in capitals."""
    return enum(path, cls, {word: prefix + word.upper().replace("-", "_") for word in words})


def layers(path: str) -> Setter:
    return lambda value: {path: {"auto": -1, "all": -2}.get(str(value), value)}


def floats(value: OptionValue) -> list[float]:
    return [float(part) for part in words(value)]


def padded(values: list[float]) -> list[float]:
    return (values + [0.0] * _SPLITS)[:_SPLITS]


def fit_target(value: OptionValue) -> Fields:
    sizes = [int(number * _MIB) for number in floats(value)] or [1024 * _MIB]
    sizes += sizes[-1:] * _SPLITS if len(sizes) == 1 else [1024 * _MIB] * _SPLITS  # one value is for all devices
    return {"fit_params_target": sizes[:_SPLITS]}


def words(value: OptionValue) -> list[str]:
    return [part for part in listed(value) if part]


def cache_type(path: str) -> Setter:
    return lambda value: {path: ["enum", "ggml_type", f"GGML_TYPE_{str(value).upper()}"]}


def experts(layers: int) -> str:
    """Expert tensors of the first layers, as llama.cpp itself names them for `--n-cpu-moe`."""
    return ",".join(f"blk\\.{layer}{EXPERTS}=CPU" for layer in range(layers))


def mask(value: OptionValue) -> list[bool]:
    bits = int(str(value), 16)
    return [bool(bits >> cpu & 1) for cpu in range(_CPUS)]


def span(value: OptionValue) -> list[bool]:
    first, last = (int(part) for part in str(value).split("-"))
    return [first <= cpu <= last for cpu in range(_CPUS)]


def priority(path: str) -> Setter:
    words = {-1: "LOW", 0: "NORMAL", 1: "MEDIUM", 2: "HIGH", 3: "REALTIME"}
    return lambda value: {path: ["enum", "ggml_sched_priority", f"GGML_SCHED_PRIO_{words[int(str(value))]}"]}


def grammar(kind: str, text: object) -> Fields:
    return {
        "sampling.grammar.type": ["enum", "common_grammar_type", f"COMMON_GRAMMAR_TYPE_{kind}"],
        "sampling.grammar.grammar": text,
    }


def folder(path: str) -> Setter:
    return lambda value: {path: str(value).rstrip("/") + "/"}


def timeout(value: OptionValue) -> Fields:
    return {"timeout_read": value, "timeout_write": value}


def when(value: OptionValue, fields: Fields) -> Fields:
    """Fields of a switch that the command line has only in one direction."""
    return fields if value is True else {}
