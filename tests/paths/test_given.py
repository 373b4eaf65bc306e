"""`corral run` and `corral serve` of what is not on this machine yet, and of what stands in the store."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from corral.cli import main, private, reading
from corral.cli.connect import Corral
from corral.cli.given import Fetching, Shelf
from corral.domain.errors import FetchRefused
from tests.hub_server import HubServer
from tests.models import ADA, BEN, SPLIT, model
from tests.paths.shell_kit import WAIT_S, Shell, shell
from tests.second_files import lora

__all__ = ["shell"]  # a fixture

REPO = "hf.co/org/ada-GGUF"
LARGE = model(ADA).read_bytes() + bytes(4 * 1024**2)
Say = Callable[..., tuple[int, str]]


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as hub:
        files = {"ada-Q4_K_M.gguf": model(ADA).read_bytes(), "ada-Q8_0.gguf": model(BEN).read_bytes()}
        hub.repo("org/ada-GGUF", files)
        yield hub


@pytest.fixture
def home(shell: Shell, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """For processes, and for this one."""
    shell.env |= {"HF_ENDPOINT": hub.endpoint, "CORRAL_STORE__TRUSTED": hub.storage}
    for name in os.environ.keys() - shell.env.keys():
        monkeypatch.delenv(name)
    for name in ("HOME", "HF_ENDPOINT", "CORRAL_STORE__TRUSTED"):
        monkeypatch.setenv(name, shell.env[name])
    monkeypatch.chdir(shell.home)
    return shell


@pytest.fixture
def say(home: Shell, capsys: pytest.CaptureFixture[str]) -> Say:
    """A command that needs no engine, run in this process: its code, and what it said to people."""

    def run(*words: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main.run(words)
        return code, capsys.readouterr().err

    return run


def store(shell: Shell) -> Path:
    return shell.home / ".local" / "share" / "corral" / "models"


def test_a_reference_is_fetched_and_answers(home: Shell, hub: HubServer) -> None:
    place = store(home) / "hf/org/ada-GGUF/ada-Q4_K_M.gguf"
    ran = home.run("run", REPO, "hello")
    assert (ran.returncode, ran.stdout) == (0, f"{ADA.sentence}\n"), ran.stderr
    size = f"{place.stat().st_size / 1e6:.1f} MB"
    assert ran.stderr.splitlines() == [
        f"[ada-q4_k_m] Downloading model from {REPO} to {place}",
        f"[ada-q4_k_m] Model downloaded successfully to {place} ({size})",
    ]
    hub.repos.clear()
    hub.asked.clear()
    again = home.run("run", "hf:org/ada-GGUF", "hello")
    assert (again.returncode, again.stdout, again.stderr) == (0, f"{ADA.sentence}\n", "")
    assert hub.asked == [], "what is here needs no hub"
    assert home.processes() == []


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("word", "quant", "file", "names"),
    [
        (REPO, "q8_0", "hf/org/ada-GGUF/ada-Q8_0.gguf", {"ada-q8_0", "hf/org/ada-GGUF/ada-Q8_0", f"{REPO}:Q8_0"}),
        (f"{REPO}:Q8_0", "", "hf/org/ada-GGUF/ada-Q8_0.gguf", {"ada-q8_0", "hf/org/ada-GGUF/ada-Q8_0", f"{REPO}:Q8_0"}),
        ("ollama:HOST/library/ben", "", "ollama/", {"ben", "ollama:HOST/library/ben:latest"}),
        ("URL", "", "web/", {"mine"}),
    ],
)
def test_a_model_is_called_as_in_the_store(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, word: str, quant: str, file: str, names: set[str]
) -> None:
    monkeypatch.setenv("CORRAL_STORE__TRUSTED", f"{hub.endpoint},{hub.storage}")
    hub.model("ben", {"model": model(BEN).read_bytes()})
    url = hub.file("/files/mine.gguf", model(ADA).read_bytes())
    given = Shelf("", Fetching(quant)).given([word.replace("HOST", hub.host).replace("URL", url)])
    (found,) = given.stored
    assert given.files == () and Path(found.path).is_relative_to(Path(given.root) / file.rpartition("/")[0])
    assert {each.replace("HOST", hub.host) for each in names} <= {found.name, *found.aliases}
    (spec,) = reading.read(stored=given.stored).settings.fleet.models.values()
    shown = {"ada-q8_0": f"{REPO}:Q8_0", "ben": f"{hub.host}/library/ben:latest", "mine": ""}[spec.name]
    assert (spec.pulled, found.pulled) == (shown, shown), "as one of the store that is served without being named"


def test_leave_is_asked_for_as_by_a_pull(say: Say, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_ENDPOINT")  # what it names is trusted
    url = hub.file("/files/ada.gguf", model(ADA).read_bytes())
    code, said = say("run", url, "hello")
    assert code == 1 and "--insecure" in said
    code, said = say("serve", url, "--insecure")
    assert code == 1 and "--private" in said
    assert Shelf("", Fetching(insecure=True, private=True)).given([url]).stored
    assert len(Shelf("").given([url, url]).stored) == 1, "what is here needs no leave"
    with pytest.raises(FetchRefused):
        Shelf("").given([f"{url}?and=more"])  # may be another file, and is not here


def test_a_model_of_the_store_needs_no_config(home: Shell, say: Say) -> None:
    assert say("models", "import", str(model(ADA)), "--name", "ada")[0] == 0
    ran = home.run("run", "ada", "hello")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"{ADA.sentence}\n", "")
    (home.home / "corral.yaml").write_text(f"models: {{ada: {{source: {model(BEN)}}}}}\n")
    assert home.run("run", "ada", "hello").stdout == f"{BEN.sentence}\n", "the config's Model goes before"


def test_a_model_of_the_store_beside_a_corral_that_knows_nothing_of_it(home: Shell, say: Say) -> None:
    assert say("models", "import", str(model(ADA)), "--name", "ada")[0] == 0
    (home.home / "corral.yaml").write_text(f"models: {{ben: {{source: {model(BEN)}}}}}\n")
    with home.serving():
        ran = home.run("run", "import/ada", "-o", "ctx_size=512", "hello")
        assert ran.stdout == f"{ADA.sentence}\n"
        code, said = say("run", "adaa", "hello")
        assert code == 1 and "No Model is named 'adaa'" in said and "The store has 'ada'." in said


def test_what_a_chat_of_its_own_has_loaded_is_in_use(home: Shell, say: Say) -> None:
    """Named by -o alone, in a Corral that nobody else knows of."""
    assert say("models", "import", str(lora()), "--name", "style")[0] == 0
    adapter = store(home) / "import/style.gguf"
    leader, follower = pty.openpty()
    words = home.argv("run", str(model(ADA)), "-o", f"lora={adapter}")
    child = subprocess.Popen(words, stdin=follower, stdout=follower, stderr=follower, env=home.env)
    os.close(follower)
    try:
        os.write(leader, b"hello\n")
        deadline = time.monotonic() + WAIT_S
        while (found := say("models", "remove", "style"))[0] == 2:  # it would ask
            assert child.poll() is None and time.monotonic() < deadline, found
        assert found[0] == 1 and "style is loaded as" in found[1] and "Wait for the command" in found[1], found
    finally:
        os.close(leader)  # the terminal is gone
        child.wait(WAIT_S)
    assert say("models", "remove", "--yes", "style")[0] == 0 and not adapter.exists()


def test_a_name_that_is_nowhere(home: Shell, say: Say) -> None:
    def said(*words: str) -> str:
        code, text = say(*words)
        assert (code, text.count("\n")) == (1, 1), text
        return text

    assert "corral serve" in said("run", "tiny-q4km", "hello")
    assert say("models", "import", str(model(ADA)), "--name", "tiny-q4_k_m")[0] == 0
    assert "The store has 'tiny-q4_k_m'." in said("run", "tiny-q4km", "hello")
    assert "The store has 'tiny-q4_k_m'." in said("serve", "tiny-q4km")
    assert "Did you mean hf.co/org/ada-GGUF?" in said("run", "org/ada-GGUF", "hello")
    (home.home / "corral.yaml").write_text(f"models: {{coder: {{source: {model(BEN)}}}}}\n")
    assert "Did you mean 'coder'?" in said("run", "codr", "hello")
    assert "The store has 'tiny-q4_k_m'." in said("run", "tiny-q4km", "hello")
    code, text = say("bench", "coder", REPO)
    assert code == 2 and "not both" in text


def test_serve_fetches_first_and_serves_by_the_names_of_the_store(home: Shell, say: Say, hub: HubServer) -> None:
    first = model(SPLIT)
    parts = {each.name: each.read_bytes() for each in sorted(first.parent.glob(f"{first.name[:-20]}-*.gguf"))}
    hub.repo("org/split-GGUF", parts)
    assert say("models", "import", str(model(BEN)), "--name", "ben")[0] == 0
    with home.serving(REPO, "hf:org/split-GGUF", "ben", str(model(ADA))):
        names = {row["model"] for row in json.loads(home.run("ps", "--all", "--json").stdout)}
        assert names == {"ada", "split", "ben", model(ADA).stem}
        assert home.run("run", REPO, "hello").stdout == f"{ADA.sentence}\n"
        assert home.run("load", "ben", "split").returncode == 0
    hub.repos.clear()
    hub.asked.clear()
    with home.serving(REPO):
        assert hub.asked == [], "a second start needs no hub"


def test_a_reference_that_the_running_one_serves_is_not_loaded_twice(
    home: Shell, say: Say, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a config's Model, as one of the store, as one of a command line; what it does not serve comes as always."""
    hub.model("ben", {"model": model(BEN).read_bytes()})
    monkeypatch.setenv("CORRAL_STORE__TRUSTED", f"{hub.endpoint},{hub.storage}")
    assert say("models", "pull", f"ollama:{hub.host}/library/ben")[0] == 0
    begun: list[object] = []
    started = private.started

    def counted(arguments: Sequence[str], **more: Any) -> contextlib.AbstractContextManager[Corral]:
        begun.append(arguments)
        return started(arguments, **more)

    monkeypatch.setattr(private, "started", counted)
    config = home.home / "corral.yaml"
    config.write_text(f"store: {{serve: true}}\nmodels: {{mine: {{source: '{REPO}:Q4_K_M'}}}}\n")
    with home.serving():
        for word in (f"{REPO}:Q4_K_M", "hf:org/ada-GGUF:q4_k_m", f"ollama:{hub.host}/library/ben"):
            code, said = say("run", word, "hello")
            assert (code, begun) == (0, []), said
        assert "Downloading" not in said
        assert {row["model"] for row in json.loads(home.run("ps", "--json").stdout)} == {"mine", "ben"}
        code, said = say("run", f"{REPO}:Q8_0", "hello")
        assert (code, len(begun)) == (0, 1), said
        assert said.splitlines()[-1].startswith("[ada-q8_0] Model downloaded")
    begun.clear()
    config.unlink()
    with home.serving(f"{REPO}:Q8_0"):
        assert say("run", f"{REPO}/ada-Q8_0.gguf", "hello")[0] == 0 and begun == []


def test_the_store_is_that_of_the_config(home: Shell) -> None:
    config = home.home / "corral.yaml"
    config.write_text("store: {path: disk}\nmodels: {other: {source: /nowhere.gguf}}\n")
    assert home.run("run", REPO, "hello").stdout == f"{ADA.sentence}\n"
    assert (home.home / "disk/hf/org/ada-GGUF/ada-Q4_K_M.gguf").exists()
    with home.serving("ada"):
        assert [row["model"] for row in json.loads(home.run("ps", "--all", "--json").stdout)] == ["ada"]
    with home.serving("ada", "--config", str(config)):
        assert len(json.loads(home.run("ps", "--all", "--json").stdout)) == 2


def test_a_fetch_that_fails_is_one_sentence(say: Say, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(reference: str) -> str:
        for words in (("run", reference, "hello"), ("serve", "--port", "0", reference)):
            code, text = say(*words)
            lines = [each for each in text.splitlines() if each.startswith("corral: ")]
            assert (code, len(lines), "Traceback" in text) == (1, 1, False), text
        return lines[0]

    assert "org/nothing" in said("hf.co/org/nothing")
    assert "Q3_K_M" in said(f"{REPO}:Q3_K_M")
    assert "no-such-host.invalid" in said("https://no-such-host.invalid/a.gguf")
    assert "127.0.0.1" in said("https://127.0.0.1/a.gguf")
    hub.repo("org/broken-GGUF", {"broken-Q4_K_M.gguf": b"GGUF and no more of it. " * 100})
    assert "cannot be served" in said("hf.co/org/broken-GGUF")
    monkeypatch.setattr("os.fstatvfs", lambda fd: SimpleNamespace(f_bavail=2, f_frsize=512))
    assert "free" in said(f"{REPO}:Q8_0")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "offline" in said(REPO)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "hf.co/org", "x"), "ORG/REPO"),
        (("run", "coder", "--quant", "Q8_0", "x"), "--quant"),
        (("run", REPO, "-o", "ctx_sise=3", "x"), "ctx_size"),
        (("serve", "a.gguf", "--private"), "there is none"),
        (("run", f"{REPO}:Q8_0", "--quant", "Q4_K_M", "x"), "Q8_0"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_fetched(
    say: Say, hub: HubServer, words: tuple[str, ...], said: str
) -> None:
    Path("a.gguf").touch()
    code, text = say(*words)
    assert (code, said in text) == (2, True), text
    assert hub.asked == []


def test_on_a_terminal_there_is_a_bar_and_then_the_answer(home: Shell, hub: HubServer) -> None:
    hub.repo("org/large-GGUF", {"large-Q4_K_M.gguf": LARGE})
    hub.pause_s = 0.05
    seen = on_a_terminal(home, "run", "hf.co/org/large-GGUF", "hello")
    assert "━" in seen and re.search(r"\d+\.\d%", seen) and "MB/s" in seen
    assert "[large-q4_k_m] Model downloaded successfully" in seen
    assert seen.rstrip().endswith(ADA.sentence)


def test_ctrl_c_keeps_what_has_come(home: Shell, hub: HubServer) -> None:
    hub.repo("org/large-GGUF", {"large-Q4_K_M.gguf": LARGE})
    hub.pause_s = 0.3
    child = subprocess.Popen(
        home.argv("run", "hf.co/org/large-GGUF", "hello"), stderr=subprocess.PIPE, text=True, env=home.env
    )
    deadline = time.monotonic() + WAIT_S
    while not list(store(home).glob("**/.*.part")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    assert "the same command goes on with it" in child.communicate(timeout=WAIT_S)[1]
    assert child.returncode == 130
    hub.pause_s = 0
    assert home.run("run", "hf.co/org/large-GGUF", "hello").stdout == f"{ADA.sentence}\n"


def on_a_terminal(home: Shell, *words: str) -> str:
    """What a person sees."""
    leader, follower = pty.openpty()
    env = {**home.env, "TERM": "xterm-256color", "COLUMNS": "120"}
    child = subprocess.Popen(home.argv(*words), stdin=follower, stdout=follower, stderr=follower, env=env)
    os.close(follower)
    seen = b""
    try:
        while piece := os.read(leader, 65536):
            seen += piece
    except OSError:  # how a terminal ends
        pass
    os.close(leader)
    assert child.wait(WAIT_S) == 0, seen
    return seen.decode()
