import pytest

from corral.domain.errors import UnknownModel
from corral.domain.fleet import ModelSpec
from corral.domain.names import MODEL_NAME, directory, near_names, resolve

MODELS = [ModelSpec("Qwen3-Coder-30B", aliases=("coder",)), ModelSpec("embedder")]


def test_names_and_aliases_lead_to_the_model() -> None:
    names = directory(MODELS)

    assert resolve("coder", names) == "Qwen3-Coder-30B"
    assert resolve("embedder", names) == "embedder"


def test_an_unknown_name_is_answered_with_near_ones() -> None:
    with pytest.raises(UnknownModel) as caught:
        resolve("qwen3-coder-30", directory(MODELS))

    assert caught.value.near == ("Qwen3-Coder-30B",)
    assert "'Qwen3-Coder-30B'" in caught.value.sentence()


def test_what_a_name_shortens_is_nearer_than_what_it_resembles() -> None:
    assert near_names("cmd", ["cwd", "command", "memory"], most=1) == ("command",)
    assert near_names("cwd", ["cwd", "command"], most=1) == ("cwd",)
    assert near_names("cdw", ["cwd", "command"], most=1) == ("cwd",)


def test_a_huge_name_is_cut_in_the_message() -> None:
    with pytest.raises(UnknownModel) as caught:
        resolve("x" * 100_000, directory(MODELS))

    assert len(caught.value.sentence()) < 300


@pytest.mark.parametrize("name", ["a", "org/model:Q4_K_M", "Model-1.5@x+y"])
def test_good_names(name: str) -> None:
    assert MODEL_NAME.match(name)


@pytest.mark.parametrize("name", ["", ".hidden", "a b", "a\n", "-x", "ä", "a" * 201])
def test_bad_names(name: str) -> None:
    assert not MODEL_NAME.fullmatch(name)
