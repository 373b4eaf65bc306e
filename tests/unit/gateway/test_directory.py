"""Names to Models."""

from __future__ import annotations

import pytest

from corral.domain.errors import UnknownModel
from corral.domain.facts import ModelFacts
from corral.domain.fleet import ModelSpec
from corral.domain.requests import TASKS, DefaultModels, ProfileSpec, RequestRules
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


def test_profiles_are_the_model_with_rules_of_their_own() -> None:
    own = RequestRules({"temperature": 0}, ("seed",))
    profile = ProfileSpec("hot", RequestRules(set={"temperature": 1.5}), ("poet",))
    model = ModelSpec("a", aliases=("x",), request=own, profiles=(profile,), listed_aliases=True)
    directory = ModelDirectory([model])
    assert directory.get("x").request == own and directory.models["a"].request == own
    for name in ("a:hot", "poet"):
        found = directory.get(name)
        assert found.name == "a"
        assert found.request == RequestRules({"temperature": 0}, ("seed",), {"temperature": 1.5}, "a")
    assert [name for name, _ in directory.listed()] == ["a", "x", "a:hot", "poet"]
    assert directory.only is directory.get("a")


def of(directory: ModelDirectory, name: str, task: str) -> str:
    try:
        return directory.standing_in(name, task).name
    except UnknownModel:
        return ""


def test_who_stands_in() -> None:
    models = [ModelSpec("chat"), ModelSpec("embed"), ModelSpec("rank", task="rerank")]
    facts = {"chat": ModelFacts(task="chat"), "embed": ModelFacts(task="embeddings")}
    directory = ModelDirectory(models)
    assert directory.unnamed("chat") is None and of(directory, "gpt-5", "chat") == ""
    named = {"chat": "chat", "embeddings": "embed", "rerank": "rank", "speech": "embed"}
    directory.replace(models, facts, DefaultModels(named))
    found = {task: directory.unnamed(task) for task in TASKS}
    assert {task: each.name for task, each in found.items() if each is not None} == {
        "chat": "chat",
        "completion": "chat",
        "embeddings": "embed",
        "rerank": "rank",
    }, "an embedding model does not speak"
    assert of(directory, "gpt-5", "chat") == "", "names are refused unless the config says otherwise"
    directory.replace(models, facts, DefaultModels(named, for_unknown=True))
    assert [of(directory, "gpt-5", task) for task in ("chat", "embeddings", "images")] == ["chat", "embed", ""]
    assert directory.standing_in("gpt-5", "chat").request == RequestRules(model="chat")


def test_chat_never_lands_on_an_embedding_model() -> None:
    models, facts = [ModelSpec("a"), ModelSpec("b")], {"b": ModelFacts(task="embeddings")}
    directory = ModelDirectory(models)
    directory.replace(models, facts, DefaultModels({"chat": "b", "embeddings": "a"}, for_unknown=True))
    assert directory.unnamed("chat") is None and of(directory, "x", "chat") == ""
    directory.learn({"a": ModelFacts(task="chat")})
    assert directory.unnamed("embeddings") is None


def test_the_only_model_stands_in_where_it_can() -> None:
    directory = ModelDirectory()
    directory.replace([ModelSpec("m")], {"m": ModelFacts(task="embeddings")}, DefaultModels(for_unknown=True))
    assert [of(directory, "x", task) for task in ("chat", "embeddings")] == ["", "m"]
    assert directory.unnamed("chat") is directory.only
