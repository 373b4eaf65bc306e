"""Which files of a repository are meant, by names and sizes as repositories have them."""

from __future__ import annotations

import tracemalloc

import pytest

from corral.contracts.fetching import Role
from corral.domain.errors import NotThere
from corral.store.sources.choosing import Chosen, choose, quants, role_of
from corral.store.sources.listing import ListedFile

GIB = 1024**3


def listed(*paths: str, size: int | None = GIB) -> list[ListedFile]:
    return [ListedFile(path, size) for path in paths]


def chosen(files: list[ListedFile], *, quant: str = "", file: str = "") -> list[str]:
    return names(choose(files, quant=quant, file=file, where="hf.co/o/r"))


def names(found: Chosen) -> list[str]:
    return [each.path for each in found.model.files] + ([found.projector.path] if found.projector else [])


def refused(files: list[ListedFile], *, quant: str = "", file: str = "") -> str:
    with pytest.raises(NotThere) as caught:
        choose(files, quant=quant, file=file, where="hf.co/o/r")
    return caught.value.sentence()


SAY_WHICH = "Say which: --file NAME, or as Ollama's clients do, hf.co/ORG/REPO:NAME."

UNSLOTH = listed(
    "README.md", "config.json", "imatrix_unsloth.gguf_file", "imatrix_unsloth.gguf",
    "BF16/Big-BF16-00001-of-00002.gguf", "BF16/Big-BF16-00002-of-00002.gguf",
    "Big-Q2_K.gguf", "Big-Q4_0.gguf", "Big-Q4_K_M.gguf", "Big-Q4_K_S.gguf", "Big-Q8_0.gguf",
    "Big-UD-Q4_K_XL.gguf", "Big-UD-IQ1_S.gguf", "mmproj-BF16.gguf", "mmproj-F16.gguf", "mmproj-F32.gguf",
)  # fmt: skip


def test_by_default_the_usual_quantisation_and_its_projector() -> None:
    assert chosen(UNSLOTH) == ["Big-Q4_K_M.gguf", "mmproj-F16.gguf"]


@pytest.mark.parametrize(
    ("quant", "first"),
    [
        ("q8_0", "Big-Q8_0.gguf"),
        ("Q4-K-S", "Big-Q4_K_S.gguf"),
        ("UD-Q4_K_XL", "Big-UD-Q4_K_XL.gguf"),
        ("q4_k_xl", "Big-UD-Q4_K_XL.gguf"),
        ("iq1_s", "Big-UD-IQ1_S.gguf"),
        ("Q8_0.gguf", "Big-Q8_0.gguf"),
        ("q80", "Big-Q8_0.gguf"),
    ],
)
def test_the_quantisation_that_was_named(quant: str, first: str) -> None:
    assert chosen(UNSLOTH, quant=quant)[0] == first


def test_a_quantisation_that_was_named_as_a_file() -> None:
    assert chosen(UNSLOTH, file="q8_0.gguf")[0] == "Big-Q8_0.gguf"
    assert chosen(UNSLOTH, file="Q4-K-XL.GGUF")[0] == "Big-UD-Q4_K_XL.gguf"
    assert "has no Q6_K. There is: Big-Q4_K_M.gguf" in refused(UNSLOTH, file="Q6_K.gguf")
    assert "has no file Small-Q8_0.gguf" in refused(UNSLOTH, file="Small-Q8_0.gguf"), "that is another model's"


def test_a_mix_is_not_taken_for_the_plain_one_that_is_there() -> None:
    files = listed("a-UD-Q4_K_M.gguf", "a-Q4_K_M.gguf")
    assert chosen(files) == chosen(files, quant="Q4_K_M") == ["a-Q4_K_M.gguf"]
    assert chosen(files, quant="UD-Q4_K_M") == ["a-UD-Q4_K_M.gguf"]


def test_all_parts_in_order_with_the_projector_above_them() -> None:
    parts = ["BF16/Big-BF16-00001-of-00002.gguf", "BF16/Big-BF16-00002-of-00002.gguf"]
    assert chosen(UNSLOTH[::-1], quant="bf16") == [*parts, "mmproj-F16.gguf"]
    for part in (*parts, "Big-BF16-00002-of-00002.gguf", "BF16/Big-BF16.gguf", "big-bf16"):
        assert chosen(UNSLOTH, file=part) == [*parts, "mmproj-F16.gguf"], part


def test_folders_named_by_the_quantisation() -> None:
    files = listed("Q4_K_M/m-00001-of-00002.gguf", "Q4_K_M/m-00002-of-00002.gguf", "Q8_0/m-00001-of-00001.gguf")
    assert chosen(files) == ["Q4_K_M/m-00001-of-00002.gguf", "Q4_K_M/m-00002-of-00002.gguf"]
    assert chosen(files, quant="q8_0") == ["Q8_0/m-00001-of-00001.gguf"]


def test_parts_that_are_not_there_are_named() -> None:
    files = listed("m-Q8_0-00001-of-00003.gguf", "m-Q8_0-00003-of-00003.gguf", "m-Q4_K_M-00002-of-00002.gguf")
    assert refused(files, quant="Q8_0") == (
        "hf.co/o/r has 2 of the 3 parts of m-Q8_0.gguf: m-Q8_0-00002-of-00003.gguf not there. "
        "Try again when the upload is done, or take another quantisation."
    )
    assert "m-Q4_K_M-00001-of-00002.gguf not there" in refused(files, file="m-Q4_K_M-00002-of-00002.gguf")


def test_whoever_claims_to_have_very_many_parts_costs_no_more_than_what_there_is() -> None:
    files = listed(
        *(f"x{number}-Q4_K_M-00001-of-{count}.gguf" for number in range(300) for count in ("09999", "99999"))
    )
    tracemalloc.start()
    assert quants(files) == {}
    said = refused(files, file="x7-Q4_K_M-00001-of-09999.gguf")
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most_bytes < 5_000_000, "a name for every part that is not there takes a gigabyte"
    assert said.startswith(
        "hf.co/o/r has 1 of the 9999 parts of x7-Q4_K_M.gguf: x7-Q4_K_M-00002-of-09999.gguf, "
        "x7-Q4_K_M-00003-of-09999.gguf, x7-Q4_K_M-00004-of-09999.gguf and 9995 more not there."
    )
    assert "1 of the 99999 parts" in refused(files, file="x7-Q4_K_M-00001-of-99999.gguf")


def test_a_part_that_is_listed_twice_stands_for_no_other() -> None:
    twice = ["m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf"]
    assert "m-Q8_0-00002-of-00002.gguf not there" in refused(listed(*twice[:2]))
    assert "1 of the 2 parts" in refused(listed(twice[0], "m-Q8_0-00002-of-00002.GGUF"), file=twice[0])
    assert chosen(listed(*twice)) == twice[1:]


def test_an_upload_that_is_not_done_is_not_taken_by_default() -> None:
    assert chosen(listed("m-Q4_K_M-00001-of-00002.gguf", "m-Q5_K_M.gguf")) == ["m-Q5_K_M.gguf"]


def test_what_has_no_quantisation_in_its_name_is_taken_where_it_is_alone() -> None:
    assert chosen(listed("model.gguf", "README.md")) == ["model.gguf"]
    said = refused(listed("small.gguf", "large.gguf"))
    assert said == f"hf.co/o/r has several models: large.gguf (1 GiB), small.gguf (1 GiB). {SAY_WHICH}"


def test_two_models_of_one_quantisation_are_not_clear() -> None:
    files = listed("A-4B-Q4_K_M.gguf", "A-4B-128K-Q4_K_M.gguf", "A-4B-Q8_0.gguf")
    assert refused(files) == (
        f"hf.co/o/r has several models of Q4_K_M: A-4B-128K-Q4_K_M.gguf (1 GiB), A-4B-Q4_K_M.gguf (1 GiB). {SAY_WHICH}"
    )
    assert chosen(files, quant="Q8_0") == ["A-4B-Q8_0.gguf"]
    assert chosen(files, file="a-4b-q4_k_m.gguf") == ["A-4B-Q4_K_M.gguf"]


def test_one_file_goes_before_the_same_in_parts() -> None:
    parts = ["m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf"]
    assert chosen(listed(*parts, "m-Q8_0.gguf")) == ["m-Q8_0.gguf"]
    assert chosen(listed(*parts, "m-Q8_0-00001-of-00003.gguf"), quant="Q8_0") == parts
    assert chosen(listed(*parts, "m-Q8_0.gguf"), file=parts[1]) == parts


def test_a_quantisation_that_is_not_there_lists_what_is() -> None:
    files = [ListedFile("a-Q4_K_M.gguf", 5 * GIB // 2), ListedFile("a-Q5_K_M.gguf")]
    assert refused(files, quant="q5_k_s") == (
        "hf.co/o/r has no Q5_K_S. There is: a-Q4_K_M.gguf (2.5 GiB), a-Q5_K_M.gguf (size not known). "
        "Did you mean Q5_K_M?"
    )


def test_a_file_that_is_not_there_lists_what_is_and_the_near_one() -> None:
    said = refused(UNSLOTH, file="Big-Q4_K_N.gguf")
    assert said.startswith("hf.co/o/r has no file Big-Q4_K_N.gguf. There is: Big-Q4_K_M.gguf (1 GiB), ")
    assert "Did you mean Big-Q4_K_" in said


def test_a_name_in_two_folders_is_not_clear() -> None:
    assert "several files m.gguf: a/m.gguf, b/m.gguf" in refused(listed("a/m.gguf", "b/m.gguf"), file="m.gguf")
    assert chosen(listed("a/m.gguf", "b/m.gguf"), file="b/m.gguf") == ["b/m.gguf"]


@pytest.mark.parametrize(
    ("files", "hint"),
    [
        (["model.safetensors"], "ends in -GGUF"),
        (["m.Q8_0.gguf-split-a", "m.Q8_0.gguf-split-b"], "joined by hand"),
        (["README.md"], "has no GGUF file"),
    ],
)
def test_a_repository_without_a_model(files: list[str], hint: str) -> None:
    assert hint in refused(listed(*files))


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("m-Q4_K_M.gguf", Role.MODEL),
        ("m-imat-Q4_K_M.gguf", Role.MODEL),
        ("m-imatrix-Q4_K_M.gguf", Role.MODEL),
        ("exploration-7b-Q4_K_M.gguf", Role.MODEL),
        ("mmproj-model-f16.gguf", Role.PROJECTOR),
        ("x/gemma-3-4b-it-mmproj.gguf", Role.PROJECTOR),
        ("llava.mmproj-Q8_0.gguf", Role.PROJECTOR),
        ("imatrix.gguf", Role.OTHER),
        ("m-BF16.imatrix.gguf", Role.OTHER),
        ("m-imatrix.gguf", Role.OTHER),
        ("mtp-m-Q8_0.gguf", Role.OTHER),
        ("ggml-vocab-llama-bpe.gguf", Role.OTHER),
        ("README.md", Role.OTHER),
        ("m-LoRA-F16-LoRA.gguf", Role.ADAPTER),
        ("my-lora-q8_0.gguf", Role.ADAPTER),
        ("adapter.gguf", Role.ADAPTER),
    ],
)
def test_roles_by_name(path: str, role: Role) -> None:
    assert role_of(path) is role


def test_an_importance_matrix_is_never_taken() -> None:
    assert chosen(listed("imatrix.gguf", "m-Q2_K.gguf")) == ["m-Q2_K.gguf"]
    assert "has no GGUF file" in refused(listed("imatrix.gguf"))


def test_an_adapter_is_taken_where_there_is_nothing_else_and_has_no_projector() -> None:
    files = listed("x-lora-f16.gguf", "mmproj-F16.gguf")
    found = choose(files, where="r")
    assert (found.model.role, names(found)) == (Role.ADAPTER, ["x-lora-f16.gguf"])
    assert chosen([*files, *listed("m-Q2_K.gguf")]) == ["m-Q2_K.gguf", "mmproj-F16.gguf"]


def test_a_projector_by_its_own_name() -> None:
    found = choose(UNSLOTH, file="mmproj-F32.gguf", where="r")
    assert (found.model.role, names(found)) == (Role.PROJECTOR, ["mmproj-F32.gguf"])


def test_of_several_projectors_the_one_of_this_model() -> None:
    files = listed(
        "small-2b-Q4_K_M.gguf", "large-70b-Q8_0.gguf", "mmproj-small-2b-Q8_0.gguf", "mmproj-large-70b-bf16.gguf",
        "mmproj-large-70b-f16.gguf",
    )  # fmt: skip
    assert chosen(files, quant="Q4_K_M") == ["small-2b-Q4_K_M.gguf", "mmproj-small-2b-Q8_0.gguf"]
    assert chosen(files, quant="Q8_0") == ["large-70b-Q8_0.gguf", "mmproj-large-70b-f16.gguf"]


def test_a_projector_of_another_folder_is_not_taken() -> None:
    files = listed("a/m-Q4_K_M.gguf", "b/mmproj-F16.gguf", "b/n-Q8_0.gguf")
    assert chosen(files) == ["a/m-Q4_K_M.gguf"]
    assert chosen(files, quant="Q8_0") == ["b/n-Q8_0.gguf", "b/mmproj-F16.gguf"]


def test_sizes_by_quantisation() -> None:
    files = [
        ListedFile("a-Q8_0-00001-of-00002.gguf", 5),
        ListedFile("a-Q8_0-00002-of-00002.gguf", 4),
        ListedFile("a-Q4_K_M.gguf", 6),
        ListedFile("a-F16-00001-of-00002.gguf", 9),
        ListedFile("mmproj-F16.gguf", 1),
    ]
    assert quants(files) == {"Q4_K_M": 6, "Q8_0": 9}
