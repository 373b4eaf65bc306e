"""docs/models/choosing.md, how much context: every row is what the estimator says of the shape that the row names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from corral.store.gguf.cache import cache_parts
from corral.store.gguf.header import Value
from tests.unit.store.shapes import asked, shape

TEXT = (Path(__file__).parents[2] / "docs" / "models" / "choosing.md").read_text("utf-8")
ROWS = re.findall(r"^\| (.+?): (.+) \| ([\d,]+) \| (.+) \|$", TEXT.partition("## How much context")[2], re.MULTILINE)
GIB = 1024**3
ARCHITECTURES = {"Gemma 3 12B": "gemma3", "gpt-oss 20B": "gpt-oss", "DeepSeek V3": "deepseek2"}


def numbers(words: str) -> dict[str, Value]:
    """Of a header, from the words of a row."""
    compressed = re.search(r"(\d+) layers of (\d+)", words)
    if compressed:
        return {
            "block_count": int(compressed[1]), "attention__head_count_kv": 1,
            "attention__key_length": int(compressed[2]), "attention__value_length": 512,
            "attention__key_length_mla": 192, "attention__value_length_mla": 128,
        }  # fmt: skip
    plain = re.search(r"(\d+) layers, (\d+) (?:key-value heads )?of (\d+)", words)
    assert plain, words
    layers, heads, length = map(int, plain.groups())
    found: dict[str, Value] = {
        "block_count": layers, "attention__head_count_kv": heads, "attention__key_length": length,
        "attention__value_length": length,
    }  # fmt: skip
    window = re.search(r"windows of (\d+)", words)
    return {**found, "attention__sliding_window": int(window[1])} if window else found


@pytest.mark.parametrize(("model", "words", "trained", "size"), ROWS, ids=[row[0] for row in ROWS])
def test_a_row_is_what_the_estimator_says(model: str, words: str, trained: str, size: str) -> None:
    made = shape(
        ARCHITECTURES.get(model, "llama"), (), attention__head_count=64, embedding_length=4096,
        context_length=int(trained.replace(",", "")), **numbers(words),
    )  # fmt: skip
    found = cache_parts(made, asked(ctx_size=32_768).context(made))
    whole = sum(sum(sizes) for kind, sizes in found.items() if kind != "window") / GIB
    windows = sum(found.get("window", ())) / GIB
    said = [float(each) for each in re.findall(r"([\d.]+) GiB", size)]
    assert said[0] in (round(whole, 1), round(whole + windows, 1) if windows < 0.05 else None)
    assert said[1:] == ([round(windows, 1)] if windows >= 0.05 else [])


def test_all_rows_are_read() -> None:
    assert len(ROWS) == 6
