"""The report: medians, what is added to direct, ratios, warnings, and the place in a page."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from corral.bench import report
from corral.bench.machine import Machine
from corral.domain.errors import PlaceFailed

QUIET = Machine("a CPU", 4, 16.0, "Linux 6", "3.11", 0.1)
IDLE = {"generator_idle": 0.5, "generator_waited": 0.1, "upstream_idle": 0.6, "upstream_waited": 0.0}


def gateway(*programs: report.Measured, warnings: list[str] | None = None) -> report.Gateway:
    return report.Gateway("1", QUIET, 3, 2.0, True, True, list(programs), {"litellm": "get it"}, warnings or [])


def program(name: str, **rows: float) -> report.Measured:
    return report.measured(name, "1.0", [rows], "")


def test_rounds_become_a_median_and_a_spread() -> None:
    found = report.measured("nginx", "1", [{"swap_ms": 9.0}, {"swap_ms": 11.0}, {"swap_ms": 10.0}], "")
    assert found.rows == {"swap_ms": report.Cell(10.0, 0.1, [9.0, 11.0, 10.0])}


def test_what_a_program_adds_is_told_against_direct_of_the_same_round() -> None:
    rows = report.with_added({"one_p50_ms": 0.3, "rss_idle_mb": 5.0}, {"one_p50_ms": 0.1, "ttft_p50_us": 4.0})
    assert rows == {"one_p50_ms": 0.3, "rss_idle_mb": 5.0, "added_one_p50_ms": pytest.approx(0.2)}


def test_the_table_has_ratios_gaps_and_how_to_get_what_is_missing() -> None:
    text = report.markdown(
        gateway(
            program("direct", requests_per_s=50_000.0),
            program("nginx", cpu_us_per_request=10.0, generator_idle=0.25),
            program("corral", cpu_us_per_request=25.0, added_one_p50_ms=0.061),
        )
    )
    assert "| | direct | nginx | corral | corral/nginx |" in text
    assert "| CPU per request, us | - | 10 | 25 | 2.50 |" in text
    assert "| requests/s, 64 clients | 50,000 | - | - | - |" in text
    assert "| added to direct: p50, ms | - | - | 0.061 | - |" in text
    assert "| requests: load generator idle | - | 25% | - | - |" in text
    assert "- litellm is not here: get it" in text


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({}, ""),
        ({"generator_idle": 0.05, "generator_waited": 0.0}, "the load generator had no time left (95% busy"),
        ({"generator_waited": 0.45}, "50% busy, 45% waiting for its core"),
        ({"upstream_idle": 0.02}, "the engine had no time left (98% busy"),
    ],
)
def test_whoever_had_no_time_left_is_named(rows: dict[str, float], said: str) -> None:
    found = report.warnings(QUIET, [program("corral", **{**IDLE, **rows})])
    assert (said in found[0] and "requests/s are its own" in found[0]) if said else found == []


def test_delays_under_streams_are_warned_of_apart() -> None:
    rows = {f"{name}_streams": value for name, value in IDLE.items()}
    found = report.warnings(QUIET, [program("go", **{**rows, "upstream_idle_streams": 0.01})])
    assert len(found) == 1 and "delays are its own" in found[0]


def test_a_busy_machine_is_told() -> None:
    assert "busy" in report.warnings(msgspec.structs.replace(QUIET, load=3.0), [])[0]


def test_a_page_gets_the_report_between_its_markers_and_keeps_the_rest(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- generated: gateway -->\nold\n<!-- end -->\nafter \\1\n<!-- end -->\n")
    report.write(str(page), "new \\1")
    text = page.read_text()
    assert text == "before\n<!-- generated: gateway -->\nnew \\1\n<!-- end -->\nafter \\1\n<!-- end -->\n"
    page.write_text("no place")
    with pytest.raises(PlaceFailed, match="no place for the report"):
        report.write(str(page), "new")
    assert page.read_text() == "no place"


def test_it_says_who_had_which_core() -> None:
    alone = msgspec.structs.replace(gateway(program("corral")), generator_shares_core=False)
    assert "engine have cores of their own." in report.markdown(alone)
    anywhere = msgspec.structs.replace(alone, pinned=False)
    assert "run on any core" in report.markdown(anywhere) and "a core to itself" not in report.markdown(anywhere)
