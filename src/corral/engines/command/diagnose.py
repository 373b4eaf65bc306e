"""Why a command Model did not start: from where it listens, what it said and how it ended, in that order."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from typing import Final

from corral.domain.errors import StartFailed
from corral.domain.fleet import ModelSpec, OptionValue
from corral.domain.launch import Endpoint, ExitKind, ExitStatus
from corral.engines.command.options import NO_HEALTH
from corral.engines.command.placeholders import LISTEN_WORDS, named

TAIL_LINES: Final = 20
_LINE_LIMIT: Final = 500
_TAKEN = re.compile(
    r"(?i)address already in use|address in use|EADDRINUSE|only one usage of each socket address"
    r"|(?:couldn't|could not|cannot|failed to|unable to) bind|port \d+ is (?:already )?(?:in use|taken|allocated)"
    r"|port is already allocated"
)
_MEMORY = re.compile(
    r"(?i)out of memory|OutOfMemoryError|std::bad_alloc|cannot allocate memory|MemoryError\b|failed to allocate"
)
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


def diagnose(
    model: ModelSpec,
    options: Mapping[str, OptionValue],
    exit: ExitStatus | None,
    log: Sequence[str],
    *,
    endpoint: Endpoint | None,
    listens: Sequence[str],
) -> StartFailed:
    """The error for a start that failed. `exit` None means that it never became ready."""
    tail = tuple(_plain(line)[:_LINE_LIMIT] for line in log[-TAIL_LINES:])
    last = next((line for line in reversed(tail) if line.strip()), "").strip()[:300]
    said = f' It last said "{last}".' if last else " It said nothing."
    if exit is None:
        message, hint = _never_ready(model, options, log, said, endpoint, listens)
        return StartFailed(message, hint=hint, log_tail=tail)
    if exit.kind in (ExitKind.EXITED, ExitKind.SIGNALLED) and any(_TAKEN.search(line) for line in log):
        where = f"{endpoint.host}:{endpoint.port}" if endpoint is not None and endpoint.port else "its address"
        if "address" in options:
            return StartFailed(
                f"The program could not listen at {where}: it is taken.{said}",
                hint="End what listens there, or correct options.address.",
                log_tail=tail,
            )
        return StartFailed(
            f"The program could not listen at {where}: another one was faster.{said}",
            hint="Try again: each start has an address of its own.",
            log_tail=tail,
            address_taken=True,
        )
    message, hint, permanent = _ended(exit, said)
    memory = exit.kind in (ExitKind.EXITED, ExitKind.SIGNALLED) and any(_MEMORY.search(line) for line in log)
    if memory:
        hint = "It seems to have run out of memory: unload other Models, or make this one smaller."
    memory = memory or exit.kind is ExitKind.OOM_KILLED
    return StartFailed(message, hint=hint, log_tail=tail, permanent=permanent, memory=memory)


def _never_ready(
    model: ModelSpec,
    options: Mapping[str, OptionValue],
    log: Sequence[str],
    said: str,
    endpoint: Endpoint | None,
    listens: Sequence[str],
) -> tuple[str, str]:
    wanted = "" if endpoint is None else endpoint.socket or f"{endpoint.host}:{endpoint.port}"
    within = f"within {model.timeouts.load_s:g} s"
    if wanted and listens and not _listens_there(endpoint, listens):
        shown = " and ".join(listens[:3])
        if "address" in options:
            return f"The program listens on {shown}, not on {wanted}.{said}", "Correct options.address."
        word = next(iter(named(str(item) for item in _all_texts(model, options)) & LISTEN_WORDS), "port")
        return (
            f"The program listens on {shown}, not on {wanted}.{said}",
            f"Pass {{{word}}} in options.command by the flag that the program wants for it.",
        )
    pattern = str(options.get("ready_pattern", ""))
    if pattern and not any(re.search(pattern, line[:_LINE_LIMIT]) for line in log):
        return f"No line of its output matched ready_pattern {pattern!r} {within}.{said}", _slow(said)
    health = str(options["health"])
    if health == NO_HEALTH:
        return f"The program did not listen on {wanted} {within}.{said}", _slow(said)
    if endpoint is not None and _listens_there(endpoint, listens):
        return f"The program listens, but GET {health} did not answer 200 {within}.{said}", (
            "Set options.health to a path that answers 2xx once it is ready, or to none."
        )
    where = f"unix:{wanted} {health}" if endpoint is not None and endpoint.socket else f"http://{wanted}{health}"
    return f"Nothing answered GET {where} {within}.{said}", _slow(said)


def _slow(said: str) -> str:
    return "If it only takes longer, raise timeouts.load."


def _listens_there(endpoint: Endpoint | None, listens: Sequence[str]) -> bool:
    if endpoint is None:
        return False
    if endpoint.socket:
        return f"unix:{endpoint.socket}" in listens
    return any(place.rpartition(":")[2] == str(endpoint.port) for place in listens)


def _all_texts(model: ModelSpec, options: Mapping[str, OptionValue]) -> list[object]:
    command = options.get("command", ())
    words: list[object] = [*(command if isinstance(command, tuple) else ())]
    return [*words, *(value for _, value in model.args), *(value for _, value in model.env)]


def _ended(exit: ExitStatus, said: str) -> tuple[str, str, bool]:
    """A sentence, a fix, and whether the same start can never work."""
    if exit.kind is ExitKind.OOM_KILLED:
        return (
            "The program was killed because the machine's memory, or the memory limit, was full.",
            "Unload other Models, or make this one smaller.",
            False,
        )
    if exit.kind is ExitKind.STOPPED:
        return "The program was stopped before it was ready.", "", False
    if exit.kind is ExitKind.LOST:
        return f"The program is gone and nobody saw why.{said}", "Look at the system log.", False
    if exit.kind is ExitKind.SIGNALLED:
        return f"The program was ended by {_signal(exit.signal or 0)} before it was ready.{said}", "", False
    if exit.code == 0:
        return (
            f"The program ended with code 0 before it was ready.{said}",
            "It has to stay in the foreground: leave out a flag such as --daemon or -d, and in a script `exec` it.",
            False,
        )
    if exit.code in (126, 127):
        return f"Its script names a program that cannot be run (code {exit.code}).{said}", "Correct the script.", True
    return f"The program ended with code {exit.code} before it was ready.{said}", "", False


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _plain(line: str) -> str:
    return _COLOUR.sub("", line)
