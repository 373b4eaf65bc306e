"""
How fast files are fetched: `python -m tests.bench.fetching [--gb 2] [--rounds 3] [--update docs/performance.md]`.

A server of its own process sends a file from memory by sendfile, with ranges. Beside Corral stand a pipe on the same
disk, which copies and hashes without any network, curl, and huggingface_hub where it is installed. Each is a process
of its own; CPU is its user and system time with that of all its children. "Flushed" means that the file is on the disk
when the time ends, which Corral always does and the others do with `sync FILE` behind them.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.file_server import read_ask

BEGIN, END = "<!-- python -m tests.bench.fetching -->", "<!-- end -->"
HUB: Final = """
import sys
from huggingface_hub.file_download import http_get
with open(sys.argv[2], "wb") as file:
    http_get(sys.argv[1], file, expected_size=int(sys.argv[3]))
"""


@dataclass
class Way:
    """One way to get the file. `command` has {url}, {source}, {place}, {folder}, {size}, {sha256}."""

    name: str
    command: str
    hashes: bool
    flushes: bool
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)


def ways() -> list[Way]:
    """The first is what the others are compared to."""
    child = f"{shlex.quote(sys.executable)} -m tests.paths.fetching_child {{folder}} {{url}} {{size}} {{sha256}}"
    found = [
        Way(
            "`cp` and `sha256sum` in a pipe",
            "cp {source} /dev/stdout | tee {place} | sha256sum; sync {place}",
            True,
            True,
        ),
        Way("the same, not flushed", "cp {source} /dev/stdout | tee {place} | sha256sum", True, False),
        Way(
            "with `openssl dgst` instead",
            "cp {source} /dev/stdout | tee {place} | openssl dgst -sha256; sync {place}",
            True,
            True,
        ),
        Way("Corral", child, True, True),
        Way("curl", "curl -sf -o {place} {url}; sync {place}", False, True),
        Way("curl and `sha256sum` in a pipe", "curl -sf {url} | tee {place} | sha256sum; sync {place}", True, True),
    ]
    if importlib.util.find_spec("huggingface_hub"):
        hub = f"{shlex.quote(sys.executable)} -c {shlex.quote(HUB)} {{url}} {{place}} {{size}}; sync {{place}}"
        found.append(Way("huggingface_hub (`http_get`)", hub, False, True))
    return [way for way in found if shutil.which(way.command.split()[0])]


def serve(path: str, listener: socket.socket) -> None:
    """Send the file, or parts of it, to whoever connects, for ever."""
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=_answer, args=(sock, path), daemon=True).start()


def _answer(sock: socket.socket, path: str) -> None:
    with sock, sock.makefile("rb") as reader, open(path, "rb") as file, contextlib.suppress(OSError):
        size = os.fstat(file.fileno()).st_size
        while (ask := read_ask(reader)) is not None:
            first, end = ask.span or (0, None)
            end = min(size, end or size)
            status = "206 Partial" if ask.span else "200 OK"
            head = [f"HTTP/1.1 {status}", f"Content-Length: {end - first}", 'ETag: "one"', "Accept-Ranges: bytes"]
            head += [f"Content-Range: bytes {first}-{end - 1}/{size}"] if ask.span else []
            sock.sendall(("\r\n".join(head) + "\r\n\r\n").encode())
            while ask.method == "GET" and first < end:
                first += os.sendfile(sock.fileno(), file.fileno(), first, end - first)


@contextlib.contextmanager
def served(path: Path) -> Iterator[str]:
    """The address of the file."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        child = os.fork()
        if child == 0:
            serve(str(path), listener)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/{path.name}"
        finally:
            os.kill(child, 9)
            os.waitpid(child, 0)


def once(way: Way, values: dict[str, str]) -> None:
    """Run it, and look whether the file is right."""
    folder = Path(values["folder"])
    shutil.rmtree(folder, ignore_errors=True)
    place = Path(values["place"])
    place.parent.mkdir(parents=True)
    os.sync()
    command = way.command.format(**{name: shlex.quote(value) for name, value in values.items()})
    began = time.monotonic()
    process = subprocess.Popen(["bash", "-c", command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    took_s = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or place.stat().st_size != int(values["size"]):
        raise SystemExit(f"{way.name} failed: {command}")
    way.wall_s.append(took_s)
    way.cpu_s.append(usage.ru_utime + usage.ru_stime)


def made(path: Path, size: int) -> str:
    """A file of random bytes; its hash."""
    digest, block = hashlib.sha256(), os.urandom(64 * 1024 * 1024)
    with path.open("wb") as file:
        for at in range(0, size, len(block)):
            piece = at.to_bytes(8, "big") + block[: min(len(block), size - at) - 8]
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def table(found: list[Way], size: int) -> str:
    """Medians, for a page of the docs."""
    base = statistics.median(found[0].wall_s)
    load = os.getloadavg()[1]
    lines = [
        f"{_machine()}; {size / 1e9:g} GB, medians of {len(found[0].wall_s)} rounds in turn; load average {load:.1f}.",
        "",
        "| | MB/s | fastest | of the pipe | CPU s per GB | hashed | flushed |",
        "|---|---|---|---|---|---|---|",
    ]
    for way in found:
        wall, cpu = statistics.median(way.wall_s), statistics.median(way.cpu_s)
        yes = {True: "yes", False: "no"}
        lines.append(
            f"| {way.name} | {size / wall / 1e6:,.0f} | {size / min(way.wall_s) / 1e6:,.0f} | {base / wall:.0%} "
            f"| {cpu / size * 1e9:.2f} "
            f"| {yes[way.hashes]} | {yes[way.flushes]} |"
        )
    return "\n".join(lines)


def _machine() -> str:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release()}; Python {platform.python_version()}"


def main() -> None:
    """Measure, print, and write where asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gb", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--only", default="")
    parser.add_argument("--update", type=Path)
    options = parser.parse_args()
    size = int(options.gb * 1e9)
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    found = [way for way in ways() if options.only.lower() in way.name.lower()]
    with tempfile.TemporaryDirectory(dir=memory) as source, tempfile.TemporaryDirectory(dir=options.folder) as folder:
        file = Path(source) / "model.bin"
        sha256 = made(file, size)
        root = Path(folder) / "store"
        with served(file) as url:
            values = {
                "url": url, "source": str(file), "folder": str(root), "place": str(root / "web/files/model.bin"),
                "size": str(size), "sha256": sha256,
            }  # fmt: skip
            for number in range(options.rounds):
                for way in found:
                    once(way, values)
                    print(f"{number + 1} {way.name}: {way.wall_s[-1]:.2f} s, {way.cpu_s[-1]:.2f} s CPU", flush=True)
    text = table(found, size)
    print(text)
    if options.update:
        page = options.update.read_text()
        before, _, rest = page.partition(BEGIN)
        options.update.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
