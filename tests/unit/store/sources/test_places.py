"""What is another file has another place, however alike their addresses are."""

from __future__ import annotations

import pytest

from corral.store.sources.places import web_place

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
