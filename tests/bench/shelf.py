"""
What a list of a large store costs: `python -m tests.bench.shelf [FILES]`.

Each file is a tiny model in a folder of its own with an origin beside it, as pulls from the hub leave them. Cold: no
index. Warm: an index, nothing changed. CLI: the whole of `corral models list`, with the start of the program; and the
same of an empty store.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from corral.store.shelf.index import INDEX, Index
from corral.store.shelf.origin import VERSION, Origin, name_of
from corral.store.shelf.walk import walk
from tests.models import ADA, model


def fill(root: Path, files: int) -> None:
    """One name for each, all of one file on the disk."""
    source = root / "first"
    root.mkdir(parents=True)
    size = source.write_bytes(model(ADA).read_bytes())
    for number in range(files):
        folder = root / f"hf/org{number % 100}/repo{number}"
        folder.mkdir(parents=True)
        name = f"model-{number}-Q4_K_M.gguf"
        os.link(source, folder / name)
        url = f"https://huggingface.co/org{number % 100}/repo{number}/resolve/{'c' * 40}/{name}"
        said = Origin(VERSION, f"hf.co/org{number % 100}/repo{number}:Q4_K_M", url, size, f"{number:064x}")
        (folder / name_of(name)).write_bytes(msgspec.json.encode(said))


def took(work: Callable[[], object], times: int) -> tuple[float, float]:
    """Seconds and seconds of CPU, children's too: the best of some, where others were least in the way."""
    found = []
    for _ in range(times):
        began, cpu = time.perf_counter(), _cpu_s()
        work()
        found.append((time.perf_counter() - began, _cpu_s() - cpu))
    return min(wall for wall, _ in found), min(cpu for _, cpu in found)


def _cpu_s() -> float:
    return sum(os.times()[:4])


def main(files: int) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        root = data / "corral/models"
        fill(root, files)
        index = Index(root)
        rows = {"walk": took(lambda: walk(root), 3), "cold": took(index.items, 1), "warm": took(index.items, 5)}
        size = (root / INDEX).stat().st_size
        argv = [sys.executable, "-m", "corral", "models", "list"]

        def command(home: Path) -> None:
            env = {**os.environ, "XDG_DATA_HOME": str(home), "HOME": str(home)}
            subprocess.run(argv, env=env, cwd=data, stdout=subprocess.DEVNULL, timeout=120, check=True)

        rows["CLI, warm"] = took(lambda: command(data), 5)
        rows["CLI, empty"] = took(lambda: command(data / "none"), 5)
    print("             wall     CPU")
    for name, (wall, cpu) in rows.items():
        print(f"{name:<10} {wall * 1000:6.0f}  {cpu * 1000:6.0f}  ms")
    print(f"{'index':<10} {size / 1024:8.0f} KiB, {files} files")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
