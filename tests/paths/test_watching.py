"""What a person sees while a Model's files come and it is loaded: `load`, `run`, `ps`, `unload`."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from corral.cli import main, watching
from corral.cli.models import progress
from tests.hub_server import HubServer
from tests.models import ADA, model
from tests.paths.shell_kit import WAIT_S, Shell, shell
from tests.paths.test_cli_client import MODEL, Answer, Script, corral, delta, refuse, say, stream

__all__ = ["corral", "shell"]  # fixtures

FETCHING = {"doing": "fetching", "done_bytes": 512_000_000, "total_bytes": 2_048_000_000, "bytes_per_s": 64_000_000}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "FIRST_S", 0.02)
    monkeypatch.setattr(watching, "AGAIN_S", 0.02)
    monkeypatch.setattr(progress, "EVERY_S", 0.0)


def until(true: Callable[[], bool], answer: Answer) -> Answer:
    """The answer, once that is so."""

    def wait(handler: BaseHTTPRequestHandler, body: Any) -> None:
        deadline = time.monotonic() + WAIT_S
        while not true() and time.monotonic() < deadline:
            time.sleep(0.01)
        answer(handler, body)

    return wait


def cards(corral: Script, *each: dict[str, Any]) -> Callable[[], bool]:
    """The Model is in these states, one after the other; whether all of them were asked for."""
    left = [{"id": "coder", **card} for card in each]
    shown = 0

    def answer(handler: BaseHTTPRequestHandler, body: Any) -> None:
        nonlocal shown
        shown += 1
        say(left[min(shown, len(left)) - 1])(handler, body)

    corral.answers["/v1/models/coder"] = answer
    return lambda: shown > len(left)


def test_load_shows_the_fetch_and_then_the_load(corral: Script, capsys: pytest.CaptureFixture[str]) -> None:
    seen = cards(
        corral,
        {"state": "stopped"},
        {"state": "starting", "fetching": FETCHING},
        {"state": "starting", "fetching": {**FETCHING, "done_bytes": 1_024_000_000}},
        {"state": "starting", "progress": 0.4},
    )
    corral.answers["/api/corral/load"] = until(seen, say(MODEL))
    assert main.run(["load", "coder"]) == 0
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == "coder is ready.\n"
    assert lines[:4] == [
        "Loading coder ...",
        "[coder] Download progress: 25.0% (512 MB / 2048 MB), 64.0 MB/s, 24s left",
        "[coder] Download progress: 50.0% (1024 MB / 2048 MB), 64.0 MB/s, 16s left",
        "[coder] Loading: 40 %, 1s",
    ]


def test_run_shows_them_until_the_answer_begins(corral: Script, capsys: pytest.CaptureFixture[str]) -> None:
    here = {"state": "stopped"}  # asked twice before: is there such a Model, and what is its own name
    seen = cards(corral, here, here, {"state": "starting", "fetching": FETCHING}, {"state": "starting"})
    corral.answers["/v1/chat/completions"] = until(seen, stream(delta(content="I am coder."), "data: [DONE]"))
    assert main.run(["run", "coder", "hi"]) == 0
    out, err = capsys.readouterr()
    assert out == "I am coder.\n"
    assert set(err.splitlines()) == {"[coder] Download progress: 25.0% (512 MB / 2048 MB), 64.0 MB/s, 24s left"}


def test_what_cannot_be_looked_at_is_no_reason_to_fail(corral: Script, capsys: pytest.CaptureFixture[str]) -> None:
    corral.answers["/v1/models/coder"] = refuse(403, "You may not.")
    begun = time.monotonic()
    corral.answers["/api/corral/load"] = until(lambda: time.monotonic() > begun + 0.3, refuse(503, "It has no room."))
    assert main.run(["load", "coder"]) == 1
    assert capsys.readouterr().err == "Loading coder ...\ncorral: It has no room.\n"


def test_ps_tells_how_far_a_fetch_is(corral: Script, capsys: pytest.CaptureFixture[str]) -> None:
    row = {**MODEL, "state": "starting", "fetching": FETCHING}
    corral.answers["/api/corral/status"] = say({"models": [row]})
    assert main.run(["ps"]) == 0
    out, err = capsys.readouterr()
    assert "fetching 25 %" in out
    assert err == "coder is being fetched: 25.0 % (488.3 MiB of 1.9 GiB), 61.0 MiB/s, about 24s more.\n"


def test_unload_tells_that_it_ended_a_fetch(corral: Script, capsys: pytest.CaptureFixture[str]) -> None:
    corral.answers["/api/corral/unload"] = say({"unloaded": [], "fetches_ended": ["coder"]})
    assert main.run(["unload", "coder"]) == 0
    assert capsys.readouterr().out == ("Ended the fetch of coder; what has come is kept, and goes on next time.\n")


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer(pause_s=0.3) as hub:
        hub.repo("org/ada-GGUF", {"ada-Q4_K_M.gguf": model(ADA).read_bytes() + bytes(4 * 1024**2)})
        yield hub


def test_a_fetch_by_a_corral_that_runs(shell: Shell, hub: HubServer) -> None:
    """A bar; Ctrl-C ends the wait and not the fetch; unload ends that; the next to ask goes on with it."""
    shell.env |= {"HF_ENDPOINT": hub.endpoint, "CORRAL_STORE__TRUSTED": hub.storage}
    (shell.home / "corral.yaml").write_text("models: {ada: {source: hf.co/org/ada-GGUF, aliases: [a]}}\n")
    with shell.serving():
        leader, follower = pty.openpty()
        env = {**shell.env, "TERM": "xterm-256color", "COLUMNS": "120"}
        child = subprocess.Popen(
            shell.argv("load", "a"), stdin=follower, stdout=follower, stderr=follower, env=env, cwd=shell.home
        )
        os.close(follower)
        seen = b""
        while not re.search(rb"[1-9]\.\d%", seen):
            seen += os.read(leader, 65536)
        assert "━".encode() in seen
        child.send_signal(signal.SIGINT)
        assert child.wait(WAIT_S) == 130
        seen += os.read(leader, 65536)
        os.close(leader)
        assert b"The fetch of a goes on; `corral unload a` ends it." in seen
        shown = shell.run("ps")
        assert re.search(r"ada +fetching \d+ %", shown.stdout)
        assert "ada is being fetched: " in shown.stderr
        assert shell.run("unload", "a").stdout.startswith("Ended the fetch of ada;")
        hub.pause_s = 0
        assert shell.run("run", "a", "hello").stdout == f"{ADA.sentence}\n"
