"""
Corral's gateway beside nginx and a Go reverse proxy: `python -m tests.bench.compare [--rounds 3]`.

Each program runs alone on the last core, the load generator and the upstream on the first; rounds go through all
programs in turn, because machines drift, and the medians are printed with the ratios. CPU is the program's own, from
/proc. Corral is the whole `corral serve`: keys, leases, scheduler, usage and metrics on. Needs wrk; nginx and go where
they are there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

HERE: Final = Path(__file__).parent
KEY: Final = "bench-key-0123456789abcdef"
FIRST_CORE, LAST_CORE = 0, (os.cpu_count() or 1) - 1
PINNED: Final = ("taskset", "-c", str(FIRST_CORE)) if shutil.which("taskset") else ()
NGINX: Final = """worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/nginx.log; daemon off;
events {{ worker_connections 4096; }}
http {{ access_log off; client_body_temp_path {dir}; proxy_temp_path {dir}; fastcgi_temp_path {dir};
uwsgi_temp_path {dir}; scgi_temp_path {dir};
upstream u {{ server 127.0.0.1:{up}; keepalive 512; }}
server {{ listen 127.0.0.1:{port} reuseport; location / {{ proxy_pass http://u; proxy_http_version 1.1;
proxy_set_header Connection ""; proxy_buffering off; }} }} }}
"""
CORRAL: Final = """version: 1
server: {{port: {port}, keys: [{{name: bench, key: {key}}}]}}
state_dir: {dir}/state
models: {{m: {{engine: remote, options: {{base_url: "http://127.0.0.1:{up}", parallel: 1024, health: /}}}}}}
"""


@dataclass
class Program:
    """One program under test."""

    name: str
    argv: list[str]
    port: int


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def programs(folder: Path, up: int, python: str) -> list[Program]:
    """What this machine has."""
    found = []
    if shutil.which("nginx"):
        port = free_port()
        (folder / "nginx.conf").write_text(NGINX.format(dir=folder, up=up, port=port))
        found.append(Program("nginx", ["nginx", "-c", str(folder / "nginx.conf")], port))
    port = free_port()
    (folder / "corral.yaml").write_text(CORRAL.format(dir=folder, up=up, port=port, key=KEY))
    found.append(Program("corral", [python, "-m", "corral", "serve", "--config", str(folder / "corral.yaml")], port))
    if shutil.which("go"):
        port = free_port()
        subprocess.run(["go", "build", "-o", str(folder / "proxy"), str(HERE / "proxy.go")], check=True)
        found.append(Program("go", [str(folder / "proxy"), f"127.0.0.1:{port}", f"127.0.0.1:{up}"], port))
    return found


@contextlib.contextmanager
def running(argv: list[str], port: int, core: int) -> Iterator[psutil.Process]:
    """Started, answering, pinned to a core; ended at the end."""
    env = {**os.environ, "GOMAXPROCS": "1", "BENCH_KEY": KEY}
    with subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        process = psutil.Process(child.pid)
        process.cpu_affinity([core])
        deadline = time.monotonic() + 20
        while not answers(port):
            if time.monotonic() > deadline:
                raise SystemExit(f"{argv[0]} does not answer on port {port}")
            time.sleep(0.05)
        yield process
        child.terminate()
        child.wait(20)


def answers(port: int) -> bool:
    """True for 200 on a chat request."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        b'{"model":"m"}',
        {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def cpu_s(process: psutil.Process) -> float:
    """CPU of the program and its children so far."""
    total = 0.0
    for each in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            total += sum(each.cpu_times()[:2])
    return total


def wrk(port: int, clients: int, seconds: int) -> tuple[int, float, float]:
    """Requests, and p50 and p99 in milliseconds."""
    argv = [*PINNED, "wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--latency",
            "-s", str(HERE / "post.lua"), f"http://127.0.0.1:{port}/v1/chat/completions"]  # fmt: skip
    out = subprocess.run(argv, capture_output=True, text=True, check=True, env={**os.environ, "BENCH_KEY": KEY}).stdout
    if "Non-2xx" in out:
        raise SystemExit(f"wrong answers:\n{out}")
    count = re.search(r"(\d+) requests in", out)
    assert count
    return int(count[1]), latency(out, "50%"), latency(out, "99%")


def latency(out: str, percent: str) -> float:
    """Milliseconds from wrk's table."""
    found = re.search(rf"{percent}\s+([\d.]+)(us|ms|s)", out)
    assert found
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]]


def streams(port: int, count: int, chunks: int, gap_us: int) -> dict[str, list[int]]:
    """Paced streams through the program."""
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    argv = [*PINNED, sys.executable, "-m", "tests.bench.streams", url,
            str(count), str(chunks), str(gap_us), KEY]  # fmt: skip
    out = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=HERE.parents[1]).stdout
    result: dict[str, list[int]] = json.loads(out)
    if result["wrong_streams"]:
        raise SystemExit(f"{result['wrong_streams']} streams were not whole")
    return result


def measure(program: Program, seconds: int) -> dict[str, float]:
    """One round of one program."""
    with running(program.argv, program.port, LAST_CORE) as process:
        wrk(program.port, 16, 1)
        idle_mb = process.memory_info().rss / 2**20
        before = cpu_s(process)
        count, p50, _ = wrk(program.port, 64, seconds)
        used = cpu_s(process) - before
        _, one, one_99 = wrk(program.port, 1, max(1, seconds // 2))
        streams(program.port, 20, 50, 10_000)
        before = cpu_s(process)
        chunks = streams(program.port, 100, 300, 10_000)
        per_chunk = (cpu_s(process) - before) / (100 * 300)
    return {
        "us CPU per request": used / count * 1e6,
        "requests/s, 64 clients": count / seconds,
        "p50 ms, 64 clients": p50,
        "p50 ms, one client": one,
        "p99 ms, one client": one_99,
        "us CPU per chunk": per_chunk * 1e6,
        "chunk delay p50 us": chunks["delay_us"][0],
        "chunk delay p99 us": chunks["delay_us"][1],
        "first token delay p50 us": chunks["first_us"][0],
        "first token delay p99 us": chunks["first_us"][1],
        "RSS MB": idle_mb,
    }


def main() -> None:
    """Measure in rounds and print a table of medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--python", default=sys.executable, help="the interpreter that runs Corral")
    args = parser.parse_args()
    results: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory(prefix="corral-bench-") as name:
        up = free_port()
        with running([sys.executable, "-m", "tests.bench.upstream", str(up)], up, FIRST_CORE):
            direct = [wrk(up, 1, 2)[1] for _ in range(args.rounds)]
            paced = [streams(up, 100, 300, 10_000) for _ in range(args.rounds)]
            known = programs(Path(name), up, args.python)
            for _ in range(args.rounds):
                for program in known:
                    for row, value in measure(program, args.seconds).items():
                        results[row][program.name].append(value)
    names = [program.name for program in known]
    print(f"upstream alone, one client: p50 {statistics.median(direct):.3f} ms")
    for what, name in (("chunk", "delay_us"), ("first token", "first_us")):
        late = [statistics.median(each[name][which] for each in paced) for which in (0, 1)]
        print(f"upstream alone, {what} delay: p50 {late[0]:.0f} us, p99 {late[1]:.0f} us")
    print()
    print(f"| | {' | '.join(names)} | {' | '.join(f'corral/{n}' for n in names if n != 'corral')} |")
    print("|---" * (2 * len(names)) + "|")
    for row, values in results.items():
        medians = {n: statistics.median(values[n]) for n in names}
        ratios = [f"{medians['corral'] / medians[n]:.2f}" for n in names if n != "corral"]
        print(f"| {row} | {' | '.join(f'{medians[n]:.3g}' for n in names)} | {' | '.join(ratios)} |")


if __name__ == "__main__":
    main()
