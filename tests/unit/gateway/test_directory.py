"""Names to Models."""

from __future__ import annotations

import pytest

from corral.domain.errors import UnknownModel
from corral.domain.fleet import ModelSpec
from corral.gateway.directory import ModelDirectory


def test_names_aliases_and_the_only_one() -> None:
    one = ModelSpec("a", aliases=("x",))
    directory = ModelDirectory([one])
    assert all(found is one for found in (directory.get("x"), directory.find("a"), directory.only))
    directory.replace([one, ModelSpec("b", unlisted=True)])
    assert directory.only is None
    assert [name for name, _ in directory.listed()] == ["a"]
    assert directory.get("b").name == "b"


def test_hints_do_not_give_unlisted_models_away() -> None:
    directory = ModelDirectory([ModelSpec("llama"), ModelSpec("llama-secret", unlisted=True, aliases=("llama2",))])
    with pytest.raises(UnknownModel) as caught:
        directory.get("llama-secre")
    assert caught.value.near == ("llama",)


def test_aliases_are_listed_where_the_model_says_so() -> None:
    directory = ModelDirectory(
        [
            ModelSpec("a", aliases=("x", "y"), listed_aliases=True),
            ModelSpec("b", aliases=("z",)),
            ModelSpec("c", aliases=("w",), listed_aliases=True, unlisted=True),
        ]
    )
    assert [name for name, _ in directory.listed()] == ["a", "x", "y", "b"]


def test_a_name_that_is_meant() -> None:
    found = ModelDirectory([ModelSpec("Big", aliases=("coder:latest",)), ModelSpec("big")])
    assert found.meant(["Big"])[0] == "Big" and found.meant(["big"])[0] == "big", "as it is written goes first"
    assert found.meant(["x", "CODER:latest"])[0] == "coder:latest"
    assert found.meant(["BIG"])[1].name == "Big", "the first of those that differ in case only"
    with pytest.raises(UnknownModel, match="'bog'"):
        found.meant(["bog", "bog:latest"])
    found.replace([ModelSpec("new")])
    assert found.meant(["NEW"])[0] == "new"
    with pytest.raises(UnknownModel):
        found.meant(["BIG"])
