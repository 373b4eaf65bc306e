"""A model is taken into the store of a Corral that serves, is asked, and taken out again; the config never changes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from tests.models import ADA, BEN, model
from tests.paths.shell_kit import WAIT_S, Shell, shell

__all__ = ["shell"]  # a fixture


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_store_is_served_as_it_changes(shell: Shell) -> None:
    (shell.home / "corral.yaml").write_text("store: {serve: true, path: disk}\nmodels: {}\n")
    assert shell.run("models", "import", str(model(ADA)), "--name", "ada").returncode == 0

    def names() -> set[str]:
        return {row["model"] for row in json.loads(shell.run("ps", "--all", "--json").stdout)}

    with shell.serving():
        assert names() == {"ada"}
        assert shell.run("run", "ada", "hello").stdout == "I am Ada. I say this sentence, whatever you ask.\n"
        assert shell.run("models", "import", str(model(BEN)), "--name", "ben").returncode == 0
        until(lambda: names() == {"ada", "ben"})
        assert shell.run("run", "import/ben", "hello").stdout == "I am Ben. My answer is never another than this one.\n"
        refused = shell.run("models", "remove", "ben")
        assert refused.returncode == 1 and "ben is loaded as ben" in refused.stderr
        assert shell.run("unload", "ben").returncode == 0
        assert shell.run("models", "remove", "ben", "--force").returncode == 0
        until(lambda: names() == {"ada"})
        assert shell.run("run", "ada", "hello").returncode == 0
