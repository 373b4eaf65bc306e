"""
Footprints against reality: what is estimated from a file beside what llama.cpp really takes, by its own log.

The same loads as in the table of docs/memory.md (`python -m tests.bench.footprint`), one of each architecture here.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.architectures import ALL
from tests.bench.footprint import BEGIN, END, PURPOSES, RARE, SETTINGS, error, measure
from tests.real.llama import BINARY, EMBEDDED

PROGRAMS = [pytest.param(BINARY, id="llama-server", marks=pytest.mark.llama_server), pytest.param(EMBEDDED, id="wheel")]
SPREAD = list(zip(ALL, itertools.cycle(SETTINGS), strict=False))  # every architecture, every setting
DOCS = Path(__file__).parents[2] / "docs" / "memory.md"


@pytest.mark.parametrize("binary", PROGRAMS)
@pytest.mark.parametrize(("name", "settings"), SPREAD, ids=[name for name, _ in SPREAD])
async def test_weights_and_cache_are_estimated_within_5_percent(
    name: str, settings: str, binary: str, short_tmp: Path
) -> None:
    row = await measure(name, settings, binary, short_tmp, used=False)
    for what in ("weights", "cache"):
        assert abs(error(row.pair(what))) < 0.05, (what, row.pair(what))
    assert -0.05 < error(row.pair("compute")) < 0.25
    estimated, held = row.pair("process")
    assert held * 0.95 < estimated < held + 100 * 1024 * 1024


@pytest.mark.parametrize("binary", PROGRAMS)
@pytest.mark.parametrize(
    ("name", "settings"), [*(("llama", each) for each in RARE), ("deci", "4k, no flash attention")]
)
async def test_rules_that_few_loads_meet(name: str, settings: str, binary: str, short_tmp: Path) -> None:
    row = await measure(name, settings, binary, short_tmp, used=False)
    assert abs(error(row.pair("cache"))) < 0.05, row.pair("cache")
    assert -0.05 < error(row.pair("compute")) < 0.25


def test_the_table_in_the_docs_has_every_load() -> None:
    shown = DOCS.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]
    lines = [line for line in shown.splitlines() if line.startswith("| ")]
    for name, settings in itertools.product(ALL, SETTINGS):
        (line,) = [line for line in lines if line.startswith(f"| {name} | {settings} |")]
        numbers = [float(cell) for cell in line.split("|")[3:-1]]
        assert len(numbers) == 3 * len(PURPOSES)
        for column in (0, 3):  # weights and cache: estimated, llama-server, wheel
            estimated, *real = numbers[column : column + 3]
            assert all(abs(estimated - each) <= 0.05 * each for each in real), line
