"""What a word means: the hub's names are the same in upper and lower case."""

from __future__ import annotations

import pytest

from corral.store.shelf.items import Item
from corral.store.shelf.naming import meant

HERE = [
    Item("hf/Org/R/model", ("/store/hf/Org/R/model.gguf",), 1, 0.0, "m", reference="hf.co/Org/R:Q8_0"),
    Item("hf/Org/R@V1/a", ("/store/hf/Org/R@V1/a.gguf",), 1, 0.0, "a", reference="hf.co/Org/R@V1/a.gguf"),
]


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("hf.co/Org/R:Q8_0", "m"), ("hf.co/org/r:q8_0", "m"), ("hf:ORG/R", "m"), ("hf.co/org/r:Q4_0", ""),
        ("r-q8_0", "m"), ("R-Q8_0", ""), ("r-q4_0", ""),
        ("hf.co/org/r@V1/a.gguf", "a"), ("hf.co/org/r@v1/a.gguf", ""), ("hf.co/org/R2", ""),
    ],
)  # fmt: skip
def test_references(word: str, names: str) -> None:
    assert "".join(item.name for item in meant(word, HERE)) == names
