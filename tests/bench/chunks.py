"""
What a chunk of a stream costs over sockets, untouched and written anew: `python -m tests.bench.chunks [--rounds 4]`.

A hundred streams at once, each of 100 chunks and then of 400, through `corral serve`: the difference is 300 chunks
without the requests' own cost. The dialects take turns, so that a busy machine disturbs all of them alike.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from typing import Final

from corral.bench import peers
from corral.bench.load import PATH, TRANSLATED
from corral.bench.measure import GAP_US, STREAMS, Bench, engine, until_it_answers
from corral.bench.processes import Running, cores, started

FEW, MANY = 100, 400
PATHS: Final = {"untouched": PATH, **{path: path for path in TRANSLATED.values()}}


def cpu_s(bench: Bench, peer: peers.Peer, program: Running, path: str, chunks: int) -> float:
    """CPU seconds that the program takes for so many chunks of each stream."""
    before = program.cpu_s()
    bench.load("streams", peer, count=STREAMS, chunks=chunks, gap_us=GAP_US, path=path)
    return program.cpu_s() - before


def main(rounds: int) -> None:
    """Measure and print, in microseconds."""
    pinned = cores()
    found: dict[str, list[float]] = {name: [] for name in PATHS}
    with tempfile.TemporaryDirectory(prefix="corral-chunks-") as folder:
        place = peers.Place(folder, peers.free_port(), folder, {}, False)
        peer = peers.corral(place)
        assert isinstance(peer, peers.Peer)
        with (
            engine(place, pinned) as bench,
            started(peer.name, peer.argv, core=pinned.program, folder=folder, env=peer.env) as program,
        ):
            until_it_answers(peer, program)
            for path in PATHS.values():
                bench.load("streams", peer, count=20, chunks=50, gap_us=GAP_US, path=path)
            for _ in range(rounds):
                for name, path in PATHS.items():
                    few = cpu_s(bench, peer, program, path, FEW)
                    many = cpu_s(bench, peer, program, path, MANY)
                    found[name].append((many - few) / (STREAMS * (MANY - FEW)) * 1e6)
    for name, each in found.items():
        print(f"{name}: {statistics.median(each):.1f} us CPU per chunk ({min(each):.1f} to {max(each):.1f})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=4)
    main(parser.parse_args().rounds)
