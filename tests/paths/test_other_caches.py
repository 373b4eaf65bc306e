"""A model that another program has fetched already: used from there, with a network and without one."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from corral.contracts.fetching import Progress
from corral.domain.errors import FetchFailed, FetchRefused, NotThere, WrongContent
from corral.domain.fleet import Source
from corral.domain.storage import StoreSpec
from corral.store.borrowing import used_from
from corral.store.supply import StoreSupply, store_supply
from tests import second_files
from tests.corrals import corral, fake
from tests.hub_server import HubServer, sha256
from tests.models import ADA, BEN, model
from tests.paths.shell_kit import Shell, shell
from tests.unit.store.shelf import kit

__all__ = ["shell"]  # a fixture

REPO = "hf.co/org/ada-GGUF:Q8_0"
NOBODY = "http://127.0.0.1:9"  # where nobody listens


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as hub:
        hub.repo("org/ada-GGUF", {"ada-Q8_0.gguf": model(ADA).read_bytes(), "ada-Q4_K_M.gguf": model(BEN).read_bytes()})
        yield hub


def cached(home: Path) -> Path:
    """What the hub's own client has in this home."""
    return kit.hub(home / ".cache/huggingface/hub", "org/ada-GGUF", "ada-Q8_0.gguf", model(ADA)).resolve()


def supply(home: Path, **settings: Any) -> StoreSupply:
    return store_supply(StoreSpec(str(home / "store"), **settings), {"HOME": str(home)})


def online(hub: HubServer) -> dict[str, Any]:
    return {"endpoint": hub.endpoint, "trusted": frozenset(hub.trusted)}


def bring(found: StoreSupply, reference: str = REPO, **fields: Any) -> Source:
    said: list[Progress] = []
    source = found.bring(Source(reference=reference, **fields), said.append, lambda: False)
    assert found.here(Source(reference=reference, **fields)) == source, "from now on it is here"
    return source


def elsewhere(monkeypatch: pytest.MonkeyPatch, number: int = errno.EXDEV) -> None:
    """As if the caches were on another disk, or of another user."""

    def link(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)


def everything(folder: Path) -> dict[str, tuple[int, int, int]]:
    return {
        str(path): (status.st_ino, status.st_size, status.st_mtime_ns)
        for path in folder.rglob("*")
        for status in (path.lstat(),)
    }


@pytest.mark.parametrize("hard", [True, False], ids=["hard link", "symbolic link"])
def test_a_file_that_is_replaced_after_it_was_hashed_is_not_used(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hard: bool
) -> None:
    blob, link = cached(tmp_path), os.link

    def replaced(*args: Any, **more: Any) -> None:
        blob.with_name("other").write_bytes(b"x" * blob.stat().st_size)
        blob.with_name("other").rename(blob)
        if not hard:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        link(*args, **more)

    monkeypatch.setattr(os, "link", replaced)
    source = bring(supply(tmp_path, **online(hub)))
    assert Path(source.path).read_bytes() == model(ADA).read_bytes()
    assert used_from(Path(source.path)) == "", "it was fetched"


@pytest.mark.parametrize("settings", [{"offline": True}, {"endpoint": NOBODY}])
def test_with_nobody_to_ask_a_reference_is_found_in_a_cache(tmp_path: Path, settings: dict[str, Any]) -> None:
    blob = cached(tmp_path)
    before = everything(tmp_path / ".cache")
    found = bring(supply(tmp_path, **settings))
    path = Path(found.path)
    assert path == tmp_path / "store/hf/org/ada-GGUF/ada-Q8_0.gguf"
    assert os.path.samefile(path, blob) and not path.is_symlink()
    assert used_from(path) == str(blob)
    assert everything(tmp_path / ".cache") == before, "nothing there is written"


def test_without_a_quantisation_what_is_there_is_taken(tmp_path: Path) -> None:
    cached(tmp_path)
    found = bring(supply(tmp_path, offline=True), "hf.co/org/ada-GGUF")
    assert Path(found.path).name == "ada-Q8_0.gguf"


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM])
@pytest.mark.parametrize("network", [True, False])
def test_on_another_disk_a_symbolic_link_stands_for_it(
    tmp_path: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch, network: bool, number: int
) -> None:
    blob = cached(tmp_path)
    elsewhere(monkeypatch, number)
    with_links = supply(tmp_path, **(online(hub) if network else {"offline": True}))
    found = Path(bring(with_links).path)
    assert found.readlink() == blob
    assert hub.paths("storage") == []
    asked = len(hub.asked)
    assert bring(with_links).path == str(found) and len(hub.asked) == asked, "what is here asks nobody"


def test_what_the_other_program_removes_is_fetched_again_or_refused(
    tmp_path: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = cached(tmp_path)
    elsewhere(monkeypatch)
    found = bring(supply(tmp_path, offline=True))
    blob.unlink()
    offline, source = supply(tmp_path, offline=True), Source(reference=REPO)
    assert offline.here(source) is None
    with pytest.raises(FetchRefused, match="offline"):
        offline.bring(source, lambda _: None, lambda: False)
    again = Path(bring(supply(tmp_path, **online(hub))).path)
    assert str(again) == found.path and not again.is_symlink()
    assert again.read_bytes() == model(ADA).read_bytes() and used_from(again) == ""
    assert not blob.exists(), "nothing is written through the link"


def test_what_the_other_program_writes_anew_is_not_what_it_was(
    tmp_path: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio = kit.put(tmp_path / ".lmstudio/models/org/ada-GGUF/ada-Q8_0.gguf", model(ADA))
    elsewhere(monkeypatch)
    bring(supply(tmp_path, offline=True))
    other = bytearray(model(ADA).read_bytes())
    other[-1] ^= 1
    studio.write_bytes(other)
    assert supply(tmp_path, offline=True).here(Source(reference=REPO)) is None
    found = Path(bring(supply(tmp_path, **online(hub))).path)
    assert found.read_bytes() == model(ADA).read_bytes() and studio.read_bytes() == other


def test_a_hard_link_outlives_the_other_programs_file(tmp_path: Path) -> None:
    blob = cached(tmp_path)
    found = bring(supply(tmp_path, offline=True))
    blob.unlink()
    assert supply(tmp_path, offline=True).here(Source(reference=REPO)) == found
    assert Path(found.path).read_bytes() == model(ADA).read_bytes()


def test_all_layers_of_a_model_of_ollamas(tmp_path: Path) -> None:
    layers = [("model", model(ADA)), ("projector", second_files.projector()), ("adapter", second_files.lora())]
    blobs = kit.ollama(tmp_path / ".ollama/models", "library/tiny/latest", layers)
    found = bring(supply(tmp_path, offline=True), "ollama:tiny")
    for path, blob in zip((found.path, found.projector, *found.adapters), blobs, strict=True):
        assert os.path.samefile(path, blob)
    assert Path(found.path) == tmp_path / "store/ollama/registry.ollama.ai/library/tiny/latest/model.gguf"


def test_all_parts_of_a_split_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, parts = tmp_path / ".cache/huggingface/hub", kit.parts_of_split()
    for number, part in enumerate(parts, 1):
        kit.hub(root, "org/split", f"s-Q4_0-0000{number}-of-0000{len(parts)}.gguf", part)
    elsewhere(monkeypatch)
    found = Path(bring(supply(tmp_path, offline=True), "hf.co/org/split:Q4_0").path)
    assert sorted(each.name for each in found.parent.glob("*.gguf")) == [
        f"s-Q4_0-0000{number}-of-0000{len(parts)}.gguf" for number in range(1, len(parts) + 1)
    ]


def test_what_is_damaged_there_is_refused(tmp_path: Path) -> None:
    blob = cached(tmp_path)
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data)
    with pytest.raises(WrongContent, match="not what it is kept as"):
        bring(supply(tmp_path, offline=True))
    with pytest.raises(FetchRefused, match="offline"):
        supply(tmp_path, offline=True).bring(Source(reference=REPO, sha256="0" * 64), lambda _: None, lambda: False)
    assert not (tmp_path / "store/hf/org/ada-GGUF/ada-Q8_0.gguf").exists()


def test_what_no_cache_has_is_refused_as_before(tmp_path: Path) -> None:
    cached(tmp_path)
    for reference in ("hf.co/org/ada-GGUF:Q4_K_M", "hf.co/org/other", "ollama:tiny", "https://host.example/a.gguf"):
        with pytest.raises(FetchRefused, match="offline"):
            bring(supply(tmp_path, offline=True), reference)


@pytest.mark.parametrize("reference", ["hf.co/org/gone:Q8_0", "hf.co/org/private:Q8_0"])
def test_a_hub_that_answers_is_believed(tmp_path: Path, hub: HubServer, reference: str) -> None:
    """404 and 401 are answers: what was here once may have been taken back."""
    hub.repo("org/private", {"ada-Q8_0.gguf": model(ADA).read_bytes()}, token="hf_secret")
    for name in ("org/gone", "org/private"):
        kit.hub(tmp_path / ".cache/huggingface/hub", name, "ada-Q8_0.gguf", model(ADA))
    with pytest.raises(NotThere):
        bring(supply(tmp_path, **online(hub)), reference)


def test_http_without_leave_stays_refused(tmp_path: Path) -> None:
    cached(tmp_path)
    with pytest.raises(FetchFailed, match="http lets anybody"):
        bring(supply(tmp_path), "http://host.example/ada-Q8_0.gguf")


def test_another_file_in_the_store_stays_until_somebody_can_be_asked(tmp_path: Path) -> None:
    cached(tmp_path)
    mine = kit.put(tmp_path / "store/hf/org/ada-GGUF/ada-Q8_0.gguf", model(BEN))
    kit.describe(tmp_path / "store", "hf/org/ada-GGUF/ada-Q8_0.gguf", reference=REPO)
    wanted = sha256(model(ADA).read_bytes())
    with pytest.raises(FetchRefused, match=r"offline.*the store has another file"):
        supply(tmp_path, offline=True).bring(Source(reference=REPO, sha256=wanted), lambda _: None, lambda: False)
    assert mine.read_bytes() == model(BEN).read_bytes()


def test_a_fetch_that_was_given_up_makes_room_for_it(tmp_path: Path) -> None:
    place = tmp_path / "store/hf/org/ada-GGUF"
    place.mkdir(parents=True)
    (place / ".ada-Q8_0.gguf.part").write_bytes(b"some of it")
    cached(tmp_path)
    bring(supply(tmp_path, offline=True))
    assert sorted(each.name for each in place.iterdir()) == [".ada-Q8_0.gguf.origin.json", "ada-Q8_0.gguf"]


async def test_a_model_is_served_from_a_cache_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    blob = cached(tmp_path)
    caplog.set_level("INFO")
    store = StoreSpec(str(tmp_path / "store"), offline=True)
    async with corral({"a": fake(source=Source(reference=REPO))}, store=store) as running:
        assert await running.text("a")
    said = [record.getMessage() for record in caplog.records]
    assert f"hf/org/ada-GGUF/ada-Q8_0.gguf: used in place from {blob}" in said
    assert any("Corral is offline" in line and REPO in line for line in said)


@pytest.mark.parametrize("reference", [REPO, "ollama:tiny"])
def test_what_a_cache_has_is_looked_at_without_a_network(shell: Shell, reference: str) -> None:
    cached(shell.home)
    kit.ollama(shell.home / ".ollama/models", "library/tiny/latest", [("model", model(ADA))])
    shell.env["HF_HUB_OFFLINE"] = "1"
    found = json.loads(shell.run("models", "inspect", reference, "--json").stdout)
    assert (found["name"], found["kind"]) == ("Ada", "model")
    fits = json.loads(shell.run("models", "fit", reference, "--json").stdout)
    assert fits["asked"]["devices"][0]["weights_bytes"] > 0
    assert not (shell.home / ".local/share/corral/models").exists(), "nothing was taken into the store"
    refused = shell.run("models", "inspect", "ollama:other")
    assert refused.returncode == 1 and "offline" in refused.stderr


def test_people_are_told(shell: Shell, hub: HubServer) -> None:
    shell.env |= {"HF_ENDPOINT": hub.endpoint, "CORRAL_STORE__TRUSTED": hub.storage, "NO_COLOR": "1"}
    blob = cached(shell.home)
    shell.env["HF_HUB_OFFLINE"] = "1"
    shown = json.loads(shell.run("models", "pull", REPO, "--dry-run", "--json").stdout)
    assert [each["sha256"] for each in shown["files"]] == [sha256(model(ADA).read_bytes())]
    ran = shell.run("models", "pull", REPO)
    assert ran.returncode == 0, ran.stderr
    assert os.path.samefile(ran.stdout.strip(), blob)
    assert "offline. What is in another program's cache is taken." in ran.stderr
    assert f"Model used in place from {blob}: nothing was copied" in ran.stderr
    again = shell.run("models", "pull", REPO)
    assert "What is here is taken." in again.stderr and "already exists" in again.stderr
    del shell.env["HF_HUB_OFFLINE"]
    Path(ran.stdout.strip()).unlink()
    assert f"used in place from {blob}" in shell.run("models", "pull", REPO).stderr
    assert hub.paths("storage") == []
