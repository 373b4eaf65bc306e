"""Why a command Model did not start."""

from __future__ import annotations

from typing import Any

import pytest

from corral.domain.fleet import ModelSpec
from corral.domain.launch import Endpoint, ExitKind, ExitStatus
from corral.engines.command import CommandEngine

AT = Endpoint(host="127.0.0.1", port=4242, health="/health")
MODEL = ModelSpec("m", engine="command", options={"command": ("x", "{port}")})


def told(exit: ExitStatus | None, *log: str, listens: tuple[str, ...] = (), **options: Any) -> str:
    model = ModelSpec("m", engine="command", options={**MODEL.options, **options})
    return CommandEngine().diagnose(model, exit, log, endpoint=AT, listens=listens).sentence()


@pytest.mark.parametrize(
    ("options", "listens", "says"),
    [
        ({}, (), 'Nothing answered GET http://127.0.0.1:4242/health within 600 s. It last said "loading".'),
        ({}, ("127.0.0.1:8000",), "listens on 127.0.0.1:8000, not on 127.0.0.1:4242"),
        ({}, ("127.0.0.1:8000",), "Pass {port} in options.command"),
        ({"address": "127.0.0.1:4242"}, ("[::]:8000",), "Correct options.address."),
        ({}, ("127.0.0.1:4242",), "The program listens, but GET /health did not answer 200"),
        ({}, ("0.0.0.0:4242", "127.0.0.1:99"), "The program listens, but"),
        ({"health": "none"}, (), "did not listen on 127.0.0.1:4242"),
        ({"ready_pattern": "done"}, (), "No line of its output matched ready_pattern 'done'"),
    ],
)
def test_never_ready(options: dict[str, Any], listens: tuple[str, ...], says: str) -> None:
    assert says in told(None, "\x1b[32mloading\x1b[0m\r", "", listens=listens, **options)


@pytest.mark.parametrize(
    ("exit", "line", "says"),
    [
        (ExitStatus(ExitKind.EXITED, code=2), "error: no --foo", 'before it was ready. It last said "error'),
        (ExitStatus(ExitKind.EXITED, code=0), "", "stay in the foreground"),
        (ExitStatus(ExitKind.EXITED, code=127), "sh: x: not found", "names a program that cannot be run (code 127)"),
        (ExitStatus(ExitKind.SIGNALLED, signal=11), "", "ended by SIGSEGV before it was ready. It said nothing."),
        (ExitStatus(ExitKind.SIGNALLED, signal=99), "", "ended by signal 99"),
        (ExitStatus(ExitKind.OOM_KILLED, signal=9), "", "the machine's memory"),
        (ExitStatus(ExitKind.STOPPED), "", "was stopped"),
        (ExitStatus(ExitKind.LOST), "", "nobody saw why"),
        (ExitStatus(ExitKind.EXITED, code=1), "torch.OutOfMemoryError: CUDA out of memory.", "run out of memory"),
    ],
)  # fmt: skip
def test_ended(exit: ExitStatus, line: str, says: str) -> None:
    assert says in told(exit, line)


@pytest.mark.parametrize(
    "line",
    [
        "OSError: [Errno 98] error while attempting to bind on address: address already in use",
        "listen EADDRINUSE: address already in use 127.0.0.1:1", "couldn't bind to server socket: hostname=x",
        "bind: Address already in use", "docker: Error: port is already allocated.", "Port 5000 is in use",
    ],
)  # fmt: skip
def test_a_taken_address_is_tried_again_elsewhere_unless_it_is_fixed(line: str) -> None:
    exit = ExitStatus(ExitKind.EXITED, code=1)
    engine = CommandEngine()
    assert engine.diagnose(MODEL, exit, [line], endpoint=AT).address_taken
    fixed = ModelSpec("m", options={"command": ("x",), "address": "127.0.0.1:4242"})
    error = engine.diagnose(fixed, exit, [line], endpoint=AT)
    assert not error.address_taken and "127.0.0.1:4242: it is taken" in error.message


def test_memory_is_told_apart() -> None:
    engine, exit = CommandEngine(), ExitStatus(ExitKind.EXITED, code=1)
    assert engine.diagnose(MODEL, exit, ["CUDA out of memory"]).memory
    assert engine.diagnose(MODEL, ExitStatus(ExitKind.OOM_KILLED, signal=9), []).memory
    assert not engine.diagnose(MODEL, exit, ["all is well"]).memory


def test_the_log_is_cut_and_plain() -> None:
    error = CommandEngine().diagnose(MODEL, None, ["\x1b[1m" + "x" * 9999] * 50)
    assert len(error.log_tail) == 20 and all(len(line) == 500 for line in error.log_tail)
    assert len(error.message) < 500
