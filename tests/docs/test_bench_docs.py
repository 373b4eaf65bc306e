"""docs/bench.md names every row, every program and every field of both reports."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from corral.bench import advice, levels, report, sweep
from corral.bench.machine import Machine
from corral.bench.measure import ROWS
from corral.bench.peers import FINDERS

PAGE = (Path(__file__).parents[2] / "docs" / "bench.md").read_text()
SHAPES: tuple[type[msgspec.Struct], ...] = (
    report.Gateway, report.Measured, report.Cell, Machine,
    sweep.Sweep, sweep.Wanted, sweep.ModelReport, advice.Facts, levels.Level,
)  # fmt: skip
FIELDS = {field.name for shape in SHAPES for field in msgspec.structs.fields(shape)}


@pytest.mark.parametrize("name", sorted({*ROWS, *FINDERS, *FIELDS}))
def test_it_is_on_the_page(name: str) -> None:
    assert f"`{name}`" in PAGE
