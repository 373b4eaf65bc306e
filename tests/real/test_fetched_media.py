"""
A projector that nobody names: it comes with the weights when the first request does, and the engine is given it.

`corral serve` with a config, a hub of our own, the real llama.cpp.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.hub_server import HubServer
from tests.models import ADA, model
from tests.paths.shell_kit import Shell, shell
from tests.real.engines import ENGINES, binary_of
from tests.real.test_media import DATA_URL, QUESTION
from tests.second_files import projector

__all__ = ["shell"]  # a fixture

PER_PICTURE = 16
"""Tokens: the projector makes sixteen of a picture, one of each of its patches."""


@pytest.mark.parametrize("engine", ENGINES)
def test_a_projector_comes_with_the_weights_and_the_model_sees(
    engine: str, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    eye = projector()
    with HubServer() as hub:
        hub.repo("org/ada-GGUF", {"ada-Q8_0.gguf": model(ADA).read_bytes(), "mmproj-F16.gguf": eye.read_bytes()})
        hub.repo("org/blind-GGUF", {"blind-Q8_0.gguf": model(ADA).read_bytes()})
        shell.env |= {"HF_ENDPOINT": hub.endpoint, "CORRAL_STORE__TRUSTED": hub.storage}
        write_config(shell.home, binary_of(engine, monkeypatch))
        assert shell.run("config", "validate").returncode == 0, "options of a projector that has not come yet"
        with shell.serving():
            address = json.loads(shell.run("status", "--json").stdout)["address"]
            url = {"type": "image_url", "image_url": {"url": DATA_URL}}
            without, with_one = ask(address, "ada"), ask(address, "ada", url)
            assert with_one["choices"][0]["message"]["content"] == ADA.sentence
            assert with_one["usage"]["prompt_tokens"] - without["usage"]["prompt_tokens"] == PER_PICTURE
            assert "error" in ask(address, "ada-blind", url), "its projector is left out"
            refused = ask(address, "blind")["error"]["message"]
            assert "options.mmproj_offload has a meaning only with mmproj" in refused, "none has come"
            listed = json.loads(shell.run("models", "show", "hf.co/org/ada-GGUF", "--json").stdout)
        folder = shell.home / ".local/share/corral/models/hf/org/ada-GGUF"
        assert (folder / "mmproj-F16.gguf").read_bytes() == eye.read_bytes()
        assert "mmproj-F16.gguf" in json.dumps(listed)


def write_config(home: Path, binary: str) -> None:
    options = "options: {ctx_size: 2048, parallel: 1, threads: 1, mmproj_offload: false}"
    blind = "options: {ctx_size: 2048, parallel: 1, threads: 1}"
    (home / "corral.yaml").write_text(
        (f"defaults: {{binary: {{llamacpp: '{binary}'}}}}\n" if binary else "")
        + "models:\n"
        + f"  ada: {{source: hf.co/org/ada-GGUF, {options}}}\n"
        + f"  ada-blind: {{source: {{ref: hf.co/org/ada-GGUF, mmproj: none}}, {blind}}}\n"
        + f"  blind: {{source: hf.co/org/blind-GGUF, {options}}}\n"
    )


def ask(address: str, name: str, *parts: Any) -> Any:
    """What the chat route answers, errors too."""
    turns = [{"role": "user", "content": [{"type": "text", "text": QUESTION}, *parts]}]
    request = urllib.request.Request(
        f"{address}/v1/chat/completions",
        json.dumps({"model": name, "messages": turns}).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return json.load(error)
