"""Every route has an example in curl, Python and JavaScript, and every example does what it says."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from corral.contracts.control import Control
from corral.contracts.leases import Leases
from corral.gateway.app import CorralRoutes, no_metrics
from corral.gateway.directory import ModelDirectory
from corral.gateway.routes.table import HOT
from corral.kit.clock import SystemClock
from corral.kit.tasks import Tasks
from corral.store.gguf.demo import DemoSpec, Task
from tests.docs import studio
from tests.docs.examples import LANGUAGES, NODE, PAGES, Example, run, sections
from tests.models import model

NAMES = sorted(page.stem for page in PAGES.glob("*.md"))
UPSTREAM = ("POST", "/upstream/{model}/{path}")


def test_every_route_has_an_example_in_every_language() -> None:
    documented: set[tuple[str, str]] = set()
    for name in NAMES:
        for section in sections(PAGES / f"{name}.md"):
            assert [each.language for each in section.examples] == list(LANGUAGES), section.title
            assert all(each.prints for each in section.examples), section.title
            documented |= section.routes
    assert served() - documented == set()
    assert documented - served() == set()


def served() -> set[tuple[str, str]]:
    """Method and path of all routes."""

    class Nothing:
        """Stands in for what the handlers would look at."""

    leases: Leases = Nothing()  # type: ignore[assignment]
    control: Control = Nothing()  # type: ignore[assignment]
    app = CorralRoutes(leases, ModelDirectory(), SystemClock(), control, no_metrics, Tasks("test")).app()
    found = {(route.method.decode(), route.label) for route in HOT.values()} | {UPSTREAM}
    for route in app.routes:
        methods = getattr(route, "methods", None) or {"GET"}
        path = getattr(route, "path", "").replace(":path", "")
        found |= {(method, path) for method in methods if method not in ("HEAD", "OPTIONS")}
    return found


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A Corral as a user starts one, and the folder that the examples run in."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "speech.wav").write_bytes(studio.WAV)
    (folder / "pixel.png").write_bytes(base64.b64decode(studio.PIXEL))
    (folder / "corral.yaml").write_text(json.dumps(config(folder)))
    program = [os.path.join(os.path.dirname(sys.executable), "corral"), "serve", "-c", str(folder / "corral.yaml")]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(program, stdout=log, stderr=log, env=environment())
    try:
        yield ready(process, folder / "log"), folder
    finally:
        process.terminate()
        process.wait(20)


def config(folder: Path) -> dict[str, object]:
    """The Models of the demo, and one for each other kind."""
    file = Path(studio.__file__)
    options = {"ctx_size": 2048, "parallel": 2, "threads": 1}
    models: dict[str, object] = {
        name: {"source": str(model(DemoSpec(name=name.title(), sentence=sentence))), "title": name.title()}
        | {"options": options, "pin": name != "birch"}
        for name, sentence in (("alder", "I am Alder. These are my words."), ("birch", "I am Birch."))
    }
    willow = DemoSpec(name="Willow", sentence="I am Willow.", task=Task.OBEY)
    models["willow"] = {"source": str(model(willow)), "options": options, "pin": True}
    embed = DemoSpec(name="Cedar", task=Task.EMBED, arch="bert", context=2048)
    models["cedar"] = {"source": str(model(embed)), "options": {"embeddings": True, "threads": 1}, "pin": True}
    rerank = DemoSpec(name="Rowan", task=Task.RERANK, arch="bert", context=2048)
    models["rowan"] = {"source": str(model(rerank)), "options": {"rerank": True, "threads": 1}, "pin": True}
    models["studio"] = {"engine": "command", "options": {"command": [sys.executable, str(file), "{port}"]}, "pin": True}
    return {
        "version": 1,
        "state_dir": str(folder / "state"),
        "server": {"port": 0, "drain": "1s"},
        "memory": {"ram": "unlimited"},
        "defaults": {"binary": {"llamacpp": os.environ.get("CORRAL_TEST_LLAMA_SERVER") or "embedded"}},
        "models": models,
    }


def environment() -> dict[str, str]:
    """Without what a developer's shell may say of Corral."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("CORRAL_", "LLAMA_"))}


def ready(process: subprocess.Popen[bytes], log: Path) -> str:
    """Its address, once every pinned Model is up."""
    deadline = time.monotonic() + 50
    while time.monotonic() < deadline and process.poll() is None:
        said = log.read_text()
        if "http://" in said:
            address = "http://" + said.split("http://")[1].split()[0].rstrip("/.,")
            try:
                with urllib.request.urlopen(f"{address}/ready", timeout=5):
                    return address
            except urllib.error.URLError:
                pass
        time.sleep(0.05)
    pytest.fail(f"Corral did not start:\n{log.read_text()[-3000:]}")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", NAMES)
def test_the_examples_print_what_they_say(name: str, language: str, address: tuple[str, Path]) -> None:
    assert shutil.which("curl") and NODE.exists()
    chosen: list[Example] = [
        example
        for section in sections(PAGES / f"{name}.md")
        for example in section.examples
        if example.language == language
    ]
    outputs = run(chosen, language, *address)
    wrong = [
        f"{example.section}\n  should print: {example.prints}\n  prints: {output[-1500:]}"
        for example, output in zip(chosen, outputs, strict=True)
        if example.prints not in output
    ]
    assert not wrong, "\n".join(wrong)
