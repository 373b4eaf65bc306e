"""Names by which Ollama's clients could have pulled what is in the store."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from corral.store.shelf.items import Item
from corral.store.shelf.origin import Origin
from corral.store.shelf.pulled import pulled_names


def item(reference: str, path: str = "") -> Item:
    path = path or f"{reference}.gguf"
    return Item(path.removesuffix(".gguf"), (f"/store/{path}",), 1, 0.0, reference=reference)


def names(*items: Item) -> list[tuple[str, ...]]:
    found = pulled_names(items)
    return [found.get(each.key, ()) for each in items]


@pytest.mark.parametrize(
    ("reference", "wanted"),
    [
        ("ollama:tiny", ("tiny:latest",)),
        ("ollama:llama3.2:3b", ("llama3.2:3b",)),
        ("ollama:me/mine:v1", ("me/mine:v1",)),
        ("ollama:registry.example:5000/me/mine:v1", ("registry.example:5000/me/mine:v1",)),
        ("https://files.example/a/b.gguf", ()),
        ("hf.co/o/r@v2:Q4_K_M", ()),
        ("nothing at all", ()),
        ("", ()),
    ],
)
def test_of_one_model(reference: str, wanted: tuple[str, ...]) -> None:
    assert names(item(reference, "x/model.gguf")) == [wanted]


def test_the_hub_by_quantisation_and_without() -> None:
    four, eight = item("hf.co/o/r:Q4_K_M", "hf/o/r/r-Q4_K_M.gguf"), item("hf.co/o/r:Q8_0", "hf/o/r/r-Q8_0.gguf")
    assert names(eight) == [("hf.co/o/r:Q8_0", "hf.co/o/r")], "it is all that there is"
    assert names(eight, four) == [("hf.co/o/r:Q8_0",), ("hf.co/o/r:Q4_K_M", "hf.co/o/r")]
    asked = item("hf.co/o/r", "hf/o/r/r-Q8_0.gguf")
    assert names(four, asked) == [("hf.co/o/r:Q4_K_M",), ("hf.co/o/r:Q8_0", "hf.co/o/r")], "it was asked for so"


def test_whatever_spelling_has_brought_it_is_its_name_where_nobody_else_has_that() -> None:
    asked = ("hf.co/o/r:Q80", "hf.co/o/r/q8_0.gguf", "hf.co/O/r:Q8-0", "hf.co/o/other:Q8", "hf.co/o/r/x/y.gguf", "?")
    said = Origin(1, "hf.co/o/r:Q8_0", "", 1, "", asked=asked)
    eight = replace(item("hf.co/o/r:Q8_0", "hf/o/r/r-Q8_0.gguf"), origins=(said,))
    spelled = ("hf.co/o/r:Q80", "hf.co/o/r:q8_0.gguf", "hf.co/o/r:Q8-0")
    assert names(eight) == [("hf.co/o/r:Q8_0", "hf.co/o/r", *spelled)]
    own = item("hf.co/o/r:Q80", "hf/o/r/r-Q80.gguf")
    assert "hf.co/o/r:Q80" in names(eight, own)[1] and "hf.co/o/r:Q80" not in names(eight, own)[0]


def test_files_that_say_no_quantisation_go_by_their_names() -> None:
    one, two = item("hf.co/o/r/one.gguf", "hf/o/r/one.gguf"), item("hf.co/o/r/two.gguf", "hf/o/r/two.gguf")
    assert names(one) == [("hf.co/o/r", "hf.co/o/r:one.gguf")]
    assert names(one, two) == [("hf.co/o/r:one.gguf",), ("hf.co/o/r:two.gguf",)], "neither is the usual one"


def test_a_mix_has_the_plain_name_where_nobody_else_has_it() -> None:
    mix = item("hf.co/o/r:UD-Q4_K_XL", "hf/o/r/r-UD-Q4_K_XL.gguf")
    plain = item("hf.co/o/r:Q4_K_XL", "hf/o/r/r-Q4_K_XL.gguf")
    assert names(mix) == [("hf.co/o/r:UD-Q4_K_XL", "hf.co/o/r", "hf.co/o/r:Q4_K_XL")]
    assert names(mix, plain)[1][0] == "hf.co/o/r:Q4_K_XL"


def test_names_that_nobody_may_have_are_left_out_and_each_is_given_once() -> None:
    long = item(f"ollama:{'n' * 90}/{'m' * 90}:{'t' * 90}", "a.gguf")
    assert names(long, item("ollama:x", "b.gguf"), item("ollama:x", "c.gguf")) == [(), ("x:latest",), ()]


def test_two_folders_of_one_repository_have_no_name_twice() -> None:
    """Clients mean the same in upper and lower case."""
    found = names(item("hf.co/o/R:Q4_K_M", "hf/o/R/a-Q4_K_M.gguf"), item("hf.co/O/r:Q4_K_M", "hf/O/r/a-Q4_K_M.gguf"))
    assert found == [("hf.co/o/R:Q4_K_M",), ()]
    found = names(item("hf.co/o/R:Q8_0", "hf/o/R/a-Q8_0.gguf"), item("hf.co/O/r:Q4_K_M", "hf/O/r/a-Q4_K_M.gguf"))
    assert found == [("hf.co/o/R:Q8_0",), ("hf.co/O/r:Q4_K_M", "hf.co/O/r")]
