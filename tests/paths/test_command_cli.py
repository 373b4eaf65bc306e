"""A command Model from a config file: the command line treats it as any other, over a kill of Corral as well."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from tests.paths.shell_kit import WAIT_S, Shell, shell

__all__ = ["shell"]  # a fixture


def config(home: Path, *, keep: bool = False, **options: object) -> None:
    command = f"'{sys.executable}' -m corral.fakes.engine_program --port {{port}} --name {{model}}"
    text = {
        "models": {
            "any": {
                "engine": "command",
                "aliases": ["other"],
                "options": {"command": command, "memory": {"ram": "100MiB"}, **options},
                "env": {"PYTHONPATH": os.pathsep.join(sys.path)},
            }
        },
        **({"on_exit": "keep", "keep_for": "30s"} if keep else {}),
    }
    (home / "corral.yaml").write_text(yaml.safe_dump(text))


def rows(shell: Shell) -> dict[str, object]:
    (row,) = json.loads(shell.run("ps", "--json").stdout)
    return dict(row)


def pid_of(shell: Shell) -> int:
    pids = rows(shell)["pids"]
    assert isinstance(pids, list)
    return int(pids[0])


def killed(shell: Shell, server: psutil.Process) -> None:
    """Kill Corral, and wait until its engines are gone too, or kept."""
    server.send_signal(signal.SIGKILL)
    server.wait(WAIT_S)


def test_a_macro_may_say_where_to_listen(shell: Shell, engines: None) -> None:
    """Each Model that a macro is used in has a port and a name of its own in it."""
    program = [sys.executable, "-m", "corral.fakes.engine_program"]
    models = {
        "one": {"engine": "command", "options": {"command": [*program, "${at}", "--name", "{model}"]}},
        "two": {"engine": "command", "options": {"command": "${as-text}"}},
    }
    text = {
        "macros": {
            "program": f"'{sys.executable}' -m corral.fakes.engine_program",
            "at": "--port={port}",
            "as-text": "${program} ${at} --name ${who}",
            "who": "{model}",
        },
        "defaults": {"env": {"command": {"PYTHONPATH": os.pathsep.join(sys.path)}}},
        "models": models,
    }
    (shell.home / "corral.yaml").write_text(yaml.safe_dump(text))
    with shell.serving():
        said = [shell.run("run", name, "hello").stdout for name in models]
        running = json.loads(shell.run("ps", "--json").stdout)
    assert said == ["I am one.\n", "I am two.\n"]
    assert {row["model"] for row in running} == set(models), "both run: they listen at different ports"


@pytest.fixture
def engines(shell: Shell) -> Iterator[None]:
    """Nothing of this home is left behind."""
    yield
    for process in shell.processes():
        process.kill()
    psutil.wait_procs(shell.processes(), timeout=WAIT_S)


def test_the_commands_of_every_day(shell: Shell) -> None:
    config(shell.home)
    assert shell.run("config", "validate").returncode == 0
    assert shell.run("run", "other", "hello").stdout == "I am any.\n", "without a server that runs"
    with shell.serving():
        assert shell.run("load", "any").stdout == "any is ready.\n"
        assert shell.run("run", "other", "hello").stdout == "I am any.\n"
        assert rows(shell)["state"] == "ready" and rows(shell)["ram_bytes"] == 100 * 1024**2
        assert "server is listening" in shell.run("logs", "any").stdout
        assert shell.run("unload", "any").stdout == "Unloaded: any.\n"
    assert shell.processes() == []


def test_a_bad_command_is_told_with_its_line(shell: Shell) -> None:
    config(shell.home)
    file = shell.home / "corral.yaml"
    file.write_text(file.read_text().replace("{port}", "{prot}"))
    ran = shell.run("config", "validate")
    assert ran.returncode != 0
    assert "options.command has {prot}: did you mean {port}?" in ran.stderr and "corral.yaml:" in ran.stderr


def test_what_a_killed_corral_left_elsewhere_is_stopped_by_the_next(shell: Shell, engines: None) -> None:
    config(shell.home, stop_command=["sh", "-c", "echo stopped >> cleaned"])
    cleaned = shell.home / "cleaned"  # `cwd` is the config's folder
    with shell.serving() as server:
        shell.run("load", "any")
        engine = pid_of(shell)
        killed(shell, psutil.Process(server.pid))
    deadline = time.monotonic() + 5
    while psutil.pid_exists(engine):
        assert time.monotonic() < deadline, "no engine outlives Corral by more than 5 s"
        time.sleep(0.02)
    assert not cleaned.exists(), "the keeper knows signals only"
    with shell.serving():
        assert cleaned.read_text() == "stopped\n"
        assert shell.run("run", "any", "hello").stdout == "I am any.\n"


def test_a_kept_one_is_taken_over(shell: Shell, engines: None) -> None:
    config(
        shell.home,
        keep=True,
        ready_pattern="server is listening",
        stop_command="sh -c 'echo x >> cleaned; kill $0' {pid}",
    )
    with shell.serving() as server:
        shell.run("load", "any")
        before = rows(shell)["pids"]
        killed(shell, psutil.Process(server.pid))
    config(shell.home, ready_pattern="server is listening", stop_command="sh -c 'echo x >> cleaned; kill $0' {pid}")
    with shell.serving():
        assert rows(shell)["pids"] == before
        assert shell.run("run", "any", "hello").stdout == "I am any.\n"
        assert rows(shell)["pids"] == before
        assert shell.run("unload", "any").stdout == "Unloaded: any.\n"
        assert (shell.home / "cleaned").read_text() == "x\n"
