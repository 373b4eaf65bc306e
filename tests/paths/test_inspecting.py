"""Inspecting models that are elsewhere, over real sockets: what is told, and how little is fetched for it."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from corral.domain.errors import BadGguf, FetchFailed, NotThere, WrongContent
from corral.domain.references import WebReference, parse
from corral.domain.storage import StoreSpec
from corral.store.fetch.rules import WebRules
from corral.store.fetch.web import Web
from corral.store.files import part_paths
from corral.store.gguf.reader import FIRST_READ, read_header
from corral.store.inspect import anywhere
from corral.store.inspect.anywhere import inspect_reference
from corral.store.inspect.inspection import Inspection, Projector
from corral.store.inspect.places import FolderFiles, inspect_files
from corral.store.inspect.remote import MOST_HEADER_BYTES, RemoteBytes
from corral.store.sources.access import Access, access
from tests.file_server import Ask, FileServer, Reply, of_file
from tests.hub_server import HubServer
from tests.large_headers import large
from tests.models import ADA, SPLIT, THINKER, model
from tests.second_files import projector

FREE = Access("", WebRules(insecure=True, private=True, retries=2))


def here(path: Path) -> Inspection:
    return nameless(inspect_files(FolderFiles(path))[0])


def there(url: str) -> Inspection:
    return nameless(inspect_reference(WebReference(url), FREE)[0])


def nameless(found: Inspection) -> Inspection:
    return dataclasses.replace(found, files=())


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


def hub_access(hub: HubServer) -> Access:
    return access(StoreSpec(endpoint=hub.endpoint, trusted=frozenset({*hub.trusted})), {"HOME": "/nowhere"})


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return large(tmp_path_factory.mktemp("large") / "gemma.gguf", size_bytes=64 * 1024 * 1024)


def test_a_file_behind_an_address_is_what_it_is_here() -> None:
    data = model(THINKER).read_bytes()
    with FileServer(lambda ask: of_file(ask, data)) as server:
        assert there(f"{server.origin}/thinker.gguf") == here(model(THINKER))
        assert server.sent_bytes <= FIRST_READ + 1  # one look at its size, one question for the header


def test_a_large_vocabulary_costs_less_than_16_mb(gemma: Path) -> None:
    data = gemma.read_bytes()
    with FileServer(lambda ask: of_file(ask, data)) as server:
        found = there(f"{server.origin}/gemma.gguf")
        assert found.tokenizer is not None
        assert found.tokenizer.tokens == 262_144
        header = read_header(gemma).data_offset
        assert header > 14_000_000
        assert server.sent_bytes < 16_000_000
        assert len(server.asked) <= 12


def test_a_server_without_ranges_is_read_as_far_as_needed() -> None:
    data = model(ADA).read_bytes()
    with FileServer(lambda ask: of_file(ask, data, ranges=False)) as server:
        assert there(f"{server.origin}/ada.gguf") == here(model(ADA))


def test_a_split_model_by_the_address_of_any_part() -> None:
    parts = {f"/m/{part.name}": part.read_bytes() for part in part_paths(model(SPLIT))}

    def answer(ask: Ask) -> Reply:
        data = parts.get(ask.path.partition("?")[0])
        return of_file(ask, data) if data is not None else Reply(404)

    with FileServer(answer) as server:
        second = [*parts][1]
        assert there(f"{server.origin}{second}") == here(model(SPLIT))
        del parts[[*parts][2]]
        with pytest.raises(NotThere, match="Part 3 of 3 is not there"):
            there(f"{server.origin}{second}")


def test_a_repository_of_the_hub(hub: HubServer) -> None:
    ada, eyes = model(ADA).read_bytes(), projector().read_bytes()
    hub.repo("org/ada-GGUF", {"ada-Q4_K_M.gguf": ada, "ada-Q8_0.gguf": ada, "mmproj-F16.gguf": eyes})
    found, tensors = inspect_reference(parse("hf.co/org/ada-GGUF:Q8_0"), hub_access(hub))
    expected = here(model(ADA))
    assert found.licence == "apache-2.0"
    assert found.projector == Projector("mmproj-F16.gguf", "janus_pro", ("image",))
    assert found.capabilities == (*expected.capabilities, "vision")
    assert len(tensors) == sum(share.tensors for share in expected.quantisation.types)
    plain = dataclasses.replace(found, licence="", projector=None, capabilities=expected.capabilities)
    assert nameless(plain) == expected
    assert found.files == ("ada-Q8_0.gguf",)
    asked = [each.path for each in hub.asked if "resolve" in each.path]
    assert any("Q8_0" in path for path in asked)
    assert not any("Q4_K_M" in path for path in asked)


def test_a_large_file_of_the_hub_is_asked_for_at_the_hub_once(hub: HubServer, gemma: Path) -> None:
    hub.repo("org/gemma-GGUF", {"gemma-Q4_K_M.gguf": gemma.read_bytes()})
    found, _ = inspect_reference(parse("hf.co/org/gemma-GGUF"), hub_access(hub))
    assert found.tokenizer is not None
    assert found.tokenizer.merges == 514_906
    assert len([path for path in hub.paths() if "/resolve/" in path]) == 1
    assert len(hub.paths("storage")) > 5


def test_a_model_of_ollama_s_registry(hub: HubServer) -> None:
    hub.login = "let-me-in"
    hub.model("tiny", {"model": model(THINKER).read_bytes(), "license": b"MIT License"})
    reference = parse(f"ollama:{hub.host}/library/tiny")
    found, _ = inspect_reference(reference, hub_access(hub))
    assert found.licence == "MIT License", "the layer's, which no header has"
    assert nameless(dataclasses.replace(found, licence="")) == here(model(THINKER))


def test_what_is_no_model(hub: HubServer) -> None:
    page = hub.file("/page.gguf", b"<html>" * 100)
    with pytest.raises(BadGguf, match=r"begins with b'<htm'"):
        inspect_reference(WebReference(page), hub_access(hub))
    with pytest.raises(NotThere):
        inspect_reference(parse("hf.co/org/nothing"), hub_access(hub))
    html = {"Content-Type": "text/html"}
    with FileServer(lambda ask: Reply(200, html, b"<html>log in</html>")) as server:
        with pytest.raises(WrongContent, match="is a page for people"):
            there(f"{server.origin}/x.gguf")


def changing(data: bytes) -> Callable[[Ask], Reply]:
    def answer(ask: Ask) -> Reply:
        begin = ask.span[0] if ask.span else 0
        return of_file(ask, data, etag='"one"' if begin == 0 else '"two"')

    return answer


def test_a_file_that_changes_meanwhile_is_not_mixed(gemma: Path) -> None:
    with FileServer(changing(gemma.read_bytes())) as server:
        with pytest.raises(FetchFailed, match="was changed while it was read"):
            there(f"{server.origin}/gemma.gguf")


def test_a_header_without_end_is_left(gemma: Path) -> None:
    """A server that has a vocabulary of 33 GB to tell."""
    header = bytearray(gemma.read_bytes()[:200_000])
    at = header.index(b"tokenizer.ggml.tokens") + len("tokenizer.ggml.tokens") + 8
    header[at : at + 8] = (1 << 32).to_bytes(8, "little")
    size = 1 << 36

    def answer(ask: Ask) -> Reply:
        first, end = ask.span or (0, 0)
        body = (bytes(header) + bytes(max(0, (end or 0) - len(header))))[first:end]
        return Reply(206, {"Content-Range": f"bytes {first}-{first + len(body) - 1}/{size}"}, body)

    with FileServer(answer) as server:
        with pytest.raises(BadGguf, match="is larger than 32 MiB"):
            there(f"{server.origin}/endless.gguf")
        assert server.sent_bytes < MOST_HEADER_BYTES


def test_a_connection_that_breaks_is_made_again() -> None:
    data = model(ADA).read_bytes()
    broken: list[Ask] = []

    def answer(ask: Ask) -> Reply:
        reply = of_file(ask, data)
        if len(broken) < 1 and len(reply.body) > 1000:
            broken.append(ask)
            return dataclasses.replace(reply, cut=1000)
        return reply

    with FileServer(answer) as server:
        assert there(f"{server.origin}/ada.gguf") == here(model(ADA))
        assert broken


def test_all_questions_together_have_one_deadline(
    gemma: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """However often the server is asked again, and whatever it drips."""
    data = gemma.read_bytes()
    monkeypatch.setattr(anywhere, "LONGEST_S", 1.5)
    with FileServer(lambda ask: dataclasses.replace(of_file(ask, data), drip=True)) as server:
        began = time.monotonic()
        with pytest.raises(FetchFailed, match=r"The header of .*gemma.gguf has not come within 2 s"):
            there(f"{server.origin}/gemma.gguf")
        assert time.monotonic() - began < 15


def test_a_signed_address_that_ends_is_asked_for_again(gemma: Path) -> None:
    data = gemma.read_bytes()
    signed: list[Ask] = []

    def answer(ask: Ask) -> Reply:
        if not ask.path.startswith("/signed"):
            signed.append(ask)
            return Reply(302, {"Location": f"/signed/{len(signed)}"})
        stale = ask.path != f"/signed/{len(signed)}" or (len(signed) == 1 and (ask.span or (0,))[0] > 100_000)
        return Reply(403) if stale else of_file(ask, data)

    web = Web(FREE.rules)
    with FileServer(answer) as server, web.line() as line:
        source = RemoteBytes(web, f"{server.origin}/gemma.gguf", line)
        assert source.size == len(data)
        assert source.read(200_000, 1000) == data[200_000:201_000]
        assert len(signed) == 2
        assert source.read(300_000, 1000) == data[300_000:301_000]
        assert len(signed) == 2


def test_the_command(hub: HubServer, tmp_path: Path) -> None:
    hub.repo("org/ada-GGUF", {"ada-Q4_K_M.gguf": model(ADA).read_bytes(), "ada-Q8_0.gguf": model(ADA).read_bytes()})
    config = tmp_path / "corral.yaml"
    config.write_text(f"version: 1\nstore: {{trusted: ['{hub.endpoint}', '{hub.storage}']}}\n")
    env = {**os.environ, "HF_ENDPOINT": hub.endpoint, "HOME": str(tmp_path), "CORRAL_CONFIG": str(config)}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "corral", "models", "inspect", *words]
        return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=30, check=False)

    found = json.loads(run("hf.co/org/ada-GGUF", "--quant", "Q8_0", "--json").stdout)
    assert (found["name"], found["licence"]) == ("Ada", "apache-2.0")
    assert "Q8_0" in hub.asked[-2].path
    wrong = run("hf.co/org/ada-GGUF:Q5_K_M")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "Q8_0" in wrong.stderr
    assert run(str(model(ADA)), "--quant", "Q8_0").returncode == 2
    assert run("hf.co/nothing").returncode == 2
