"""
What is told of a model file beside what llama.cpp says that it has read, on many architectures.

The same as in the table of docs/models/inspect.md (`python -m tests.bench.inspection`).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.inspection import BEGIN, END, NAMES, compare
from tests.real.llama import BINARY

DOCS = Path(__file__).parents[2] / "docs" / "models" / "inspect.md"


@pytest.mark.llama_server
@pytest.mark.parametrize("name", NAMES)
async def test_it_is_what_the_engine_reads(name: str, short_tmp: Path) -> None:
    ours, theirs = await compare(name, BINARY, short_tmp)
    assert ours == theirs


def test_the_table_in_the_docs_has_every_architecture() -> None:
    shown = DOCS.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]
    rows = [line.split(" | ") for line in shown.splitlines()[2:] if line.startswith("| ")]
    assert [row[0].strip("| ") for row in rows[::2]] == list(NAMES)
    for ours, theirs in zip(rows[::2], rows[1::2], strict=True):
        assert (ours[1], theirs[1]) == ("Corral", "llama-server")
        assert ours[2:] == theirs[2:]
