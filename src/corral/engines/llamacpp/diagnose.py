"""
Why a start failed: a sentence, a fix, and the last lines of the log.

A known string in the log decides (`failures`); without one it is told how the engine ended and what it last said.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Sequence
from typing import Final

from corral.domain.errors import StartFailed
from corral.domain.launch import ExitKind, ExitStatus
from corral.engines.llamacpp.failures import RULES, Rule

TAIL_LINES: Final = 20
_LINE_LIMIT: Final = 500
_PREFIX = re.compile(r"^(?:\d+\.\d+\.\d+\.\d+\s+)?(?:[IWED]\s+)?")
_NOISE = re.compile(
    r"cleaning up before exit|exiting due to model loading error|failed to load model|common_init_|common_fit_params"
    r"|Failed to init server|^\s*$|^usage:|to show complete usage"
    # what a debugger says that llama.cpp calls to show its stack
    r"|^\[(?:Inferior|New LWP|Thread debugging)|^#\d+ |libthread_db|^warning: process|ptrace|terminate called after"
)
_ERROR = re.compile(r"^(?:\d+\.\d+\.\d+\.\d+\s+)?E\s|^error\b|GGML_ASSERT")
_REPACK = re.compile(r"AMX_INT8 = 1|AMX (?:model )?buffer|/amx/|ggml[-_]amx|repack\.(?:cpp|h)")
_ASSERT = re.compile(r"GGML_ASSERT\((?P<what>.*?)\) failed|GGML_ASSERT")
_MEMORY_FIX: Final = "Choose a smaller quantisation, lower ctx_size, or unload other Models."
_CRASHES: Final = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE})


def diagnose(exit: ExitStatus | None, log: Sequence[str]) -> StartFailed:
    """The error for a start that failed. `exit` None means that it never became ready."""
    tail = tuple(line[:_LINE_LIMIT] for line in log[-TAIL_LINES:])
    sure = exit is not None and exit.kind in (ExitKind.OOM_KILLED, ExitKind.STOPPED)  # needs no words of the engine
    known = None if sure else _by_log(log)
    if known is not None:
        message, rule = known
        return StartFailed(message, hint=rule.fix, log_tail=tail, permanent=rule.permanent, memory=rule.memory)
    message, hint, permanent = _by_exit(exit, log)
    memory = exit is not None and exit.kind is ExitKind.OOM_KILLED
    return StartFailed(message, hint=hint, log_tail=tail, permanent=permanent, memory=memory)


def _by_log(log: Sequence[str]) -> tuple[str, Rule] | None:
    text = "\n".join(log)
    for rule in RULES:
        match = rule.pattern.search(text)
        if match:
            groups = {name: (value or "").strip().rstrip(".") for name, value in match.groupdict().items()}
            return rule.says.format(**groups), rule
    return None


def _by_exit(exit: ExitStatus | None, log: Sequence[str]) -> tuple[str, str, bool]:
    last = last_meaningful(log)
    said = f" It last said: {last}" if last else " It said nothing."
    if exit is None:
        return f"The engine did not become ready in time.{said}", "Raise the Model's load timeout.", False
    if exit.kind is ExitKind.OOM_KILLED:
        return "The engine was killed because the machine's memory, or the memory limit, was full.", _MEMORY_FIX, False
    if exit.kind is ExitKind.STOPPED:
        return "The engine was stopped before it was ready.", "", False
    if exit.kind is ExitKind.LOST:
        return f"The engine is gone and nobody saw why.{said}", "Look at the system log.", False
    if exit.kind is ExitKind.SIGNALLED:
        return _by_signal(exit.signal or 0, log, said)
    if any(_ASSERT.search(line) for line in log):
        return _crash("stopped at an internal check", log, said)
    if exit.code in (126, 127):
        return f"The engine's program could not be run.{said}", "Check `binary`.", True
    return f"The engine ended with code {exit.code} before it was ready.{said}", "", False


def _by_signal(number: int, log: Sequence[str], said: str) -> tuple[str, str, bool]:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    if number == signal.SIGKILL:
        return (
            f"The engine was killed (SIGKILL) while it loaded.{said}",
            f"If the machine was short of memory: {_MEMORY_FIX[0].lower()}{_MEMORY_FIX[1:]}",
            False,
        )
    if number == signal.SIGILL:
        return (
            f"The engine uses instructions that this processor does not have (SIGILL).{said}",
            "Use a llama-server that was built for this machine.",
            True,
        )
    if number in _CRASHES:
        return _crash(f"crashed ({name})", log, said)
    return f"The engine was ended by {name} before it was ready.{said}", "", False


def _crash(how: str, log: Sequence[str], said: str) -> tuple[str, str, bool]:
    """Weight repacking for AMX crashes at b11434 for several types; `--no-repack` loads them all."""
    if any(_REPACK.search(line) for line in log):
        return (
            f"The engine {how} while it loaded; rearranging weights for this processor is a known cause.{said}",
            "Set options.repack to false.",
            False,
        )
    return (
        f"The engine {how} while it loaded.{said}",
        "Try options.repack: false, another build, or another quantisation of the model.",
        False,
    )


def last_meaningful(log: Iterable[str]) -> str:
    """The last line that says something, without its time stamp; the last error line where there is one."""
    lines = [line for line in log if line.strip() and not _NOISE.search(line)]
    errors = [line for line in lines if _ERROR.search(line)]
    chosen = errors[-1] if errors else lines[-1] if lines else ""
    return _PREFIX.sub("", chosen).strip()[:300]
