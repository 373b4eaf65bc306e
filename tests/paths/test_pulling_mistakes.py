"""What people get wrong when they pull is told before a byte has come, and in words that name it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.hub_server import HubServer, sha256
from tests.models import ADA, BEN, model
from tests.paths.shell_kit import WAIT_S, Shell, shell

__all__ = ["shell"]  # a fixture

REPO = "hf.co/org/ada-GGUF"


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer() as server:
        files = {"ada-Q8_0.gguf": model(ADA).read_bytes(), "ada-Q4_K_M.gguf": model(BEN).read_bytes()}
        server.repo("org/ada-GGUF", files)
        yield server


@pytest.fixture
def home(shell: Shell, server: HubServer) -> Shell:
    shell.env |= {"HF_ENDPOINT": server.endpoint, "CORRAL_STORE__TRUSTED": server.storage, "NO_COLOR": "1"}
    return shell


def test_what_cannot_be_added_is_not_fetched(home: Shell, server: HubServer) -> None:
    config = home.home / "corral.yaml"
    cases = {
        "": ("there is no config file to add the Model to.", ("--name", "q8")),
        "version: 1\n": ("'bad name' cannot be the name of a Model.", ("--name", "bad name")),
        "version: 1\nmodels: {mine: {source: /x.gguf}}\n": ("has another Model mine.", ("--name", "mine")),
        "version: 1\nmodels: {mine: {source: /x.gguf, aliases: [q]}}\n": ("q", ("--name", "q")),
    }
    for text, (said, words) in cases.items():
        if text:
            config.write_text(text)
            home.env["CORRAL_CONFIG"] = str(config)
        ran = home.run("models", "pull", REPO, "--add", *words)
        assert ran.returncode == 1 and said in ran.stderr, (text, ran.stderr)
        assert not text or config.read_text() == text
    assert server.paths("storage") == [], "not a byte was asked for"


def test_the_hash_is_written_too(home: Shell) -> None:
    """It is what was asked for: the next machine that fetches by this config must get the same file."""
    config = home.home / "corral.yaml"
    config.write_text("version: 1\n")
    digest = sha256(model(ADA).read_bytes())
    words = ("models", "pull", f"{REPO}:Q8_0", "--add", "--name", "ada", "--config", str(config))
    assert home.run(*words, "--sha256", f"sha256:{digest.upper()}").returncode == 0
    assert yaml.safe_load(config.read_text())["models"]["ada"]["source"] == {"ref": f"{REPO}:Q8_0", "sha256": digest}
    assert "has ada already" in home.run(*words, "--sha256", digest).stderr
    assert home.run("config", "validate", "--config", str(config)).returncode == 0


def test_where_no_link_can_be_nothing_is_fetched(home: Shell, server: HubServer) -> None:
    (home.home / "folder").mkdir()
    (home.home / "file").write_text("mine")
    for link, said in (("folder", "is there and is no link"), ("file", "is no link"), ("file/x.gguf", "is no folder")):
        ran = home.run("models", "fetch", "--repo", "org/ada-GGUF", "--link", str(home.home / link))
        assert ran.returncode == 1 and said in ran.stderr, ran.stderr
    assert server.paths("storage") == []


@pytest.mark.parametrize("words", [(REPO, "--file", "ada-Q8_0.gguf"), (f"{REPO}/ada-Q8_0.gguf",)])
def test_a_file_and_a_quantisation_are_said_twice(home: Shell, server: HubServer, words: tuple[str, ...]) -> None:
    ran = home.run("models", "pull", *words, "--quant", "Q4_K_M")
    assert ran.returncode == 2 and "a file has its quantisation already; leave --quant out." in ran.stderr
    assert server.paths("storage") == []


def test_a_token_that_cannot_be_sent_is_named(home: Shell, server: HubServer) -> None:
    server.repo("org/gated", {"a-Q8_0.gguf": model(ADA).read_bytes()}, gated=True, token="good")
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        home.env |= {"HF_TOKEN": "", name: "two words"}
        ran = home.run("models", "pull", "hf.co/org/gated")
        assert ran.returncode == 1 and f"{name} is no token that can be sent: it has spaces" in ran.stderr
        assert "two words" not in ran.stderr, "it is a secret, all the same"
    home.env |= {"HF_TOKEN": "good"}
    assert home.run("models", "pull", "hf.co/org/gated").returncode == 0


def test_words_say_what_is_wrong(home: Shell) -> None:
    ran = home.run("models", "pull", f"{REPO}@nope")
    assert ran.returncode == 1 and "Check the revision, which is what stands behind the @." in ran.stderr
    (home.home / "folder").mkdir()
    ran = home.run("models", "pull", f"file:{home.home}/folder")
    assert ran.returncode == 1 and f"{home.home}/folder is a folder. Name the file in it." in ran.stderr
    home.env |= {"HF_ENDPOINT": "hf-mirror.com"}
    ran = home.run("models", "pull", REPO)
    assert ran.returncode == 1 and ran.stderr.startswith("corral: HF_ENDPOINT: hf-mirror.com is no address")
    assert "Set HF_ENDPOINT to https://HOST." in ran.stderr


@pytest.mark.parametrize(
    "words",
    [("pull", "file:~nosuchuser/x.gguf"), ("inspect", "~nosuchuser/x.gguf"), ("fit", "~nosuchuser/x.gguf"),
     ("import", "~nosuchuser/x.gguf"),
     ("split", "~nosuchuser/x.gguf", "--max-size", "1G", "--out", "o", "--tool", "/bin/true")],
)  # fmt: skip
def test_a_user_who_does_not_exist_is_a_file_that_is_not_there(home: Shell, words: tuple[str, ...]) -> None:
    ran = home.run("models", *words)
    assert ran.returncode in (1, 2) and "nosuchuser" in ran.stderr and "Internal error" not in ran.stderr


def test_so_it_is_with_a_token_file(home: Shell) -> None:
    del home.env["HF_ENDPOINT"]
    home.env |= {"HF_TOKEN_PATH": "~nosuchuser/token", "HF_HUB_OFFLINE": "1"}
    assert "Internal error" not in home.run("models", "pull", REPO).stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_lead_to_nothing(home: Shell, closed: str) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", "-c", f'"$@" {closed}', "bash", sys.executable, "-m", "corral", *words]
        return subprocess.run(
            command, env=home.env, cwd=home.home, capture_output=True, text=True, timeout=WAIT_S, check=False
        )

    ran = run("models", "pull", f"{REPO}:Q8_0")
    place = home.home / ".local/share/corral/models/hf/org/ada-GGUF/ada-Q8_0.gguf"
    assert ran.returncode == 0 and place.read_bytes() == model(ADA).read_bytes()
    assert ran.stdout == ("" if ">&-" in closed.split() else f"{place}\n"), "notes never come to standard output"
    assert "Traceback" not in ran.stderr
    ran = run("models", "list", "--json")
    assert ran.returncode == 0 and (not ran.stdout or len(json.loads(ran.stdout)) == 1)
    assert run("--version").returncode == 0
    assert run("models", "show", "none").returncode == 1


def test_what_is_opened_next_does_not_become_standard_output(tmp_path: Path) -> None:
    code = (
        "import os; from corral.cli.streams import open_closed; open_closed();"
        f" fd = os.open({str(tmp_path / 'x')!r}, os.O_CREAT | os.O_WRONLY); print('gone', flush=True);"
        " raise SystemExit(0 if fd > 2 else 3)"
    )
    ran = subprocess.run(
        ["bash", "-c", '"$@" <&- >&-', "bash", sys.executable, "-c", code], timeout=WAIT_S, check=False
    )
    assert ran.returncode == 0 and (tmp_path / "x").read_bytes() == b""
