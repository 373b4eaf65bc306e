"""From `config init` to an answer, from `config set` to a running Corral; folders and TOML served and reloaded."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from tests.models import ADA, BEN, model
from tests.paths.shell_kit import WAIT_S, Shell, shell

__all__ = ["shell"]  # a fixture


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def listed(shell: Shell) -> dict[str, Any]:
    """What `/v1/models` says, by id."""
    address = json.loads(shell.run("status", "--json").stdout)["address"]
    with urllib.request.urlopen(f"{address}/v1/models", timeout=10) as answer:
        return {each["id"]: each for each in json.load(answer)["data"]}


@pytest.mark.parametrize("profile", ["cpu", "gpu", "strix-halo-cpu"])
def test_from_a_profile_to_an_answer(shell: Shell, profile: str) -> None:
    assert shell.run("config", "init", "--profile", profile).returncode == 0
    comments = (shell.home / "corral.yaml").read_text().count("#")
    for key, value in (("models.ada.source", str(model(ADA))), ("models.ada.aliases", "gpt-4o"),
                       ("models.ada.listed_aliases", "true"), ("models.ada.options.ctx_size", "1000")):  # fmt: skip
        ran = shell.run("config", "set", key, value)
        assert ran.returncode == 0, ran.stderr
    assert (shell.home / "corral.yaml").read_text().count("#") == comments
    assert shell.run("config", "validate").returncode == 0
    with shell.serving():
        models = listed(shell)
        assert set(models) == {"ada", "gpt-4o"} and models["ada"]["context_length"] == 1024, (
            "as the engine rounds it up"
        )
        assert shell.run("run", "gpt-4o", "hello").stdout == f"{ADA.sentence}\n"
        assert listed(shell)["ada"]["context_length"] == 1024, "and so the loaded one says"
        pid = json.loads(shell.run("ps", "--json").stdout)[0]["pids"][0]
        with open(f"/proc/{pid}/environ", "rb") as environ:
            assert (b"HIP_VISIBLE_DEVICES=-1" in environ.read()) == (profile == "strix-halo-cpu")


def test_a_change_reaches_the_running_corral(shell: Shell) -> None:
    config = shell.home / "corral.toml"
    config.write_text(f"# mine\n[models.ada]\nsource = '{model(ADA)}'\n")
    with shell.serving("--config", str(config)) as server:
        ran = shell.run("config", "set", "models.ben.source", str(model(BEN)), "--config", str(config))
        assert f"`kill -HUP {server.pid}` makes it take the change" in ran.stderr
        assert set(listed(shell)) == {"ada"}
        ran = shell.run("config", "set", "models.ben.aliases", "b", "--append", "--reload", "--config", str(config))
        assert (ran.returncode, f"told the running Corral ({server.pid})" in ran.stderr) == (0, True)
        until(lambda: set(listed(shell)) == {"ada", "ben"})
        assert shell.run("run", "b", "hello").stdout == f"{BEN.sentence}\n"
        bad = shell.run("config", "set", "models.ben.ttl", "soon", "--reload", "--config", str(config))
        assert bad.returncode == 1 and config.read_text().startswith("# mine\n")


def test_a_folder_is_served_and_a_broken_file_in_it_changes_nothing(shell: Shell) -> None:
    folder = shell.home / "conf.d"
    folder.mkdir()
    (folder / "10-models.yaml").write_text(f"models:\n  ada: {{source: {model(ADA)}, title: '${{who}}'}}\n")
    (folder / "20-macros.toml").write_text('[macros]\nwho = "The first"\n')
    with shell.serving("--config", "conf.d") as server:
        assert listed(shell)["ada"]["name"] == "The first"
        (folder / "30-more.yaml").write_text("models:\n  ada: {source: /elsewhere.gguf}\n")
        os.kill(server.pid, signal.SIGHUP)
        time.sleep(0.3)
        assert set(listed(shell)) == {"ada"} and listed(shell)["ada"]["name"] == "The first"
        (folder / "30-more.yaml").write_text(f"models:\n  ben: {{source: {model(BEN)}}}\n")
        (folder / "20-macros.toml").write_text('[macros]\nwho = "Another"\n')
        os.kill(server.pid, signal.SIGHUP)
        until(lambda: set(listed(shell)) == {"ada", "ben"})
        assert listed(shell)["ada"]["name"] == "Another"
        assert shell.run("run", "ben", "hello").stdout == f"{BEN.sentence}\n"
        server.terminate()
        assert server.stdout is not None
        log = server.stdout.read()
    assert "30-more.yaml:2: models.ada is described here and in" in log and "10-models.yaml:2" in log
