"""`corral bench gateway`: every program in turn, round after round, because machines drift."""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from corral.bench import machine, measure, peers, report, swap
from corral.bench.processes import Cores, Failed, cores
from corral.version import __version__

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to measure. `only` empty means every program; `named` is program -> path."""

    rounds: int = 3
    seconds: float = 3.0
    only: Sequence[str] = ()
    named: Mapping[str, str] = field(default_factory=dict)
    install: bool = False
    cache: str = ""


def run(wanted: Wanted, say: Say) -> report.Gateway:
    """Measure all of them. Raises Failed when the benchmark's own engine does not run."""
    facts, pinned = machine.facts(), cores()
    if facts.busy:
        say(
            f"The machine is busy (load average {facts.load:.1f} on {facts.cores} cores): wait, or compare ratios only."
        )
    with tempfile.TemporaryDirectory(prefix="corral-bench-") as folder:
        place = peers.Place(folder, peers.free_port(), wanted.cache, wanted.named, wanted.install)
        with measure.engine(place, pinned) as bench:
            found, missing = _found(place, wanted.only, say)
            rounds, failed = _rounds(bench, place, found, wanted, say)
    programs = [
        report.measured(each.name, each.version, rounds[each.name], failed.get(each.name, "")) for each in found
    ]
    return report.Gateway(
        corral=__version__,
        machine=facts,
        rounds=wanted.rounds,
        seconds=wanted.seconds,
        pinned=pinned.pinned,
        generator_shares_core=pinned.shared,
        programs=programs,
        missing=missing,
        warnings=report.warnings(facts, programs),
    )


def _found(place: peers.Place, only: Sequence[str], say: Say) -> tuple[list[peers.Peer], dict[str, str]]:
    found, missing = [], {}
    for name, find in peers.FINDERS.items():
        if only and name not in only and name != "direct":  # what it adds is told against direct
            continue
        peer = find(place)
        if isinstance(peer, peers.Missing):
            missing[name] = peer.how
            say(f"{name} is not here: {peer.how}")
        else:
            found.append(peer)
    return found, missing


def _rounds(
    bench: measure.Bench, place: peers.Place, found: Sequence[peers.Peer], wanted: Wanted, say: Say
) -> tuple[dict[str, list[dict[str, float]]], dict[str, str]]:
    """The rows of each program and round; a program that fails is left out from then on."""
    rounds: dict[str, list[dict[str, float]]] = defaultdict(list)
    failed: dict[str, str] = {}
    for number in range(wanted.rounds):
        direct: dict[str, float] = {}
        for peer in found:
            if peer.name in failed:
                continue
            began = time.monotonic()
            try:
                rows = measure.round_of(bench, peer, wanted.seconds, say)
            except Failed as error:
                failed[peer.name] = error.message
                say(f"round {number + 1} of {wanted.rounds}: {peer.name} failed: {error.message}")
                continue
            rows |= _swap(place, bench.cores, peer.name, say)
            if peer.name == "direct":
                direct = rows
            rounds[peer.name].append(rows if peer.name == "direct" else report.with_added(rows, direct))
            say(f"round {number + 1} of {wanted.rounds}: {_words(peer.name, rows)} ({time.monotonic() - began:.0f} s)")
    return rounds, failed


def _swap(place: peers.Place, pinned: Cores, name: str, say: Say) -> dict[str, float]:
    """The row of the swap, for those that swap and did; its failure takes nothing from the other rows."""
    try:
        took = swap.alone() if name == "direct" else swap.through(place, pinned, name)
    except Failed as error:
        say(f"{name}: {error.message}")
        return {}
    return {} if took is None else {"swap_ms": took}


def _words(name: str, rows: Mapping[str, float]) -> str:
    cpu = f"{rows['cpu_us_per_request']:.0f} us CPU, " if "cpu_us_per_request" in rows else ""
    return f"{name}: {cpu}{rows['requests_per_s']:,.0f} requests/s"
