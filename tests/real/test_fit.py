"""
What `corral models fit` says of a model beside what llama.cpp logs when it loads it, and what llama-fit-params prints.

The same loads as in the table of docs/models/fit.md (`python -m tests.bench.fit`), one of each architecture here.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.bench.fit import APART, BEGIN, COMPARED, END, NAMES, compare
from tests.bench.footprint import MIB
from tests.conftest import REQUIRED
from tests.real.llama import BINARY

DOCS = Path(__file__).parents[2] / "docs" / "models" / "fit.md"
SPREAD = list(zip(NAMES, itertools.cycle(APART), strict=False))
REARRANGED = {"repacked", "gpt-oss-mxfp4"}
"""llama-fit-params leaves out weights that are rearranged for the CPU; a load has them."""


@pytest.mark.llama_server
@pytest.mark.parametrize(("name", "settings"), SPREAD, ids=[name for name, _ in SPREAD])
async def test_weights_and_cache_are_those_of_the_engine(name: str, settings: str, short_tmp: Path) -> None:
    found = await compare(name, settings, BINARY, short_tmp)
    for what in COMPARED:
        assert abs(found.error(what)) < 0.05, (what, found)
    assert found.printed is not None or "llama_server" not in REQUIRED, "the pinned build has llama-fit-params"
    if found.printed is not None:
        assert 0 <= found.told["cache"] - found.printed["cache"] < MIB, "whole MiB, rounded down"
        if name not in REARRANGED:
            assert 0 <= found.told["weights"] - found.printed["weights"] < MIB
    assert sum(found.cache.values()) == found.told["cache"]


def test_the_table_in_the_docs_has_every_load() -> None:
    shown = DOCS.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]
    rows = [line.strip("| ").split(" | ") for line in shown.splitlines()[2:] if line.startswith("| ")]
    assert [(row[0], row[1]) for row in rows] == [(name, settings) for name in NAMES for settings in APART]
    for row in rows:
        for told, logged in ((row[3], row[4]), (row[6], row[7])):
            assert abs(float(told) - float(logged)) <= 0.05 * float(logged), row
        assert 0 <= float(row[6]) - int(row[8]) <= 1, row
        assert row[0] in REARRANGED or 0 <= float(row[3]) - int(row[5]) <= 1, row
