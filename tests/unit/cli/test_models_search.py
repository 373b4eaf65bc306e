"""`corral models search`: what stands in a line, and what is said of what fits."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from corral.cli.models import searching
from corral.domain.references import HubReference
from corral.store.fit.rough import Judge
from corral.store.search import hub
from corral.store.search.hub import Hit
from corral.store.sources.hub import SaidOfModel
from tests.unit.cli.conftest import Command
from tests.unit.store.fit.kit import GIB, USUAL, host

Search = Callable[..., list[list[str]]]
SIZES = {"Q2_K": 3 * GIB, "Q3_K_M": 4 * GIB, "Q4_K_M": 5 * GIB, "Q6_K": 7 * GIB, "Q8_0": 9 * GIB, "F16": 16 * GIB}


def hit(sizes: Mapping[str, int | None] = SIZES, **more: Any) -> Hit:
    numbers: dict[str, Any] = {"downloads": 1_234_567, "likes": 34_900, "gated": False, "changed": "2026-05-01", **more}
    said = SaidOfModel(8_000_000_000, "llama", 32768)
    return Hit(HubReference("org/a-GGUF"), sizes=sizes, model=said, licence="mit", **numbers)


@pytest.fixture
def rows(corral: Command, monkeypatch: pytest.MonkeyPatch) -> Search:
    """The cells of each line, for these hits on a host with these memories."""

    def search(*hits: Hit, memory: tuple[float, ...] = (64,)) -> list[list[str]]:
        monkeypatch.setattr(hub, "search", lambda sources, words, limit: list(hits)[:limit])
        monkeypatch.setattr(searching, "_judge", lambda settings: Judge(host(*memory), USUAL))
        ran = corral("models", "search", "a")
        assert ran.code == 0, ran.err
        _, *lines = ran.out.splitlines()
        return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]

    return search


def test_a_line_has_the_usual_quantisation_first_with_sizes(rows: Search) -> None:
    ((repo, downloads, likes, changed, quants, fits),) = rows(hit())
    assert (repo, downloads, likes, changed) == ("org/a-GGUF", "1.2M", "35k", "2026-05-01")
    assert quants == "Q4_K_M 5 GiB, Q2_K 3 GiB, Q3_K_M 4 GiB, Q6_K 7 GiB, 2 more"
    assert fits == "in RAM"
    ((*_, quants, _),) = rows(hit({"Q4_K_M": 5 * GIB, "Q8_0": None}))
    assert quants == "Q4_K_M 5 GiB, Q8_0 ?"


@pytest.mark.parametrize(
    ("count", "short"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.0k"),
        (9_940, "9.9k"),
        (9_999, "10k"),
        (99_999, "100k"),
        (999_499, "999k"),
        (999_999, "1.0M"),
        (34_000, "34k"),
        (1_000_000, "1.0M"),
        (25_000_000, "25M"),
    ],
)
def test_counts_are_short(rows: Search, count: int, short: str) -> None:
    assert rows(hit(downloads=count))[0][1] == short


@pytest.mark.parametrize(
    ("memory", "fits"),
    [
        ((64, 24), "on the GPU"),
        ((64, 4), "partly on the GPU"),
        ((64,), "in RAM"),
        ((5,), "Q3_K_M in RAM"),  # the largest below it that fits
        ((4,), "Q2_K in RAM"),
        ((2,), "no"),
    ],
)
def test_where_it_would_run_or_which_smaller_one_would(rows: Search, memory: tuple[float, ...], fits: str) -> None:
    assert rows(hit(), memory=memory)[0][-1] == fits


def test_what_has_no_size_cannot_be_judged(rows: Search) -> None:
    assert [row[-1] for row in rows(hit({}), hit({"Q4_K_M": None, "Q2_K": GIB}))] == ["?", "?"]
    assert rows(hit({"Q4_K_M": 90 * GIB, "Q2_K": None}))[0][-1] == "no"
    (gated,) = rows(hit({}, gated=True))
    assert gated[0] == "org/a-GGUF (gated)"


def test_programs_are_told_of_every_quantisation(corral: Command, rows: Search) -> None:
    rows(hit({"Q4_K_M": 5 * GIB, "F16": 90 * GIB, "Q8_0": None}))
    (row,) = json.loads(corral("models", "search", "a", "--json").out)
    assert row == {
        "reference": "hf.co/org/a-GGUF", "downloads": 1_234_567, "likes": 34_900, "gated": False,
        "changed": "2026-05-01", "licence": "mit", "default": "Q4_K_M", "parameters": 8_000_000_000,
        "architecture": "llama", "trained_context_tokens": 32768,
        "quantisations": [
            {"quantisation": "Q4_K_M", "size_bytes": 5 * GIB, "fits": "ram"},
            {"quantisation": "F16", "size_bytes": 90 * GIB, "fits": "no"},
            {"quantisation": "Q8_0", "size_bytes": None, "fits": None},
        ],
        "problem": None,
    }  # fmt: skip
