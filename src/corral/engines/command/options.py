"""The options of a command Model, and what can be said of them before anything is started."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from corral.contracts.options import OptionKind, OptionSpec, OptionTable, with_defaults
from corral.domain.fleet import ModelSpec, OptionValue
from corral.domain.launch import LLAMA
from corral.domain.names import near_names
from corral.engines.command.pattern import pattern_problem
from corral.engines.command.placeholders import (
    ENV_WORDS,
    KEY_WORDS,
    LISTEN_WORDS,
    STOP_WORDS,
    WORDS,
    named,
)

NO_HEALTH: Final = "none"

OPTIONS: Final[OptionTable] = (
    OptionSpec(
        "command", OptionKind.COMMAND,
        "The program and its arguments, with `{port}` or `{socket}` where it shall listen. A text is split as a shell "
        "splits it, and no shell reads it.",
    ),
    OptionSpec("address", OptionKind.STR, "HOST:PORT where it always listens, when it cannot be told a port."),
    OptionSpec(
        "health", OptionKind.STR,
        "Path that answers 2xx or 3xx once it is ready. `none`: it is ready when it takes connections.", "/health",
    ),
    OptionSpec(
        "ready_pattern", OptionKind.STR,
        "Regular expression; only after a line of its output has matched is it asked for its health.",
    ),
    OptionSpec("parallel", OptionKind.INT, "Requests that it takes at the same time.", 1, (), 1, 10_000, "slots"),
    OptionSpec("base_path", OptionKind.STR, "What it has in the place of `/v1`, such as `/v3` or `/api/v1`.", "/v1"),
    OptionSpec(
        "model_name", OptionKind.STR,
        "What it calls its model: sent in `model`. Default: the Model's own name; an empty text sends what the client "
        "wrote.",
    ),
    OptionSpec(
        "speaks", OptionKind.ENUM,
        "`llama.cpp` for a llama-server: its own fields and routes are used, and their ranges checked, "
        "as for `engine: llamacpp`. `openai` for all others.", "openai", ("openai", LLAMA),
    ),
    OptionSpec("api_key", OptionKind.STR, "A key that it wants; write it as ${env.NAME}."),
    OptionSpec("stop_command", OptionKind.COMMAND, "Run to end it, before the stop signal; `{pid}` is its number."),
    OptionSpec(
        "stop_signal", OptionKind.ENUM, "Signal that asks it to end.", "SIGTERM",
        ("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGKILL"),
    ),
    OptionSpec(
        "memory", OptionKind.SIZES, "Memory that it takes: `8GiB` of RAM, or by device: `{ram: 4GiB, CUDA0: 20GiB}`."
    ),
    OptionSpec("cwd", OptionKind.PATH, "Its working directory; relative paths count from the config's folder.", "."),
    OptionSpec(
        "metrics", OptionKind.STR,
        "Path of its metrics as Prometheus text, such as `/metrics`; they are shown among Corral's own. Default: none.",
    ),
    OptionSpec(
        "ctx_size", OptionKind.INT, "Its context for one request, to show clients.", None, (), 1, None, "tokens"
    ),
)  # fmt: skip

_BY_NAME: Final = {spec.name: spec for spec in OPTIONS}
_PATH = re.compile(r"^/[^\s?#\x00-\x1f\x7f]*$")
_HEADER_SAFE = re.compile(r"^[\x21-\x7e]+$")
_EXAMPLE: Final = "[whisper-server, --port, '{port}', -m, model.bin]"


def checked(options: Mapping[str, OptionValue]) -> tuple[dict[str, OptionValue], list[str]]:
    """The options with their defaults, and a sentence for each that cannot be."""
    good: dict[str, OptionValue] = {}
    problems: list[str] = []
    for name, value in options.items():
        if name not in _BY_NAME:
            problems.append(f"options.{name} is not an option of command.")
            continue
        try:
            good[name] = _BY_NAME[name].check(value)
        except ValueError as error:
            problems.append(f"options.{error}.")
    merged = with_defaults(OPTIONS, good)
    if "command" not in merged and not problems:
        problems.append(f"A command Model needs options.command, such as {_EXAMPLE}.")
    return merged, problems


def problems_of(model: ModelSpec) -> list[str]:
    """Everything that is wrong with a Model, as sentences."""
    options, problems = checked(model.options)
    if model.binary:
        problems.append("binary has no meaning for a command Model: its program is the first word of options.command.")
    if problems:
        return problems
    problems += _single_options(options)
    problems += _placeholder_problems(model, options)
    return problems


def words_of(options: Mapping[str, OptionValue], name: str) -> tuple[str, ...]:
    """An option that is a command or a list; () where it is not set."""
    value = options.get(name, ())
    return value if isinstance(value, tuple) else (str(value),)


def address_of(options: Mapping[str, OptionValue]) -> tuple[str, int] | None:
    """Host and port of the option `address`. Raises ValueError with a sentence."""
    text = str(options.get("address", ""))
    if not text:
        return None
    match = re.fullmatch(r"(?:http://)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})/?", text)
    if match is None or not 0 < int(match[2]) < 65536:
        raise ValueError("options.address must be HOST:PORT, such as 127.0.0.1:5000")
    return match[1].strip("[]"), int(match[2])


def _single_options(options: Mapping[str, OptionValue]) -> list[str]:
    found = []
    health = str(options["health"])
    if health != NO_HEALTH and not _PATH.match(health):
        found.append("options.health must be a path that begins with a slash, or none.")
    if "metrics" in options and not _PATH.match(str(options["metrics"])):
        found.append("options.metrics must be a path that begins with a slash.")
    base_path = str(options["base_path"])
    if base_path and not _PATH.match(base_path):
        found.append("options.base_path must be a path that begins with a slash, such as /v1.")
    if "api_key" in options and not _HEADER_SAFE.match(str(options["api_key"])):
        found.append("options.api_key is empty or holds characters that a header cannot carry.")
    if "ready_pattern" in options and (why := pattern_problem(str(options["ready_pattern"]))):
        found.append(f"options.ready_pattern {why}.")
    try:
        address_of(options)
    except ValueError as error:
        found.append(f"{error}.")
    for name in ("command", "stop_command"):
        tilde = next((word for word in words_of(options, name)[1:] if word.startswith("~/")), "")
        if tilde:
            found.append(f"options.{name}: no shell reads {tilde}: write ${{env.HOME}}{tilde[1:]}.")
    program = words_of(options, "command")[0]
    if re.match(r"^[A-Za-z_][A-Za-z0-9_]*=", program):
        found.append(f"options.command begins with {program.split('=')[0]}=...: environment variables go under `env`.")
    return found


def _placeholder_problems(model: ModelSpec, options: Mapping[str, OptionValue]) -> list[str]:
    args = [str(item) for _, value in model.args for item in (value if isinstance(value, tuple) else (value,))]
    command, stop = named(words_of(options, "command")), named(words_of(options, "stop_command"))
    in_args, in_env = named(args), named(value for _, value in model.env) & ENV_WORDS
    found = [*_unknown("options.command", command, WORDS), *_unknown("args", in_args, WORDS)]
    found += _unknown("options.stop_command", stop, STOP_WORDS)
    started = command | in_args | in_env
    ways = sorted({*(started & LISTEN_WORDS), *(["address"] if "address" in options else [])})
    if not ways and not found:  # a misspelt {port} is told once
        found.append(
            "options.command never says where to listen: put {port} or {socket} into it, "
            "or set options.address to where it always listens."
        )
    elif len(ways) > 1:
        shown = " and ".join("options.address" if way == "address" else f"{{{way}}}" for way in ways)
        found.append(f"options.command: there is {shown}, but it can listen in one place only.")
    for word in sorted(stop & LISTEN_WORDS - started):
        found.append(f"options.stop_command has {{{word}}}, which the command is not given.")
    if started & KEY_WORDS and "api_key" in options:
        found.append("options.api_key is a fixed key: leave it out where {key} or {key_file} gives a fresh one.")
    if "source" in started and not model.source.given:
        found.append("options.command has {source}, but the Model has no source.")
    if model.source.given and "source" not in started:
        found.append("source has no effect: put {source} into options.command where the path shall stand.")
    return found


def _unknown(where: str, names: Iterable[str], allowed: frozenset[str]) -> list[str]:
    found = []
    for name in sorted(set(names) - allowed):
        if name == "key":
            why = "everybody on this machine can read a command line. Put {key} into `env`, or write {key_file}"
        elif name == "pid":
            why = "it is not known before the start; only stop_command can have it"
        else:
            near = near_names(name, allowed, most=1)
            known = ", ".join(f"{{{word}}}" for word in sorted(allowed))
            why = (
                f"did you mean {{{near[0]}}}?"
                if near
                else f"there are {known}. For the text itself write {{{{{name}}}}}"
            )
        found.append(f"{where} has {{{name}}}: {why.rstrip('?')}{'?' if why.endswith('?') else '.'}")
    return found
