"""A model is taken into the store of a Corral that serves, is asked, and taken out again; the config never changes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable

from corral.store.gguf.demo import DemoSpec
from tests.hub_server import HubServer
from tests.models import ADA, BEN, model
from tests.paths.shell_kit import WAIT_S, Shell, shell

__all__ = ["shell"]  # a fixture


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def put(shell: Shell, spec: DemoSpec, place: str) -> None:
    """A copy by hand."""
    folder = shell.home / "disk/import"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(model(spec), folder / f"{place}.gguf")


def names(shell: Shell) -> set[str]:
    """Of all that is served."""
    return {row["model"] for row in json.loads(shell.run("ps", "--all", "--json").stdout)}


def test_the_store_is_served_as_it_changes(shell: Shell) -> None:
    (shell.home / "corral.yaml").write_text("store: {serve: true, path: disk}\nmodels: {}\n")
    assert shell.run("models", "import", str(model(ADA)), "--name", "ada").returncode == 0

    with shell.serving():
        assert names(shell) == {"ada"}
        assert shell.run("run", "ada", "hello").stdout == "I am Ada. I say this sentence, whatever you ask.\n"
        assert shell.run("models", "import", str(model(BEN)), "--name", "ben").returncode == 0
        until(lambda: names(shell) == {"ada", "ben"})
        assert shell.run("run", "import/ben", "hello").stdout == "I am Ben. My answer is never another than this one.\n"
        refused = shell.run("models", "remove", "ben")
        assert refused.returncode == 1 and "ben is loaded as ben" in refused.stderr
        assert shell.run("unload", "ben").returncode == 0
        assert shell.run("models", "remove", "ben", "--force").returncode == 0
        until(lambda: names(shell) == {"ada"})
        assert shell.run("run", "ada", "hello").returncode == 0


def test_a_model_that_is_configured_by_a_reference_is_served_once(shell: Shell) -> None:
    """Before it is here, when its first request has fetched it, and after another start."""
    with HubServer() as hub:
        hub.repo("org/ada-GGUF", {"ada-Q4_K_M.gguf": model(ADA).read_bytes()})
        settings = {
            "store": {"serve": True, "path": "disk", "endpoint": hub.endpoint, "trusted": [*hub.trusted]},
            "models": {"mine": {"source": "hf.co/org/ada-GGUF"}, "ben": {"source": "/nowhere.gguf"}},
            "log": {"file": "corral.log"},
        }
        (shell.home / "corral.yaml").write_text(json.dumps(settings))
        put(shell, BEN, "ben")
        served = {"mine", "ben", "import/ben"}
        for starts, late in ((1, "late"), (2, "later")):
            with shell.serving():
                assert names(shell) == served
                assert shell.run("run", "mine", "hello").stdout.startswith("I am Ada.")
                put(shell, BEN, late)  # so that the config is read again
                served.add(late)
                until(lambda: len(names(shell)) >= len(served))
                assert names(shell) == served
            log = (shell.home / "corral.log").read_text()
            assert log.count("which is a Model of the config: it is served as 'import/ben'.") == starts


def test_a_reload_turns_the_serving_of_the_store_on_and_off(shell: Shell) -> None:
    file = shell.home / "corral.yaml"
    file.write_text("store: {serve: false, path: disk}\nmodels: {}\n")
    put(shell, ADA, "ada")
    with shell.serving() as child:

        def serve(word: str) -> None:
            file.write_text(f"store: {{serve: {word}, path: disk}}\nmodels: {{}}\n")
            os.kill(child.pid, signal.SIGHUP)

        assert names(shell) == set()
        serve("true")
        until(lambda: names(shell) == {"ada"})
        put(shell, BEN, "ben")
        until(lambda: names(shell) == {"ada", "ben"})
        serve("false")
        until(lambda: names(shell) == set())
        serve("true")
        until(lambda: names(shell) == {"ada", "ben"})
        (shell.home / "disk/import/ben.gguf").unlink()
        until(lambda: names(shell) == {"ada"})
