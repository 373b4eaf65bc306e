"""
The promises of size and delay, with a whole `corral serve`: bounds that hold on a busy machine too.

The exact figures are in docs/performance.md and come from `corral bench gateway`, whose tools these are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from corral.bench import measure, peers
from corral.bench.processes import Cores, Running, started

ATTEMPTS = 8
ANY_CORE = Cores(-1, -1, -1)


@dataclass
class Served:
    """A Corral before the benchmark's engine."""

    bench: measure.Bench
    peer: peers.Peer
    direct: peers.Peer
    program: Running


@pytest.fixture
def served(short_tmp: Path) -> Iterator[Served]:
    place = peers.Place(str(short_tmp), peers.free_port(), "")
    peer, direct = peers.corral(place), peers.direct(place)
    assert isinstance(peer, peers.Peer) and isinstance(direct, peers.Peer)
    with measure.engine(place, ANY_CORE) as bench:
        with started("corral", peer.argv, core=-1, folder=place.folder) as program:
            measure.until_it_answers(peer, program)
            yield Served(bench, peer, direct, program)


def test_a_thousand_streams_and_slow_readers_are_small(served: Served) -> None:
    assert measure.slow_reader(served.bench, served.peer, served.program) < 1e6  # first: the others leave free memory
    with_streams = measure.open_streams(served.bench, served.peer, served.program)
    assert with_streams is not None and with_streams < 150e6


def test_a_first_token_is_no_later_than_a_millisecond_after_the_engines(served: Served) -> None:
    """Half of those of 100 streams that run at the same time; what a busy machine adds is in both, and differs."""
    late_us = []
    for _ in range(ATTEMPTS):
        direct, through = (
            served.bench.load("streams", peer, count=100, chunks=20, gap_us=10_000)["first_p50_us"]
            for peer in (served.direct, served.peer)
        )
        late_us.append(through - direct)
        if late_us[-1] < 1000:
            return
    pytest.fail(f"first tokens are late by {late_us} us")
