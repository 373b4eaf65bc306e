"""One model under several names: spelled otherwise, renamed, of a revision, by http and by https; once in the store."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from corral.contracts.fetching import Fetched, Plan
from corral.domain.fleet import ModelSpec, Source
from corral.domain.references import WebReference, parse
from corral.domain.storage import StoreSpec
from corral.store.fetch.rules import target_of
from corral.store.fetches import StoreFetches
from corral.store.shelf.index import Index
from corral.store.shelf.items import Item
from corral.store.shelf.naming import meant
from corral.store.shelf.removing import planned, remove
from corral.store.shelf.serving import stored_models
from corral.store.shelf.walk import walk
from corral.store.supply import store_supply
from tests.file_server import FileServer, of_file
from tests.hub_server import HubServer
from tests.models import ADA, BEN, model
from tests.paths.fetching_kit import plan_for, puller, sha256

OWN, OTHER = "hf.co/Org/Ada-GGUF", "hf.co/org/ADA-gguf"


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as hub:
        ada, ben = model(ADA).read_bytes(), model(BEN).read_bytes()
        files = {"ada-Q8_0.gguf": ada, "ada-Q4_K_M.gguf": ben}
        hub.repo("Org/Ada-GGUF", files, revisions=("main", "a/b", "a--b"))
        yield hub


class Store:
    """Of a user with this hub."""

    def __init__(self, hub: HubServer, home: Path) -> None:
        self.root, self.hub, self.home = home / "store", hub, home

    def spec(self, **settings: Any) -> StoreSpec:
        trusted = frozenset(self.hub.trusted)
        return StoreSpec(str(self.root), endpoint=self.hub.endpoint, trusted=trusted, serve=True, **settings)

    def pull(self, reference: str, **settings: Any) -> Fetched:
        fetches = StoreFetches(self.spec(**settings), {"HOME": str(self.home)})
        return fetches.fetch(fetches.plan(parse(reference)))

    def held(self, reference: str) -> str | None:
        """With nobody asked."""
        found = store_supply(self.spec(offline=True), {"HOME": str(self.home)}).here(Source(reference=reference))
        return None if found is None else found.path.removeprefix(f"{self.root}/")

    def items(self) -> list[Item]:
        return Index(self.root).items()

    def folders(self) -> list[str]:
        return sorted(str(path.relative_to(self.root)) for path in self.root.glob("*/*/*") if path.is_dir())

    def fetched(self) -> int:
        return len(self.hub.paths("storage"))

    def respelled(self) -> None:
        """As it was written before the hub's own spelling counted."""
        shutil.move(self.root / "hf/Org/Ada-GGUF", self.root / "hf/org/ADA-gguf")
        (self.root / "hf/Org").rmdir()
        for path in (self.root / "hf/org/ADA-gguf").glob(".*.origin.json"):
            path.write_text(path.read_text().replace(OWN, OTHER))


@pytest.fixture
def store(hub: HubServer, tmp_path: Path) -> Store:
    return Store(hub, tmp_path)


@pytest.mark.parametrize("redirects", [True, False])
def test_the_hubs_own_spelling_names_the_folder(store: Store, hub: HubServer, redirects: bool) -> None:
    hub.redirects = redirects
    fetched = store.pull(f"{OTHER}:Q8_0")
    assert str(fetched.plan.reference) == f"{OWN}:Q8_0"
    assert store.folders() == ["hf/Org/Ada-GGUF"]
    before = store.fetched()
    assert store.pull(f"{OWN}:Q8_0").paths == store.pull("hf.co/ORG/ada-gguf:Q8_0").paths == fetched.paths
    assert store.fetched() == before


@pytest.mark.parametrize("asked", [OWN, OTHER, "hf:ORG/ada-gguf"])
@pytest.mark.parametrize("what", [":Q4_K_M", "/ada-Q4_K_M.gguf", ""])
def test_what_is_here_is_found_however_it_is_spelled(store: Store, asked: str, what: str) -> None:
    store.pull(f"{OTHER}{what}")
    assert store.held(f"{asked}{what}") == "hf/Org/Ada-GGUF/ada-Q4_K_M.gguf"
    assert store.held("hf.co/Org/Ada:Q4_K_M") is None


def test_a_folder_of_once_is_used_and_what_comes_joins_it(store: Store) -> None:
    store.pull(f"{OWN}:Q8_0")
    store.respelled()
    before = store.fetched()
    for asked in (OWN, OTHER, "hf.co/ORG/ada-gguf"):
        assert store.held(f"{asked}:Q8_0") == "hf/org/ADA-gguf/ada-Q8_0.gguf"
        assert store.pull(f"{asked}:Q8_0").model == store.root / "hf/org/ADA-gguf/ada-Q8_0.gguf"
    assert store.fetched() == before, "it was fetched a second time"
    store.pull(f"{OWN}:Q4_K_M")
    assert store.folders() == ["hf/org/ADA-gguf"]


def test_of_two_folders_the_one_that_has_it_is_used(store: Store) -> None:
    store.pull(f"{OWN}:Q8_0")
    store.respelled()
    (store.root / "hf/Org/Ada-GGUF").mkdir(parents=True)
    before = store.fetched()
    assert store.pull(f"{OWN}:Q8_0").model == store.root / "hf/org/ADA-gguf/ada-Q8_0.gguf"
    assert store.fetched() == before
    assert store.pull(f"{OWN}:Q4_K_M").model == store.root / "hf/Org/Ada-GGUF/ada-Q4_K_M.gguf"
    assert store.held(f"{OTHER}:Q4_K_M") == "hf/Org/Ada-GGUF/ada-Q4_K_M.gguf"


@pytest.mark.parametrize("old", [False, True])
def test_lists_and_removals_take_either_spelling(store: Store, old: bool) -> None:
    store.pull(f"{OWN}:Q8_0")
    store.pull(f"{OWN}:Q4_K_M")
    if old:
        store.respelled()
    items = store.items()
    for asked in (OWN, OTHER):
        assert len(meant(asked, items)) == 2
        assert [item.path.name for item in meant(f"{asked}:Q4_K_M", items)] == ["ada-Q4_K_M.gguf"]
    for removal in planned(store.root, meant(OTHER, items), items, walk(store.root)):
        remove(store.root, removal)
    assert not store.root.joinpath("hf").exists()


@pytest.mark.parametrize("old", [False, True])
def test_a_model_of_the_config_is_not_served_a_second_time(store: Store, old: bool) -> None:
    store.pull(f"{OWN}:Q8_0")
    if old:
        store.respelled()
    mine = ModelSpec("mine", source=Source(reference=f"{OTHER}:Q8_0"))
    assert [each.model for each in stored_models(store.spec(offline=True), [mine])] == ["mine"]


def test_a_repository_that_was_renamed_stays_under_the_name_that_was_asked_for(
    store: Store, hub: HubServer, caplog: pytest.LogCaptureFixture
) -> None:
    hub.moved["old/ada"] = "Org/Ada-GGUF"
    with caplog.at_level(logging.WARNING):
        fetched = store.pull("hf.co/old/ada:Q8_0")
    assert "hf.co/old/ada is called hf.co/Org/Ada-GGUF by now" in caplog.text
    assert (str(fetched.plan.reference), store.folders()) == ("hf.co/old/ada:Q8_0", ["hf/old/ada"])
    assert store.held("hf.co/old/ada:Q8_0") == "hf/old/ada/ada-Q8_0.gguf"
    assert store.held(f"{OWN}:Q8_0") is None
    assert store.held("hf.co/Old/Ada:Q8_0") == "hf/old/ada/ada-Q8_0.gguf"


def test_revisions_that_look_alike_have_folders_of_their_own(store: Store) -> None:
    found = {store.pull(f"{OWN}@{revision}:Q8_0").model for revision in ("a%2Fb", "a--b")}
    assert len(found) == 2
    assert store.folders() == ["hf/Org/Ada-GGUF@a%2Fb", "hf/Org/Ada-GGUF@a-%2Db"]
    for item in store.items():
        (item.path.with_name(f".{item.path.name}.origin.json")).unlink()
    assert {item.reference for item in store.items()} == {
        f"{OWN}@a%2Fb/ada-Q8_0.gguf", f"{OWN}@a--b/ada-Q8_0.gguf"
    }, "a folder tells its revision"  # fmt: skip


def test_a_folder_of_once_belongs_to_the_revision_that_its_files_came_from(store: Store) -> None:
    store.pull(f"{OWN}@a%2Fb:Q8_0")
    old = store.root / "hf/Org/Ada-GGUF@a--b"
    shutil.move(store.root / "hf/Org/Ada-GGUF@a%2Fb", old)
    before = store.fetched()
    assert store.held(f"{OWN}@a%2Fb:Q8_0") == "hf/Org/Ada-GGUF@a--b/ada-Q8_0.gguf"
    assert store.held(f"{OTHER}@a%2Fb:Q8_0") == "hf/Org/Ada-GGUF@a--b/ada-Q8_0.gguf"
    assert store.held(f"{OWN}@a--b:Q8_0") is None
    assert store.pull(f"{OWN}@a%2Fb:Q8_0").model == old / "ada-Q8_0.gguf"
    assert store.fetched() == before
    assert store.pull(f"{OWN}@a--b:Q8_0").model == store.root / "hf/Org/Ada-GGUF@a-%2Db/ada-Q8_0.gguf"
    assert store.pull(f"{OWN}@a%2Fb:Q4_K_M").model == store.root / "hf/Org/Ada-GGUF@a%2Fb/ada-Q4_K_M.gguf"
    (old / ".ada-Q8_0.gguf.origin.json").unlink()
    assert store.held(f"{OWN}@a%2Fb:Q8_0") and store.held(f"{OWN}@a--b:Q8_0") == (
        "hf/Org/Ada-GGUF@a-%2Db/ada-Q8_0.gguf"
    )


# --- http and https ---------------------------------------------------------------------------------------------------

SECURE, PLAIN = "https://files.example/m/ada.gguf", "http://files.example/m/ada.gguf"


def put(store: Store, path: str, reference: str = "") -> None:
    place = store.root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(model(ADA).read_bytes())
    if reference:
        said = {
            "version": 1,
            "reference": reference,
            "url": reference,
            "size": place.stat().st_size,
            "sha256": "0" * 64,
        }
        place.with_name(f".{place.name}.origin.json").write_text(json.dumps(said))


def test_what_came_by_http_is_not_what_is_asked_for_by_https(store: Store) -> None:
    put(store, "web/files.example@http/m/ada.gguf", PLAIN)
    assert (store.held(SECURE), store.held(PLAIN)) == (None, "web/files.example@http/m/ada.gguf")
    put(store, "web/files.example/m/ada.gguf", SECURE)
    assert (store.held(SECURE), store.held(PLAIN)) == (
        "web/files.example/m/ada.gguf", "web/files.example@http/m/ada.gguf"
    )  # fmt: skip


def test_in_the_folder_that_both_had_once_its_origin_tells(store: Store) -> None:
    put(store, "web/files.example/m/ada.gguf", PLAIN)
    assert (store.held(SECURE), store.held(PLAIN)) == (None, "web/files.example/m/ada.gguf")
    put(store, "web/files.example/m/ada.gguf", SECURE)
    assert (store.held(SECURE), store.held(PLAIN)) == ("web/files.example/m/ada.gguf", None)
    assert store.held("https://FILES.example/m/%61da.gguf?download=true") == "web/files.example/m/ada.gguf"


def test_what_somebody_has_put_there_by_hand_is_taken(store: Store) -> None:
    put(store, "web/files.example/m/ada.gguf")
    assert (store.held(SECURE), store.held(PLAIN)) == ("web/files.example/m/ada.gguf", None)


def test_addresses_whose_places_are_the_same_are_not_the_same(store: Store) -> None:
    put(store, "web/files.example/m/a_b.gguf", "https://files.example/m/a~b.gguf")
    assert store.held("https://files.example/m/a~b.gguf") == "web/files.example/m/a_b.gguf", "it was put there once"
    assert store.held("https://files.example/m/a!b.gguf") is None
    assert store.held("https://files.example/m/a_b.gguf") is None


@pytest.mark.parametrize(
    ("one", "other"),
    [("/модель.gguf", "/файлик.gguf"), ("/a%20b.gguf", "/a_b.gguf"), ("/モデル/q8.gguf", "/别的/q8.gguf"),
     ("/m/a.gguf", "/m%2Fa.gguf"), ("/m/a.gguf", "/m//a.gguf"), ("/a%FF.gguf", "/a%FE.gguf")],
)  # fmt: skip
def test_files_of_two_addresses_are_two_files(store: Store, one: str, other: str) -> None:
    ada, ben = model(ADA).read_bytes(), model(BEN).read_bytes()
    sent = target_of(f"https://h.example{one}").path
    with FileServer(lambda ask: of_file(ask, ada if ask.path == sent else ben)) as server:

        def pull(path: str) -> Path:
            fetches = StoreFetches(store.spec(), {"HOME": str(store.home)}, insecure=True, private=True)
            return fetches.fetch(fetches.plan(parse(f"{server.origin}{path}"))).model

        first, second = pull(one), pull(other)
        assert (first.read_bytes(), second.read_bytes()) == (ada, ben)
        assert store.held(f"{server.origin}{one}") == str(first.relative_to(store.root))
        assert store.held(f"{server.origin}{other}") == str(second.relative_to(store.root))


@pytest.mark.parametrize("host", ["127.0.0.1_{}", "127.0.0.1_{}@http"])
def test_what_was_put_under_a_name_of_once_is_found_and_not_fetched_again(store: Store, host: str) -> None:
    data = model(ADA).read_bytes()
    with FileServer(lambda ask: of_file(ask, data)) as server:
        url, old = f"{server.origin}/модель a.gguf", f"web/{host.format(server.port)}/_a.gguf"
        put(store, old, url)
        said = store.root / f"{old.replace('_a.gguf', '._a.gguf.origin.json')}"
        said.write_text(said.read_text().replace("0" * 64, sha256(data)))
        fetches = StoreFetches(store.spec(), {"HOME": str(store.home)}, insecure=True, private=True)
        plan = fetches.plan(parse(url))
        assert store.held(url) == old == plan.files[0].path
        sent = server.sent_bytes
        assert fetches.here(plan) and fetches.fetch(plan).model == store.root / old
        assert server.sent_bytes == sent


@pytest.mark.parametrize("known", [False, True])
def test_a_fetch_by_https_replaces_what_came_by_http_unless_its_hash_is_known(tmp_path: Path, known: bool) -> None:
    data = model(ADA).read_bytes()
    with FileServer(lambda ask: of_file(ask, data)) as server:
        url = f"{server.origin}/ada.gguf"
        plain = plan_for(url, data, path="web/h/ada.gguf", known=False)
        puller(tmp_path).fetch(plain)
        sent = server.sent_bytes
        puller(tmp_path).fetch(plain)
        assert server.sent_bytes == sent
        asked: Plan = dataclasses.replace(
            plan_for(url, data, path="web/h/ada.gguf", known=known),
            reference=WebReference(url.replace("http://", "https://")),
        )
        puller(tmp_path).fetch(asked)
        assert (server.sent_bytes == sent) is known


def test_a_file_by_http_is_fetched_once_wherever_it_was_put(store: Store) -> None:
    data = model(ADA).read_bytes()
    with FileServer(lambda ask: of_file(ask, data)) as server:
        url = f"{server.origin}/m/ada.gguf"
        host = f"127.0.0.1_{server.port}"

        def pull() -> Path:
            fetches = StoreFetches(store.spec(), {"HOME": str(store.home)}, insecure=True, private=True)
            plan = fetches.plan(parse(url))
            assert fetches.here(plan) is fetches.places(plan)[0].exists()
            return fetches.fetch(plan).model

        assert pull() == store.root / f"web/{host}@http/m/ada.gguf"
        sent = server.sent_bytes
        shutil.move(store.root / f"web/{host}@http", store.root / f"web/{host}")
        assert pull() == store.root / f"web/{host}/m/ada.gguf"
        assert server.sent_bytes - sent < 10, "only asked for its size"
