"""The command line with a real Corral behind it: real processes, the embedded engine, tiny models."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil

from tests.models import ADA, BEN, model
from tests.paths.shell_kit import WAIT_S, Shell, shell

__all__ = ["shell"]  # a fixture


def test_a_day_with_two_files(shell: Shell) -> None:
    files = [str(model(ADA)), str(model(BEN))]
    first, second = (Path(file).stem for file in files)
    with shell.serving(*files) as server:
        assert shell.run("load", first).stdout == f"{first} is ready.\n"
        assert shell.run("run", second, "hello").stdout == "I am Ben. My answer is never another than this one.\n"
        assert shell.run("run", first, stdin="hello\n").stdout == "I am Ada. I say this sentence, whatever you ask.\n"
        rows = json.loads(shell.run("ps", "--json").stdout)
        assert {row["model"]: row["state"] for row in rows} == {first: "ready", second: "ready"}
        assert all(psutil.pid_exists(row["pids"][0]) for row in rows)
        near = shell.run("run", f"{first}x", "hello")
        assert (near.returncode, f"Did you mean '{first}'" in near.stderr) == (1, True)
        assert shell.run("logs", first, "-n", "3").stdout.count("\n") == 3
        assert shell.run("unload", first).stdout == f"Unloaded: {first}.\n"
        assert shell.run("unload", first).stdout == f"{first} was not loaded.\n"
        assert [row["model"] for row in json.loads(shell.run("ps", "--json").stdout)] == [second]
        assert f"pid {server.pid}" in shell.run("status").stdout
        engine = rows[1]["pids"][0]
    assert server.returncode == 0
    assert shell.run("status").returncode == 1
    assert not psutil.pid_exists(engine)


def test_run_with_a_file_needs_nothing_and_leaves_nothing(shell: Shell) -> None:
    ran = shell.run("run", str(model(ADA)), "who are you?")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "I am Ada. I say this sentence, whatever you ask.\n", "")
    assert shell.processes() == []
    assert list(shell.home.glob("**/*.sock")) == []


def test_folders_with_long_paths(shell: Shell) -> None:
    """No path below them is short enough for a unix socket."""
    temp, state = shell.home / ("t" * 110), shell.home / ("s" * 110)
    temp.mkdir()
    shell.env["TMPDIR"] = str(temp)
    ran = shell.run("run", str(model(ADA)), "who are you?")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "I am Ada. I say this sentence, whatever you ask.\n", "")
    shell.env["CORRAL_STATE_DIR"] = str(state)
    none = shell.run("ps")
    assert (none.returncode, "No Corral runs here" in none.stderr) == (1, True), none.stderr
    with shell.serving(str(model(ADA))):
        shell.env["XDG_RUNTIME_DIR"] = str(shell.home)  # a login shell has one where a service has none
        assert shell.run("load", model(ADA).stem).stdout == f"{model(ADA).stem} is ready.\n"
        del shell.env["XDG_RUNTIME_DIR"]
    assert not (state / "control.sock").is_symlink()


def test_a_private_corral_dies_with_its_parent(shell: Shell) -> None:
    leader, follower = pty.openpty()
    child = subprocess.Popen(
        shell.argv("run", str(model(ADA))), stdin=follower, stdout=follower, stderr=follower, env=shell.env
    )
    os.close(follower)
    seen = b""
    while b">>> " not in seen:
        seen += os.read(leader, 4096)
    family = psutil.Process(child.pid).children(recursive=True)
    folders = [word for process in family for word in process.cmdline() if Path(word).name.startswith("corral-")]
    assert folders, "the private Corral is a child and its command line names its state directory"
    child.send_signal(signal.SIGKILL)
    child.wait(WAIT_S)
    _, alive = psutil.wait_procs(family, timeout=WAIT_S)
    os.close(leader)
    assert alive == []
    for folder in folders:  # nobody was left to remove it; the next boot would
        shutil.rmtree(folder, ignore_errors=True)


def test_a_config_with_demo_models_by_name(shell: Shell) -> None:
    config = shell.home / "corral.yaml"
    config.write_text(f"models: {{ada: {{source: {model(ADA)}, aliases: [a]}}}}\n")
    assert shell.run("run", "a", "hi").stdout == "I am Ada. I say this sentence, whatever you ask.\n"
    assert "Did you mean 'ada'?" in shell.run("run", "adaa", "hi").stderr


def test_a_private_corral_leaves_ollamas_port_alone(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = shell.home / "corral.yaml"
        config.write_text(f"server: {{ollama_port: {port}}}\nmodels: {{ada: {{source: {model(ADA)}}}}}\n")
        assert shell.run("run", "ada", "hi").stdout == "I am Ada. I say this sentence, whatever you ask.\n"
        ran = shell.run("serve", "--port", "0")
        assert ran.returncode == 1 and "Is Ollama itself running?" in ran.stderr


def test_a_reload_takes_a_good_config_and_keeps_the_old_for_a_bad_one(shell: Shell) -> None:
    config = shell.home / "corral.yaml"
    config.write_text(f"models: {{ada: {{source: {model(ADA)}}}}}\n")

    def names() -> list[str]:
        return [row["model"] for row in json.loads(shell.run("ps", "--all", "--json").stdout)]

    with shell.serving() as server:
        assert names() == ["ada"]
        config.write_text(f"models: {{ada: {{source: {model(ADA)}}}, ben: {{source: {model(BEN)}}}}}\n")
        server.send_signal(signal.SIGHUP)
        _until(lambda: names() == ["ada", "ben"])
        config.write_text("models: [broken\n")
        server.send_signal(signal.SIGHUP)
        assert shell.run("run", "ben", "hi").returncode == 0
        assert names() == ["ada", "ben"]


def _until(true: Any) -> None:
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_json_logs_are_json_and_nothing_else(shell: Shell) -> None:
    child = subprocess.Popen(
        shell.argv("serve", "--port", "0", "--log-format", "json", str(model(ADA))),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=shell.env, cwd=shell.home,
    )  # fmt: skip
    _until(lambda: shell.run("status").returncode == 0)
    shell.run("run", Path(model(ADA)).stem, "hi")
    child.terminate()
    out, err = child.communicate(timeout=WAIT_S)
    assert child.returncode == 0 and out == ""
    for line in err.splitlines():
        assert set(json.loads(line)) >= {"time", "level", "message"}


def test_an_occupied_port_is_a_sentence(shell: Shell) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = shell.run("serve", "--port", str(port), str(model(ADA)))
    assert ran.returncode == 1 and str(port) in ran.stderr and "Traceback" not in ran.stderr, ran.stderr


def test_the_demo_answers_on_every_route(shell: Shell) -> None:
    ran = shell.run("demo", "--check", "--dir", str(shell.home / "demo"))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "answered as they should" in ran.stdout


def test_the_demo_serves(shell: Shell) -> None:
    child = subprocess.Popen(
        shell.argv("demo", "--port", "0", "--dir", str(shell.home / "demo")),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=shell.env, cwd=shell.home,
    )  # fmt: skip
    assert child.stdout is not None
    lines: list[str] = []
    while not lines or not lines[-1].startswith("The config"):
        lines.append(child.stdout.readline())
        assert lines[-1], child.communicate()
    address = lines[0].split(" at ")[1].split("/v1")[0]
    with urllib.request.urlopen(f"{address}/v1/models", timeout=WAIT_S) as answer:
        assert [card["id"] for card in json.load(answer)["data"]] == ["alder", "birch", "cedar"]
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=WAIT_S)
    assert child.returncode == 0
