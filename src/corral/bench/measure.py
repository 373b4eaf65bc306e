"""One round of one program: what it costs and how late it is, measured from outside."""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from corral.bench.load import HOST, PATH, TRANSLATED
from corral.bench.peers import KEY, Peer, Place
from corral.bench.processes import START_S, Cores, Failed, Running, line, started

CLIENTS: Final = 64
STREAMS: Final = 100
GAP_US: Final = 10_000
OPEN_STREAMS: Final = 1000
OPEN_GAP_US: Final = 500_000
OPEN_S: Final = 40.0
SLOW_READERS: Final = 16  # so that what a program takes once, for the first of them, weighs little
SLOW_CHUNKS: Final = 16_384
SLOW_PAD: Final = 3_900
"""16,384 chunks of 4 KiB: 64 MiB for each of them."""
SLOW_S: Final = 10.0
SLOW_STILL: Final = 3
"""So many looks without growth, and it has taken what it takes."""
LOAD_S: Final = 60.0
MB: Final = 2**20


def _written_anew(name: str, path: str) -> dict[str, str]:
    """The rows of one translated route."""
    titles = {
        "cpu_us_per_chunk": "CPU per chunk, us",
        "added_ttft_p50_us": "added first token p50, us",
        "added_ttft_p99_us": "added first token p99, us",
        "added_chunk_p50_us": "added to each chunk p50, us",
        "added_chunk_p99_us": "added to each chunk p99, us",
        "chunk_p50_us": "chunk delay p50, us",
        "chunk_p99_us": "chunk delay p99, us",
    }
    return {f"{row}_{name}": f"{path} to OpenAI: {title}" for row, title in titles.items()}


TRANSLATED_ROWS: Final = {
    row: title for name, path in TRANSLATED.items() for row, title in _written_anew(name, path).items()
}
ROWS: Final = {
    "cpu_us_per_request": "CPU per request, us",
    "requests_per_s": "requests/s, 64 clients",
    "requests_p50_ms": "p50, 64 clients, ms",
    "one_p50_ms": "p50, one client, ms",
    "one_p99_ms": "p99, one client, ms",
    "added_one_p50_ms": "added to direct: p50, ms",
    "added_one_p99_ms": "added to direct: p99, ms",
    "cpu_us_per_chunk": "CPU per SSE chunk, us",
    "added_ttft_p50_us": "added first token p50, us",
    "added_ttft_p99_us": "added first token p99, us",
    "added_chunk_p50_us": "added to each chunk p50, us",
    "added_chunk_p99_us": "added to each chunk p99, us",
    "ttft_p50_us": "first token p50, us",
    "first_chunk_p50_us": "first chunk after the engine wrote it p50, us",
    "first_chunk_p99_us": "first chunk after the engine wrote it p99, us",
    "chunk_p50_us": "chunk delay p50, us",
    "chunk_p99_us": "chunk delay p99, us",
    **TRANSLATED_ROWS,
    "rss_idle_mb": "RSS idle, MB",
    "rss_open_mb": "RSS with 1,000 streams, MB",
    "slow_reader_mb": "held for a slow reader, MB",
    "swap_ms": "swap and answer, ms",
    "generator_idle": "requests: load generator idle",
    "generator_waited": "requests: load generator waited for its core",
    "upstream_idle": "requests: engine idle",
    "upstream_waited": "requests: engine waited for its core",
    "generator_idle_streams": "streams: load generator idle",
    "generator_waited_streams": "streams: load generator waited for its core",
    "upstream_idle_streams": "streams: engine idle",
    "upstream_waited_streams": "streams: engine waited for its core",
}
"""What is measured, in the order of the table. `direct` has what makes sense of it without a program in between."""
_ADDED: Final = {f"added_{row}": row for row in ("one_p50_ms", "one_p99_ms")} | {
    f"added_{row}_{p}_us": f"{row}_{p}_us" for row in ("ttft", "chunk") for p in ("p50", "p99")
}
ADDED: Final = {row: (of, of) for row, of in _ADDED.items()} | {
    f"{row}_{name}": (f"{of}_{name}", of) for name in TRANSLATED for row, of in _ADDED.items() if of.endswith("_us")
}
"""Row -> the row that it is made of, and the one of `direct` in the same round that is taken off."""


class Bench:
    """The engine, and where load comes from."""

    def __init__(self, folder: str, cores: Cores, upstream: Running) -> None:
        self.folder, self.cores, self.upstream = folder, cores, upstream

    def load(self, kind: str, peer: Peer, **wanted: Any) -> dict[str, float]:
        """What the load generator says. Raises Failed for answers that are wrong."""
        with self.open(kind, peer, timeout_s=wanted.get("seconds", 0) + LOAD_S, **wanted) as said:
            return said

    @contextmanager
    def open(self, kind: str, peer: Peer, *, timeout_s: float, **wanted: Any) -> Iterator[dict[str, float]]:
        """The same, with the generator alive inside the block."""
        text = json.dumps({"port": peer.port, "key": KEY, **wanted})
        argv = [sys.executable, "-m", "corral.bench.load", kind, text]
        with started(f"load-{kind}", argv, core=self.cores.load, folder=self.folder, talks=True) as load:
            said = json.loads(line(load, timeout_s))
            if said.get("wrong"):
                raise Failed(f"{said['wrong']:.0f} answers of {peer.name} were not whole or not 200.")
            yield said


@contextmanager
def engine(place: Place, cores: Cores) -> Iterator[Bench]:
    """The benchmark's engine, running inside the block."""
    argv = [sys.executable, "-m", "corral.bench.upstream", str(place.upstream)]
    with started("upstream", argv, core=cores.upstream, folder=place.folder) as upstream:
        until_it_answers(Peer("the engine", (), place.upstream, ""), upstream)
        yield Bench(place.folder, cores, upstream)


def until_it_answers(peer: Peer, program: Running | None, timeout_s: float = START_S) -> None:
    """Return once it has answered a chat request with 200. Raises Failed when it never does."""
    request = urllib.request.Request(
        f"http://{HOST}:{peer.port}{PATH}",
        json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello"}]}).encode(),
        {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"},
    )
    deadline, last = time.monotonic() + timeout_s, ""
    while time.monotonic() < deadline:
        if program is not None and (words := program.died()):
            raise Failed(words)
        try:
            with urllib.request.urlopen(request, timeout=5):
                return
        except urllib.error.HTTPError as error:
            last = f"{error.code} {error.read(200).decode(errors='replace')}"
            error.close()
        except OSError as error:
            last = str(error)
        time.sleep(0.02)
    raise Failed(f"{peer.name} does not answer: {last}.")


def round_of(bench: Bench, peer: Peer, seconds: float, say: Callable[[str], None]) -> dict[str, float]:
    """All rows of one program, started for it; `direct` runs already. `say` hears why some are missing."""
    if not peer.argv:
        return {**_requests(bench, peer, None, seconds), **_streams(bench, peer, None, seconds)}
    with started(peer.name, peer.argv, core=bench.cores.program, folder=bench.folder, env=peer.env) as program:
        until_it_answers(peer, program)
        bench.load("requests", peer, count=16, seconds=0.5)  # imports, pools and caches are not what is measured
        rows = {"rss_idle_mb": program.rss_bytes() / MB}
        rows.update(_requests(bench, peer, program, seconds))
        rows.update(_streams(bench, peer, program, seconds))
        for name in peer.translates:
            try:
                rows.update(_streams(bench, peer, program, seconds, name))
            except Failed as error:  # whoever does not get them whole has no figures for them, but all others
                say(f"{peer.name}: no figures for {TRANSLATED[name]}: {error.message}")
        # Before the thousand streams: what those leave free in the heap would hide what is held for slow readers.
        rows["slow_reader_mb"] = slow_reader(bench, peer, program) / MB
        time.sleep(1)
        if (with_streams := open_streams(bench, peer, program)) is not None:
            rows["rss_open_mb"] = with_streams / MB
        return rows


@dataclass(frozen=True, slots=True)
class _Clocks:
    """What program and engine had used when a load began."""

    program: float
    engine: float
    engine_waited: float

    @staticmethod
    def read(bench: Bench, program: Running | None) -> _Clocks:
        return _Clocks(program.cpu_s() if program else 0.0, bench.upstream.cpu_s(), bench.upstream.waited_s())

    def idle(self, bench: Bench, said: Mapping[str, float], suffix: str) -> dict[str, float]:
        """How idle generator and engine were since then."""
        return {
            f"generator_idle{suffix}": said["idle"],
            f"generator_waited{suffix}": said["waited"],
            f"upstream_idle{suffix}": 1 - (bench.upstream.cpu_s() - self.engine) / said["seconds"],
            f"upstream_waited{suffix}": (bench.upstream.waited_s() - self.engine_waited) / said["seconds"],
        }


def _requests(bench: Bench, peer: Peer, program: Running | None, seconds: float) -> dict[str, float]:
    before = _Clocks.read(bench, program)
    said = bench.load("requests", peer, count=CLIENTS, seconds=seconds)
    rows = before.idle(bench, said, "")
    if program:
        rows["cpu_us_per_request"] = (program.cpu_s() - before.program) / said["requests"] * 1e6
    rows["requests_per_s"] = said["requests"] / said["seconds"]
    rows["requests_p50_ms"] = said["p50_ms"]
    one = bench.load("requests", peer, count=1, seconds=max(0.5, seconds / 2))
    return {**rows, "one_p50_ms": one["p50_ms"], "one_p99_ms": one["p99_ms"]}


def _streams(
    bench: Bench, peer: Peer, program: Running | None, seconds: float, translated: str = ""
) -> dict[str, float]:
    path, suffix = (TRANSLATED[translated], f"_{translated}") if translated else (PATH, "")
    bench.load("streams", peer, count=20, chunks=50, gap_us=GAP_US, path=path)
    before = _Clocks.read(bench, program)
    said = bench.load("streams", peer, count=STREAMS, chunks=int(seconds * 1e6 / GAP_US), gap_us=GAP_US, path=path)
    rows = {} if translated else before.idle(bench, said, "_streams")
    if program:
        rows[f"cpu_us_per_chunk{suffix}"] = (program.cpu_s() - before.program) / said["chunks"] * 1e6
    for name, row in (("delay", "chunk"), ("first", "first_chunk"), ("ttft", "ttft")):
        for p in (50, 99):
            rows[f"{row}_p{p}_us{suffix}"] = said[f"{name}_p{p}_us"]
    return rows


def open_streams(bench: Bench, peer: Peer, program: Running) -> int | None:
    """Resident bytes with a thousand streams that have all begun; None for a program that cannot."""
    wanted = {"count": OPEN_STREAMS, "gap_us": OPEN_GAP_US, "seconds": OPEN_S}
    with bench.open("hold", peer, timeout_s=OPEN_S + LOAD_S, **wanted) as said:
        return program.rss_bytes() if said["begun"] == OPEN_STREAMS else None


def slow_reader(bench: Bench, peer: Peer, program: Running) -> float:
    """Bytes by which it grows for a client that never reads what the engine sends as fast as it can."""
    before = most = program.rss_bytes()
    with bench.open("slow", peer, timeout_s=LOAD_S, count=SLOW_READERS, chunks=SLOW_CHUNKS, pad=SLOW_PAD):
        deadline, still = time.monotonic() + SLOW_S, 0
        while time.monotonic() < deadline and still < SLOW_STILL:
            time.sleep(0.5)
            now = program.rss_bytes()
            still = 0 if now > most else still + 1
            most = max(most, now)
    return (most - before) / SLOW_READERS
