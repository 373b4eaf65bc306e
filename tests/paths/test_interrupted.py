"""Ctrl-C and SIGTERM while a model comes and while it is loaded: how commands end, and what is left of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hub_server import HubServer
from tests.models import ADA, BEN, model
from tests.paths.shell_kit import WAIT_S, Shell, shell

__all__ = ["shell"]  # a fixture

REPO, NAME = "hf.co/org/ada-GGUF", "ada-Q4_K_M.gguf"
HELP = Path(__file__).parents[1] / "recorded/llama-help/b11434.txt"
PROGRAM = f"""#!/bin/sh
case "$*" in
*--help*) cat {HELP} ;;
*--version*) echo "version: 11434 (0f5b0f0)" ;;
*) exec sleep 977 ;;
esac
"""
LARGE = model(ADA).read_bytes() + bytes(3_000_000)


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as hub:
        hub.repo("org/ada-GGUF", {NAME: model(ADA).read_bytes()})
        yield hub


@pytest.fixture
def home(shell: Shell, hub: HubServer) -> Shell:
    """Where every engine loads for ever."""
    program, temporary = shell.home / "bin/llama-server", shell.home / "t"
    program.parent.mkdir()
    program.write_text(PROGRAM)
    program.chmod(0o755)
    temporary.mkdir()
    shell.env |= {
        "HF_ENDPOINT": hub.endpoint, "CORRAL_STORE__TRUSTED": hub.storage, "NO_COLOR": "1", "TMPDIR": str(temporary),
    }  # fmt: skip
    shell.env["PATH"] = f"{program.parent}:{shell.env['PATH']}"
    (shell.home / "corral.yaml").write_text(f"models: {{ada: {{source: {REPO}}}}}\n")
    return shell


def until(done: Callable[[], Any]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def store(home: Shell) -> Path:
    return home.home / ".local/share/corral/models"


def files(home: Shell) -> set[str]:
    return {path.name for path in store(home).rglob("*") if path.is_file()} - {".index", ".names"}


def loads(home: Shell) -> bool:
    return any("977" in process.cmdline() for process in home.processes())


def begun(home: Shell, *arguments: str, **how: Any) -> subprocess.Popen[str]:
    """In a group of its own, so that a signal is for all of it, as Ctrl-C is."""
    return subprocess.Popen(
        home.argv(*arguments), env=home.env, cwd=home.home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, **how,
    )  # fmt: skip


def test_ctrl_c_while_a_model_that_has_come_is_loaded_ends_the_wait_alone(home: Shell, hub: HubServer) -> None:
    with home.serving():
        child = begun(home, "load", "ada")
        until(lambda: loads(home))
        time.sleep(1)  # it has seen that
        os.killpg(child.pid, signal.SIGINT)
        _, said = child.communicate(timeout=WAIT_S)
        assert child.returncode == 130
        assert "The load of ada goes on; `corral unload ada` ends it." in said
        assert json.loads(home.run("ps", "--json").stdout)[0]["state"] == "starting" and loads(home)
        assert files(home) == {NAME, f".{NAME}.origin.json"}
        assert home.run("unload", "ada").returncode == 0
        until(lambda: not loads(home))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_corral_of_its_own_loads_leaves_nothing_behind(
    home: Shell, hub: HubServer, number: signal.Signals
) -> None:
    child = begun(home, "run", f"{REPO}:Q4_K_M", "hello")
    until(lambda: loads(home))
    os.killpg(child.pid, number)
    child.communicate(timeout=WAIT_S)
    assert child.returncode == 128 + number
    until(lambda: not home.processes())
    assert [path for path in (home.home / "t").rglob("*") if not path.is_dir()] == []
    assert [path.name for path in (home.home / "t").iterdir()] in ([], [f"corral-{os.getuid()}"]), "where sockets go"
    assert files(home) == {NAME, f".{NAME}.origin.json"}, "the model has come, and stays"
    assert not list((home.home / ".local/state").rglob("*.json"))


def parts(home: Shell) -> list[Path]:
    return [path for path in store(home).rglob(".*.part") if path.stat().st_blocks]


@pytest.fixture
def several(home: Shell, hub: HubServer) -> str:
    """A model of three files that take some seconds."""
    names = [f"big-Q8_0-{number:05d}-of-00002.gguf" for number in (1, 2)]
    hub.repo("org/big-GGUF", {**dict.fromkeys(names, LARGE), "mmproj-F16.gguf": model(BEN).read_bytes()})
    hub.pause_s = 0.2
    return "hf.co/org/big-GGUF"


@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGTERM], [signal.SIGINT] * 2, [signal.SIGTERM] * 2])
def test_a_pull_of_several_files_is_ended_and_gone_on_with(
    home: Shell, hub: HubServer, several: str, signals: list[signal.Signals]
) -> None:
    child = begun(home, "models", "pull", several)
    until(lambda: parts(home))
    began = time.monotonic()
    for number in signals:
        os.killpg(child.pid, number)
        time.sleep(0.01)
    _, said = child.communicate(timeout=WAIT_S)
    assert (child.returncode, time.monotonic() - began < 5) == (128 + signals[0], True), said
    assert "Traceback" not in said and "Error" not in said
    if len(signals) == 1:
        assert said.endswith("the same command goes on with it.\n")
    assert parts(home) and not home.processes()
    hub.pause_s = 0
    hub.asked.clear()
    assert home.run("models", "pull", several).returncode == 0
    asked = [each.headers.get("range", "") for each in hub.asked if each.where == "storage"]
    assert any(each and not each.startswith("bytes=0-") for each in asked), "what has come is not fetched again"
    assert [path.name for path in store(home).rglob(".*") if path.suffix in (".part", ".lock")] == []
