"""What is another file has another place, however alike their addresses are."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from corral.domain.references import HubReference
from corral.store.fetch.rules import target_of
from corral.store.sources.places import hub_folder, revision_of, web_place, web_places

HERE = "https://files.example/dl"


def test_what_is_asked_for_behind_the_path_tells_files_apart() -> None:
    places = {web_place(f"{HERE}{query}") for query in ("", "?id=1", "?id=2", "?id=1&part=2")}
    assert len(places) == 4 and "web/files.example/dl.gguf" in places
    assert all("id" not in place.rpartition("/")[2] for place in places), "it may be a secret"


@pytest.mark.parametrize("query", ["", "?", "?download=true", "?download"])
def test_what_says_nothing_of_the_file_leaves_its_name(query: str) -> None:
    assert web_place(f"{HERE}/Model-Q8_0.gguf{query}") == "web/files.example/dl/Model-Q8_0.gguf"


def test_parts_of_a_split_model_stay_parts() -> None:
    first, second = (web_place(f"{HERE}/m-0000{number}-of-00002.gguf?key=a") for number in (1, 2))
    assert first.endswith("-00001-of-00002.gguf") and first.replace("-00001-", "-00002-") == second
    assert not first.endswith("/m-00001-of-00002.gguf")


def test_a_name_that_is_given_is_the_name() -> None:
    assert web_place(f"{HERE}?id=1", "mine.gguf") == "web/files.example/mine.gguf"


@pytest.mark.parametrize("url", ["http://h.example/a.gguf", "HTTP://H.example/a.gguf"])
def test_http_has_a_folder_of_its_own(url: str) -> None:
    assert web_place(url) == "web/h.example@http/a.gguf"
    assert web_places(url)[-1] == web_place("https://h.example/a.gguf") == "web/h.example/a.gguf"


@pytest.mark.parametrize(
    ("revision", "folder"),
    [
        ("main", "r"), ("v1.0", "r@v1.0"), ("a/b", "r@a%2Fb"), ("a--b", "r@a-%2Db"), ("a---b", "r@a-%2D-b"),
        ("a----b", "r@a-%2D-%2Db"), ("a/-b", "r@a%2F-b"), ("a-/b", "r@a-%2Fb"), ("refs/pr/1", "r@refs%2Fpr%2F1"),
    ],
)  # fmt: skip
def test_a_folder_tells_its_revision(revision: str, folder: str) -> None:
    assert hub_folder(HubReference("o/r", revision)) == f"hf/o/{folder}"
    assert revision_of(folder) == revision


@given(st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9._/-]{0,40}\Z"))
def test_every_revision_has_its_own_folder(revision: str) -> None:
    assume("//" not in revision and "/." not in revision)
    folder = hub_folder(HubReference("o/r", revision))
    assert revision_of(folder.rpartition("/")[2]) == revision and folder.count("/") == 2


def test_of_a_folder_of_once() -> None:
    assert revision_of("r@refs--pr--1") == "refs/pr/1"


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/модель.gguf", "модель.gguf"),
        ("/%D0%BC%D0%BE%D0%B4%D0%B5%D0%BB%D1%8C.gguf", "модель.gguf"),
        ("/モデル/q8.gguf", "モデル/q8.gguf"),
        ("/My%20Model%20(v1)!.gguf", "My Model (v1)!.gguf"),
        ("/a_b.gguf", "a_b.gguf"),
        ("/50%25.gguf", "50%.gguf"),
    ],
)
def test_a_name_that_can_be_one_stays_as_it_is(path: str, place: str) -> None:
    assert web_place(f"https://h.example{path}") == f"web/h.example/{place}"


def test_what_a_name_does_not_say_is_in_its_mark() -> None:
    paths = [
        "/a/b.gguf", "/a//b.gguf", "//a/b.gguf", "/a%2Fb.gguf", "/a%2fb.gguf?x", "/a%3Ab.gguf", "/a%5Cb.gguf",
        "/a_b.gguf", "/a%00b.gguf", "/a%E2%80%AEb.gguf", "/a%FFb.gguf", "/a%FEb.gguf", "/a%EF%BF%BDb.gguf",
        "/a:b.gguf?x",
        *(f"/{letter * 300}{end}.gguf" for letter in "жя" for end in "12"),
        *(f"/{'x' * 300}{end}.gguf" for end in "12"),
        *(f"/{letter * 300}{end}/a.gguf" for letter in "жя" for end in "12"),
    ]  # fmt: skip
    places = [web_place(f"https://h.example{path}") for path in paths]
    assert len(set(places)) == len(paths)
    assert web_place("https://h.example/a%2Fb.gguf") == web_place("https://h.example/%61%2fb.gguf?download=true")
    assert all(len(part.encode()) < 220 for place in places for part in place.split("/"))


def test_parts_with_a_mark_stay_parts() -> None:
    first, second = (web_place(f"https://h.example/d%2Fe/m-0000{number}-of-00002.gguf?x") for number in (1, 2))
    assert first.replace("-00001-", "-00002-") == second and "/d_e/m-" in first
    assert first != web_place("https://h.example/d:e/m-00001-of-00002.gguf?x")


NAMES = st.text("abж/%25F:_ ", min_size=1, max_size=8)
ADDRESS = NAMES.map(lambda text: f"https://h.example/a{quote(text, '/%')}c.gguf")


@given(ADDRESS, ADDRESS)
def test_no_two_addresses_have_one_place(one: str, other: str) -> None:
    assume(target_of(one).spelled != target_of(other).spelled)
    assert web_place(one) != web_place(other)
