"""What the hub's search says, read with suspicion: no sockets here."""

from __future__ import annotations

from typing import Any, cast

import pytest

from corral.domain.errors import FetchFailed, FetchStopped, NotThere, WrongContent
from corral.domain.references import HubReference
from corral.store.fetch.patience import Stop
from corral.store.fetch.rules import WebRules
from corral.store.fetch.web import Web
from corral.store.fit.rough import RoughModel
from corral.store.search.hub import MOST, search
from corral.store.sources.access import Access
from corral.store.sources.planning import Sources


class Said:
    """A client that has the answers already."""

    rules = WebRules()

    def __init__(self, listing: Any, **repos: Any) -> None:
        self.listing, self.repos, self.asked = listing, repos, list[str]()

    def hasty(self, stop: Stop) -> Said:
        return self

    def json(self, url: str) -> Any:
        self.asked.append(url)
        if "/api/models?" in url:
            return self.listing
        name = url.split("/")[6]
        if name not in self.repos:
            raise NotThere("it is closed")
        if isinstance(self.repos[name], Exception):
            raise self.repos[name]
        return self.repos[name]


def found(said: Said, words: str = "x", limit: int = 10) -> list[Any]:
    sources = Sources(Access("https://hub.lan", WebRules()), cast(Web, said))
    return search(sources, words, limit=limit)


def test_words_are_sent_and_nothing_but_names_comes_back() -> None:
    said = Said([{"id": "o/a", "downloads": -5, "likes": 2, "lastModified": "2026-05-01T\x1b[31m", "gated": "manual"}])
    (hit,) = found(said, "big & small", limit=500)
    assert "search=big+%26+small" in said.asked[0] and f"limit={MOST}" in said.asked[0]
    assert "filter=gguf&sort=downloads&direction=-1" in said.asked[0]
    assert (hit.reference, hit.downloads, hit.gated) == (HubReference("o/a"), 0, True)
    assert set(hit.changed) <= set("0123456789-") and hit.sizes == {} and hit.usual == ""


def test_no_more_than_were_asked_for_whatever_the_hub_sends() -> None:
    said = Said([{"id": f"o/{name}"} for name in "abcde"])
    assert [hit.reference.repo for hit in found(said, limit=2)] == ["o/a", "o/b"]
    assert len(said.asked) == 3, "nor is it asked about the others"


def test_sizes_by_quantisation_come_from_each_repository() -> None:
    repo = {"siblings": [{"rfilename": "a-Q8_0.gguf", "size": 8}, {"rfilename": "a-Q4_K_M.gguf", "size": 4}]}
    (hit,) = found(Said([{"id": "o/a"}], a=repo))
    assert (hit.sizes, hit.usual) == ({"Q4_K_M": 4, "Q8_0": 8}, "Q4_K_M")


def test_a_repository_that_cannot_be_asked_is_shown_without_sizes() -> None:
    repo = {"siblings": [{"rfilename": "a-Q4_K_M.gguf", "size": 4}]}
    rows = [{"id": f"o/{name}"} for name in "abcde"]
    hits = found(Said(rows, a=repo, b=FetchFailed("It broke."), c=FetchStopped(), d=[3]))
    assert [bool(hit.sizes) for hit in hits] == [True, False, False, False, False]
    assert hits[0].problem == "" and hits[1].problem == "It broke." and hits[2].problem and hits[3].problem
    assert hits[4].problem == "", "a closed one is no failure"


def test_what_the_hub_has_read_of_a_header_is_taken_where_it_can_be() -> None:
    files = {"siblings": [{"rfilename": "a-Q8_0.gguf", "size": 8_500_000_000}]}
    said = {"total": 8_000_000_000, "architecture": "llama", "context_length": 131072, "chat_template": "..."}
    (hit,) = found(Said([{"id": "o/a"}], a={**files, "gguf": said}))
    assert hit.rough("Q8_0") == RoughModel("Q8_0", 8_500_000_000, 8_000_000_000, "llama", 131072)
    assert hit.rough("Q4_K_M") is None
    odd: list[Any] = [None, [], "x", {"total": "many", "architecture": 3, "context_length": -1}, {"total": 1 << 60}]
    for strange in odd:
        (hit,) = found(Said([{"id": "o/a"}], a={**files, "gguf": strange}))
        assert hit.rough("Q8_0") == RoughModel("Q8_0", 8_500_000_000)


@pytest.mark.parametrize("name", ["../x", "o", "o/a/b", "o/a:Q4", "o/\x1b[2J", "", "o/a@main/x.gguf"])
def test_names_that_are_none_are_left_out(name: str) -> None:
    assert found(Said([{"id": name}])) == []


@pytest.mark.parametrize("listing", [{}, [3], [{}], "x", None, [{"id": 3}], [{"id": "o/a", "likes": "many"}]])
def test_what_no_hub_says(listing: Any) -> None:
    with pytest.raises(WrongContent):
        found(Said(listing))
