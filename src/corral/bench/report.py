"""The report of `corral bench gateway`: its shape, its warnings, and the table that people read."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from corral.bench.machine import Machine
from corral.bench.measure import ADDED, ROWS
from corral.bench.stats import median, spread
from corral.domain.errors import PlaceFailed

SATURATED: Final = 0.10
"""A generator or engine that is idle for less is what was measured."""
RATIOS: Final = ("nginx", "go", "llama-swap")
SHARES: Final = frozenset(row for row in ROWS if "_waited" in row or row.startswith(("generator", "upstream")))
NO_RATIO: Final = SHARES | frozenset(ADDED)
_BLOCK: Final = "<!-- generated: gateway -->\n"
_END: Final = "<!-- end -->"

Rounds = Mapping[str, Sequence[Mapping[str, float]]]
"""Program -> its rounds, each row -> value."""


class Cell(msgspec.Struct, frozen=True):
    """One figure: the median of the rounds, how far they lie around it (0.1 is 10 %), and the rounds."""

    median: float
    spread: float
    rounds: list[float]


class Measured(msgspec.Struct, frozen=True):
    """One program. `failed` says why figures are missing."""

    name: str
    version: str
    rows: dict[str, Cell]
    failed: str = ""


class Gateway(msgspec.Struct, frozen=True):
    """The whole report; `--json` prints it. `missing` is program -> how to get it."""

    corral: str
    machine: Machine
    rounds: int
    seconds: float
    pinned: bool
    generator_shares_core: bool
    programs: list[Measured]
    missing: dict[str, str]
    warnings: list[str]
    units: dict[str, str] = msgspec.field(default_factory=lambda: dict(ROWS))


def measured(name: str, version: str, rounds: Sequence[Mapping[str, float]], failed: str) -> Measured:
    """Medians and spreads of one program's rounds."""
    rows = {}
    for row in ROWS:
        values = [each[row] for each in rounds if row in each]
        if values:
            rows[row] = Cell(round(median(values), 4), round(spread(values), 3), [round(value, 4) for value in values])
    return Measured(name, version, rows, failed)


def with_added(rows: Mapping[str, float], direct: Mapping[str, float]) -> dict[str, float]:
    """The rows of a round, with what the program adds to `direct` of the same round."""
    added = {row: rows[mine] - direct[of] for row, (mine, of) in ADDED.items() if mine in rows and of in direct}
    return {**rows, **added}


def warnings(machine: Machine, programs: Sequence[Measured]) -> list[str]:
    """What a reader must know before believing a figure."""
    found = []
    if machine.busy:
        found.append(
            f"The machine was busy before (load average {machine.load:.1f} on {machine.cores} cores): compare ratios."
        )
    for program in programs:
        requests, streams = _limit(program.rows, ""), _limit(program.rows, "_streams")
        if requests:
            found.append(f"{program.name}: {requests}, so requests/s are its own; CPU per request is right.")
        if streams:
            found.append(f"{program.name}: {streams} under streams, so delays are its own; CPU per chunk is right.")
    return found


def _limit(rows: Mapping[str, Cell], suffix: str) -> str:
    """Who had no time left, if it was one of the benchmark's own, and whether it used its core or waited for it."""
    for who, row in (("the load generator", "generator"), ("the engine", "upstream")):
        idle, waited = (rows.get(f"{row}_{name}{suffix}") for name in ("idle", "waited"))
        if idle is not None and waited is not None and idle.median - waited.median < SATURATED:
            return f"{who} had no time left ({1 - idle.median:.0%} busy, {waited.median:.0%} waiting for its core)"
    return ""


def markdown(report: Gateway) -> str:
    """Facts, table and warnings, for a page or a terminal."""
    names = [program.name for program in report.programs]
    ratios = [name for name in RATIOS if name in names] if "corral" in names else []
    rows = {program.name: program.rows for program in report.programs}
    lines = [f"{report.machine.sentence()}.", ""]
    lines += [f"- {p.name}: {p.version}" + (f" (**failed: {p.failed}**)" if p.failed else "") for p in report.programs]
    lines += [f"- {name} is not here: {how}" for name, how in report.missing.items()]
    lines += [
        "",
        f"Medians of {report.rounds} rounds, {report.seconds:g} s of each load; the spread over the rounds in "
        f"brackets. {_cores(report)}",
        "",
        f"| | {' | '.join(names)} |" + "".join(f" corral/{name} |" for name in ratios),
        "|---" * (1 + len(names) + len(ratios)) + "|",
    ]
    for row, title in ROWS.items():
        if any(row in rows[name] for name in names):
            cells = [_cell(row, rows[name].get(row)) for name in names]
            cells += [_ratio(row, rows["corral"].get(row), rows[name].get(row)) for name in ratios]
            lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join([*lines, *(["", *(f"- {text}" for text in report.warnings)] if report.warnings else [])])


def _cores(report: Gateway) -> str:
    if not report.pinned:
        return (
            "Programs, load generator and engine run on any core: CPU per request is right, delays hold each other up."
        )
    core = "one core" if report.generator_shares_core else "cores of their own"
    return f"Each program has a core to itself; load generator and engine have {core}."


def _cell(row: str, cell: Cell | None) -> str:
    if cell is None:
        return "-"
    if row in SHARES:
        return f"{cell.median:.0%}"
    about = f" (±{cell.spread:.0%})" if len(cell.rounds) > 1 and row not in ADDED else ""
    return f"{_short(cell.median)}{about}"


def _short(value: float) -> str:
    """Three digits that count, and no exponent."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _ratio(row: str, mine: Cell | None, other: Cell | None) -> str:
    if row in NO_RATIO or mine is None or other is None or other.median <= 0:
        return "-"
    return f"{mine.median / other.median:.2f}"


def write(path: str, text: str) -> None:
    """Put the text between the page's markers. Raises PlaceFailed for a page without them."""
    try:
        with open(path, encoding="utf-8") as file:
            page = file.read()
    except OSError as error:
        raise PlaceFailed(f"{path} cannot be read: {error.strerror}.") from None
    block = re.compile(rf"({re.escape(_BLOCK)}).*?({re.escape(_END)})", re.DOTALL)
    if not block.search(page):
        raise PlaceFailed(
            f"{path} has no place for the report.",
            hint=f"Put the lines {_BLOCK.strip()} and {_END} where it shall stand.",
        )
    beside = f"{path}.new"
    with open(beside, "w", encoding="utf-8") as file:
        file.write(block.sub(lambda found: f"{found[1]}{text}\n{found[2]}", page))
    os.replace(beside, path)
