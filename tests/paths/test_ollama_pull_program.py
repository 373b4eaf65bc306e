"""A `corral serve` of its own, pulled from by the official client of Ollama and by `corral models pull` beside it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator

import ollama
import pytest

from tests.hub_server import HubServer
from tests.models import ADA, BEN, model
from tests.paths.shell_kit import WAIT_S, Shell, shell

__all__ = ["shell"]  # a fixture

REPO = "hf.co/org/tiny-GGUF"


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as hub:
        hub.repo("org/tiny-GGUF", {"tiny-Q4_K_M.gguf": model(ADA).read_bytes()})
        hub.model("ben", {"model": model(BEN).read_bytes()}, tag="3b")
        yield hub


@pytest.fixture
def client(shell: Shell, hub: HubServer) -> Iterator[ollama.Client]:
    options = "options: {llamacpp: {ctx_size: 512, parallel: 1, threads: 1}}"
    shell.env |= {"HF_ENDPOINT": hub.endpoint, "NO_COLOR": "1"}
    (shell.home / "corral.yaml").write_text(
        f"store: {{path: disk, serve: true, trusted: {json.dumps(hub.trusted)}}}\n"
        f"defaults: {{binary: {{llamacpp: embedded}}, {options}}}\n"
    )
    with shell.serving():
        address = json.loads(shell.run("status", "--json").stdout)["address"]
        found = ollama.Client(host=address)
        yield found
        found._client.close()


def test_what_was_pulled_answers_at_once_by_the_name_it_was_pulled_by(client: ollama.Client, hub: HubServer) -> None:
    ben = f"{hub.host}/library/ben:3b"
    for name, sentence in ((f"{REPO}:Q4_K_M", "I am Ada."), (ben, "I am Ben.")):
        assert client.pull(name).status == "success"
        answer = client.chat(name, messages=[{"role": "user", "content": "hello"}])
        assert (answer.message.content or "").startswith(sentence)
    assert {each.model for each in client.list().models} == {f"{REPO}:Q4_K_M", ben}
    assert {each.model for each in client.ps().models} == {f"{REPO}:Q4_K_M", ben}, "as they were pulled"
    client.generate(f"{REPO}", keep_alive=0)
    deadline = time.monotonic() + WAIT_S
    while len(client.ps().models) == 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_pull_at_the_terminal_and_one_of_a_client_are_one_download(
    client: ollama.Client, hub: HubServer, shell: Shell
) -> None:
    hub.pause_s = 0.3
    argv = shell.argv("models", "pull", REPO)
    process = subprocess.Popen(argv, env=shell.env, cwd=shell.home, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + WAIT_S
        while not list((shell.home / "disk").rglob(".*.part")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        lines = list(client.pull(REPO, stream=True))
        assert lines[-1].status == "success"
        assert process.wait(WAIT_S) == 0
    finally:
        process.kill()
        process.communicate()
    spans = [each.headers.get("range", "") for each in hub.asked if each.where == "storage"]
    assert len(spans) == len(set(spans)), "no byte was asked for twice"
    completed = [line.completed for line in lines if line.digest]
    assert completed == sorted(completed, key=lambda each: each or 0)
