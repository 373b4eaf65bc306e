"""What a word means: the hub's names are the same in upper and lower case."""

from __future__ import annotations

import pytest

from corral.store.shelf.items import Item
from corral.store.shelf.naming import called, meant

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


def test_what_ollamas_clients_call_it_is_a_name() -> None:
    item = Item("ollama/r/l/q/4b", ("/store/x.gguf",), 1, 0.0, "q-4b-q4_k_m", reference="ollama:q:4b")
    assert called("q:4b", [item]) == called("q-4b-q4_k_m", [item]) == [item]
    assert called("q:8b", [item]) == []
