"""Which projector belongs to a model, by all that is known of both."""

from __future__ import annotations

import pytest

from corral.store.belonging import Language, Other, Sight, projector_of
from corral.store.gguf.projectors import Projects

QWEN = Projects(("qwen2.5vl_merger",), 3584)
LLAVA = Projects(("mlp",), 4096)


def never() -> Language | None:
    raise AssertionError("its name tells")


def other(name: str, architecture: str = "llama", width: int = 4096) -> Other:
    return Other(name, lambda: Language(name, architecture, width))


def name_of(model: Language, *there: Sight, others: tuple[Other, ...] = ()) -> str | None:
    found = projector_of(model, there, others)
    return found.name if found is not None else None


def test_a_text_model_takes_no_other_model_s_projector() -> None:
    sight = Sight("mmproj-Qwen2.5-VL-7B-Instruct-F16.gguf", QWEN)
    assert name_of(Language("Qwen2.5-7B-Instruct-Q4_K_M.gguf", "qwen2", 3584), sight) is None
    assert name_of(Language("Qwen2.5-VL-7B-Instruct-Q4_K_M.gguf", "qwen2vl", 3584), sight) == sight.name
    assert name_of(Language("Qwen2.5-VL-3B-Instruct-Q4_K_M.gguf", "qwen2vl", 2048), sight) is None


def test_a_nameless_one_belongs_to_the_only_model_that_it_fits() -> None:
    sight = Sight("mmproj-F16.gguf", LLAVA)
    llava = Language("llava-v1.5-7b-Q4_K_M.gguf", "llama", 4096)
    assert name_of(llava, sight) == sight.name
    assert name_of(llava, sight, others=(other("llava-v1.5-7b-Q8_0.gguf"),)) == sight.name, "a quantisation of it"
    assert name_of(llava, sight, others=(other("tiny.gguf", width=2048),)) == sight.name
    assert name_of(llava, sight, others=(other("llama-2-7b.gguf"),)) is None, "nobody can tell whose it is"


def test_of_several_models_it_belongs_to_the_one_whose_name_it_has() -> None:
    sight = Sight("mmproj-llava-v1.5-7b-f16.gguf", LLAVA)
    llava, vicuna = "llava-v1.5-7b-Q4_K_M.gguf", "vicuna-13b-Q4_K_M.gguf"
    assert name_of(Language(llava, "llama", 4096), sight, others=(Other(vicuna, never),)) == sight.name
    assert name_of(Language(vicuna, "llama", 4096), sight, others=(other(llava),)) is None
    assert name_of(Language("llava-v1.6-7b.gguf", "llama", 4096), sight, others=(other(llava),)) is None


def test_a_more_alike_name_of_a_model_that_it_does_not_fit_takes_nothing_away() -> None:
    sight = Sight("mmproj-ada-v2.gguf", LLAVA)
    assert name_of(Language("ada.gguf", "llama", 4096), sight, others=(other("ada-v2.gguf", width=2048),)) == sight.name
    assert name_of(Language("ada.gguf", "llama", 4096), sight, others=(Other("ada-v2.gguf", lambda: None),))


def test_what_came_with_a_model_is_its_own_whatever_else_is_there() -> None:
    mine, named = Sight("mmproj-F16.gguf", LLAVA, came_with=True), Sight("mmproj-ada.gguf", LLAVA)
    ada = Language("ada.gguf", "llama", 4096)
    assert name_of(ada, named, mine, others=(other("bert.gguf"),)) == mine.name
    wrong = Sight("mmproj-F16.gguf", QWEN, came_with=True)
    assert name_of(Language("ada.gguf", "qwen2", 3584), wrong) is None, "but not what cannot be its own"


def test_the_nearest_then_the_most_alike() -> None:
    ada = Language("ada-Q4_K_M.gguf", "llama", 4096)
    near, far = Sight("mmproj-other.gguf", LLAVA), Sight("mmproj-ada.gguf", LLAVA, above=1)
    assert name_of(ada, far, near) == near.name
    assert name_of(ada, near, Sight("mmproj-ada.gguf", LLAVA)) == "mmproj-ada.gguf"
    unknown = Sight("mmproj-ada.gguf", Projects(("gemma3n",), None))
    assert name_of(ada, unknown, near) == near.name, "one that may fit stands behind one that does"


@pytest.mark.parametrize(
    ("there", "best"),
    [(["F32", "Q8_0", "BF16", "F16"], "F16"), (["F32", "Q8_0", "BF16"], "BF16"), (["F32", "Q4_K", "Q8_0"], "Q8_0"),
     (["Q4_K", "F32"], "F32")],
)  # fmt: skip
def test_of_one_projector_s_quantisations_the_small_one_that_every_backend_computes_with(
    there: list[str], best: str
) -> None:
    sights = [Sight(f"mmproj-{number}.gguf", LLAVA, each) for number, each in enumerate(there)]
    for order in (sights, sights[::-1]):
        assert name_of(Language("ada.gguf", "llama", 4096), *order) == f"mmproj-{there.index(best)}.gguf"
    named = [Sight(f"mmproj-{each}.gguf", LLAVA, "F32") for each in there]
    assert name_of(Language("ada.gguf", "llama", 4096), *named) == f"mmproj-{best}.gguf"
