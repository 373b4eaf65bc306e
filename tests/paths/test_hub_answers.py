"""A hub whose answers break off, drip, or are odd in what is not needed: its repositories are read all the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from corral.domain.errors import CorralError, FetchFailed, WrongContent
from corral.domain.references import HubReference
from corral.store.fetch import web as client
from corral.store.fetch.rules import WebRules
from corral.store.fetch.web import Web
from corral.store.sources import hub
from corral.store.sources.hub import Repository, repository
from tests.file_server import Ask, FileServer, Handle, Reply
from tests.hub_server import COMMIT
from tests.paths.fetching_kit import Hurried

NAME = "a-Q4_K_M.gguf"
SIZED = {"rfilename": NAME, "size": 3}
UNSIZED = {"sha": COMMIT, "siblings": [{"rfilename": NAME}]}
ENTRIES = [{"type": "file", "path": f"a{number}-Q4_K_M.gguf", "size": 10} for number in range(50)]


def asked(server: FileServer) -> Repository:
    rules = WebRules(insecure=True, private=True, timeout_s=3)
    return repository(Web(rules, patience=Hurried().patience()), server.origin, HubReference("o/r"))


def answered(handle: Handle) -> Repository:
    with FileServer(handle) as server:
        return asked(server)


def said(value: Any, **headers: str) -> Reply:
    return Reply(200, headers, json.dumps(value).encode())


def paged(*replies: Reply) -> Handle:
    """The listing, in these pages, in this order."""
    left = list(replies)
    return lambda ask: left.pop(0) if "/tree/" in ask.path else said(UNSIZED)


def test_a_page_that_breaks_off_is_asked_for_again() -> None:
    body = json.dumps(ENTRIES).encode()
    assert len(answered(paged(Reply(200, {}, body, cut=100), Reply(200, {}, body))).files) == 50


def test_a_page_that_drips_ends_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "WHOLE_S", 0.2)
    body = json.dumps(ENTRIES).encode()
    with pytest.raises(FetchFailed, match="fell silent"):
        answered(lambda ask: Reply(200, {}, body, drip=True) if "/tree/" in ask.path else said(UNSIZED))


def test_all_pages_come_over_one_connection_whatever_else_their_links_say() -> None:
    with FileServer(_link) as server:
        assert [each.path for each in asked(server).files] == ["a0-Q4_K_M.gguf", "a1-Q4_K_M.gguf", "a2-Q4_K_M.gguf"]
        assert [ask.headers.get("accept") for ask in server.asked] == ["application/json"] * 4
        assert server.connections == 2, "one for the question, one for all pages"


def _link(ask: Ask) -> Reply:
    if "/revision/" in ask.path:
        return said(UNSIZED)
    number = int(ask.path.rpartition("=")[2]) if "page=" in ask.path else 0
    link = f'</>; rel="first", </api/models/o/r/tree/x?page={number + 1}>; title="more"; rel="next"'
    return said(ENTRIES[number : number + 1], **({"Link": link} if number < 2 else {}))


def test_a_page_that_is_its_own_next_one_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_MOST_PAGES", 5)
    with pytest.raises(WrongContent, match="more than 5 pages"):
        answered(lambda ask: said([], Link=f'<{ask.path}>; rel="next"') if "/tree/" in ask.path else said(UNSIZED))


@pytest.mark.parametrize(
    "odd",
    [
        {"sha": None},
        {"sha": 3},
        {"id": None},
        {"tags": None},
        {"tags": ["a", None, "license:mit"]},
        {"cardData": "x", "tags": "x"},
        {"cardData": []},
        {"cardData": {"license": 3}, "tags": ["license:mit"]},
        {"siblings": [{**SIZED, "lfs": {"sha256": None, "oid": 3, "size": None}}]},
        {"siblings": [{**SIZED, "lfs": "x"}]},
        {"siblings": [SIZED, {"rfilename": "README.md", "size": "many", "lfs": []}]},
        {"siblings": [SIZED, {"rfilename": "b.gguf", "size": 1 << 63}, {"rfilename": "c.gguf", "size": -1}]},
    ],
)
def test_what_is_odd_and_not_needed_refuses_no_repository(odd: dict[str, Any]) -> None:
    found = answered(lambda ask: said({"siblings": [SIZED], **odd}))
    assert [(each.path, each.size_bytes) for each in found.files if each.path.endswith(".gguf")] == [(NAME, 3)]
    assert found.licence == ("mit" if "license:mit" in str(odd) else "")


@pytest.mark.parametrize("odd", [[], "x", {"siblings": None}, {"siblings": [{"size": 3}]}, {"siblings": [SIZED, 3]}])
def test_what_has_no_files_is_no_answer_of_a_hub(odd: Any) -> None:
    with pytest.raises(CorralError, match="did not answer as the hub does"):
        answered(lambda ask: said(odd))


def test_sizes_that_are_none_are_looked_for_in_the_listing() -> None:
    odd = {"siblings": [{"rfilename": NAME, "size": "3"}]}
    entry = {"type": "file", "path": NAME, "size": 4, "lfs": None}
    found = answered(lambda ask: said([entry, {"path": "x", "type": None}] if "/tree/" in ask.path else odd))
    assert [each.size_bytes for each in found.files] == [4]
