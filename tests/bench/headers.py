"""
What reading a header costs: `python -m tests.bench.headers [--update docs/performance.md]`.

Files with the vocabularies of large models (`tests.large_headers`) are read by a process of their own, whose peak says
what memory it took; the `gguf` package reads the same beside it. The last row asks a server of this machine for ranges.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from corral.store.gguf.reader import read_header
from tests.bench.footprint import update
from tests.file_server import FileServer, of_file
from tests.large_headers import large

BEGIN: Final = "<!-- python -m tests.bench.headers -->"
ROUNDS: Final = 9
MB: Final = 1_000_000
SPARSE_BYTES: Final = 40_000_000_000
_CHILD: Final = """
import json, pathlib, re, sys, time
def peak():  # not ru_maxrss, which begins with that of the process that started this one
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]) * 1024
if sys.argv[1] == "corral":
    from corral.store.gguf.reader import read_header as read
elif sys.argv[1] == "gguf":
    from gguf import GGUFReader as read
else:
    from corral.domain.references import WebReference
    from corral.store.fetch.rules import WebRules
    from corral.store.inspect.anywhere import inspect_reference
    from corral.store.sources.access import Access
    def read(url): return inspect_reference(WebReference(url), Access("", WebRules(insecure=True, private=True)))
before, spent, worked = peak(), [], []
for _ in range(int(sys.argv[3])):
    began, busy = time.perf_counter(), time.process_time()
    read(sys.argv[2])
    spent.append(time.perf_counter() - began)
    worked.append(time.process_time() - busy)
print(json.dumps([spent, worked, peak() - before]))
"""


@dataclass(frozen=True)
class Cost:
    """
    Of one reader: the quickest and the median of all rounds, and what its process grew by at most.

    `cpu_s` is the least time that the processor worked for it: on a machine with other work the clock tells of that.
    """

    best_s: float
    median_s: float
    cpu_s: float
    grown_bytes: int


def cost(reader: str, path: str, rounds: int = ROUNDS) -> Cost:
    """Of `corral` or `gguf` for a file, of `remote` for an address, in a process of its own."""
    argv = [sys.executable, "-c", _CHILD, reader, path, str(rounds)]
    said = subprocess.run(argv, check=True, capture_output=True, timeout=300).stdout
    spent, worked, grown = json.loads(said)
    return Cost(min(spent), statistics.median(spent), min(worked), grown)


def files(folder: Path) -> dict[str, Path]:
    """What is read, each by its description."""
    return {
        "150,000 tokens and merges": large(folder / "a.gguf", tokens=150_000, merges=150_000),
        "262,144 tokens, 514,906 merges (as Gemma's)": large(folder / "b.gguf"),
        "150,000 tokens, in a sparse file of 40 GB": large(
            folder / "c.gguf", tokens=150_000, merges=0, size_bytes=SPARSE_BYTES
        ),
    }


def table(*, peers: bool) -> str:
    """As docs/performance.md shows it."""
    lines = [
        "| file | header, MB | ms, best | ms, median | grown by, MB | `gguf` package, ms | MB |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    with tempfile.TemporaryDirectory(prefix="c") as folder:
        for about, path in files(Path(folder)).items():
            ours = cost("corral", str(path))
            theirs = cost("gguf", str(path), 1) if peers else None
            lines.append(f"| {about} | {_header_mb(path)} | {_cells(ours)} | {_peer(theirs)} |")
        lines.append(_remote_row(Path(folder) / "b.gguf"))
    return "\n".join(lines)


def _remote_row(path: Path) -> str:
    data = path.read_bytes() + bytes(64 * MB)  # there is more to come than the header
    with FileServer(lambda ask: of_file(ask, data)) as server:
        ours = cost("remote", f"{server.origin}/b.gguf", 3)
        fetched, asked = server.sent_bytes / 3 / MB, len(server.asked) // 3
    about = f"the second, by address: {fetched:.1f} MB in {asked} questions"
    return f"| {about} | {_header_mb(path)} | {_cells(ours)} | - | - |"


def _header_mb(path: Path) -> str:
    return f"{read_header(path).data_offset / MB:.1f}"


def _cells(each: Cost) -> str:
    return f"{each.best_s * 1000:.0f} | {each.median_s * 1000:.0f} | {each.grown_bytes / MB:.1f}"


def _peer(each: Cost | None) -> str:
    return "- | -" if each is None else f"{each.best_s * 1000:,.0f} | {each.grown_bytes / MB:,.0f}"


def main(arguments: Sequence[str]) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--no-peers", action="store_true", help="leave the gguf package out, which takes half a minute")
    parser.add_argument("--update", type=Path, help="a page with a place for the table")
    args = parser.parse_args(arguments)
    shown = table(peers=not args.no_peers)
    print(shown)
    if args.update:
        update(args.update, shown, BEGIN)


if __name__ == "__main__":
    main(sys.argv[1:])
