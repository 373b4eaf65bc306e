"""`corral models suggest` as people use it: they look at the list, pick one, or think better of it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub_server import HubServer
from tests.models import ADA, model
from tests.paths.shell_kit import Shell, shell
from tests.paths.terminal import CTRL_C, CTRL_D, Terminal

__all__ = ["shell"]  # a fixture

ASKS = "Which one shall be pulled? 1 to "


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@pytest.fixture
def home(shell: Shell, hub: HubServer) -> Shell:
    """With 3 GiB for Models: room for the three smallest of the list."""
    shell.env |= {"HF_ENDPOINT": hub.endpoint, "CORRAL_STORE__TRUSTED": hub.storage}
    (shell.home / "corral.yaml").write_text("memory: {ram: 3GiB, vram: 0}\n")
    return shell


def offered(home: Shell) -> list[str]:
    """References, as the list has them."""
    rows = json.loads(home.run("models", "suggest", "--json").stdout)["models"]
    return [row["reference"] for row in rows]


def stored(home: Shell) -> list[Path]:
    return [*home.home.rglob("*.gguf")]


def test_one_is_picked_by_its_number_and_pulled(home: Shell, hub: HubServer) -> None:
    there = offered(home)
    assert len(there) > 1
    repo, _, quant = there[1].removeprefix("hf.co/").partition(":")
    hub.repo(repo, {f"m-{quant}.gguf": model(ADA).read_bytes()})
    with Terminal(home, "models", "suggest") as terminal:
        terminal.until(f"{ASKS}{len(there)}, or nothing: ")
        rows = [line.split() for line in terminal.seen.splitlines() if line.strip()[:1].isdigit()]
        assert [(row[0], row[-1]) for row in rows] == [(str(n), each) for n, each in enumerate(there, 1)]
        assert terminal.seen.startswith("Models may have 3 GiB of RAM")
        terminal.types("2\n")
        assert terminal.ends() == 0, terminal.seen
    (file,) = stored(home)
    assert file.read_bytes() == model(ADA).read_bytes()
    assert terminal.seen.rstrip().endswith(str(file))


@pytest.mark.parametrize("nothing", ["\n", CTRL_D])
def test_nothing_is_an_answer_too(home: Shell, hub: HubServer, nothing: str) -> None:
    with Terminal(home, "models", "suggest") as terminal:
        terminal.until(ASKS)
        terminal.types(nothing)
        assert terminal.ends() == 0, terminal.seen
    assert not stored(home) and not hub.asked and "corral:" not in terminal.seen


NUMBERS = ["0", "99", "two", "-1", "\N{ARABIC-INDIC DIGIT TWO}", "1 2"]


def test_who_sits_there_is_asked_again(home: Shell, hub: HubServer) -> None:
    with Terminal(home, "models", "suggest") as terminal:
        for count, number in enumerate(NUMBERS, 1):
            terminal.until(ASKS, times=count)
            terminal.types(f"{number}\n")
            terminal.until(f"corral: {number!r} is no number from 1 to ")
        terminal.until(ASKS, times=len(NUMBERS) + 1)
        terminal.types(CTRL_D)
        assert terminal.ends() == 0
    assert terminal.seen.endswith("or nothing: \n"), "the shell's prompt gets a line of its own"
    assert not stored(home) and not hub.asked


@pytest.mark.parametrize("number", [*NUMBERS, "1" * 5000])
def test_a_script_that_errs_is_told(home: Shell, hub: HubServer, number: str) -> None:
    ran = home.run("models", "suggest", "--pull", stdin=f"{number}\n")
    assert ran.returncode == 2 and f"corral: {number[:40]!r} is no number from 1 to " in ran.stderr
    assert not stored(home) and not hub.asked


def test_closed_input_is_no_answer(home: Shell) -> None:
    for words in ("models suggest", "models suggest --pull"):
        line = f"{sys.executable} -m corral {words} <&-"
        ran = subprocess.run(
            ["sh", "-c", line], env=home.env, cwd=home.home, capture_output=True, text=True, timeout=30, check=False
        )
        assert ran.returncode == 0 and "corral:" not in ran.stderr, ran.stderr


def test_ctrl_c_leaves_at_once(home: Shell, hub: HubServer) -> None:
    with Terminal(home, "models", "suggest") as terminal:
        terminal.until(ASKS)
        time.sleep(0.2)  # a signal that comes between the question and the wait for the answer is seen after it
        terminal.types(CTRL_C)
        assert terminal.ends() == 130
    assert "Traceback" not in terminal.seen and not stored(home) and not hub.asked


def test_nobody_is_asked_who_is_not_there(home: Shell) -> None:
    """Neither in a pipe, nor where a program wants the list; where nothing fits there is nothing to pick."""
    ran = home.run("models", "suggest", stdin="1\n")
    assert (ran.returncode, ran.stderr) == (0, "")
    with Terminal(home, "models", "suggest", "--json") as terminal:
        assert terminal.ends() == 0
        assert ASKS not in terminal.seen
    (home.home / "corral.yaml").write_text("memory: {ram: 400MiB, vram: 0}\n")
    with Terminal(home, "models", "suggest") as terminal:
        assert terminal.ends() == 0
        assert ASKS not in terminal.seen and "nothing of the list fits here; --all shows all of it." in terminal.seen
    every = home.run("models", "suggest", "--all")
    assert every.returncode == 0 and "gpt-oss 120B" in every.stdout
