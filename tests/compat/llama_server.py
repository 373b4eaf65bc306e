"""
llama.cpp's own server tests, twice: against llama-server, and against a Corral in its place.

    python -m tests.compat.llama_server CHECKOUT --binary llama-server --python VENV/bin/python [FILE...]

CHECKOUT is a llama.cpp source tree of about the binary's build; VENV has what its tests/requirements.txt asks for.
Nothing is downloaded. Prints what passes directly and not through Corral (and the other way round) with the reason,
and a table by file, as Markdown. Exit code 1 when a test passes directly alone.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.compat.llama_models import build_all

ROOT: Final = Path(__file__).parents[2]
NOT_RUN: Final = {
    "test_tools_builtin.py": "tools that the engine runs on its host: Corral has no such routes, on purpose",
    "test_router.py": "llama-server's own router: Corral stands in its place, with other rules",
    "test_mcp_servers.py": "programs that the engine would start: Corral has no such routes, on purpose",
    "test_lora.py": "needs a model and an adapter from the hub",
    "test_speculative.py": "needs two models from the hub",
}


@dataclass(frozen=True)
class Outcome:
    """How one test ended: passed, failed or skipped, with the first line of why."""

    state: str
    why: str = ""


_MISSING: Final = Outcome("missing")


def run(options: argparse.Namespace, mode: str, work: Path) -> dict[str, Outcome]:
    """Run the tests against one kind of server."""
    tests = Path(options.checkout) / "tools" / "server" / "tests"
    shim, report = work / f"shim-{mode}", work / f"{mode}.xml"
    shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m tests.compat.llama_shim "$@"\n')
    shim.chmod(0o755)
    env = os.environ | {
        "PYTHONPATH": str(ROOT),
        "LLAMA_SERVER_BIN_PATH": str(shim),
        "COMPAT_MODE": mode,
        "COMPAT_MODELS": str(work / "models"),
        "COMPAT_LLAMA_SERVER": str(Path(options.binary).resolve()),
        "COMPAT_CORRAL": str(Path(sys.executable).parent / "corral"),
        "COMPAT_NOTES": str(work / f"{mode}.notes"),
        "TMPDIR": str(work),
        "PORT": str(options.port),
    }
    chosen = [f"unit/{name}" for name in options.files] or ["unit", *(f"--ignore=unit/{name}" for name in NOT_RUN)]
    plugin = ("-p", "tests.compat.llama_plugin", "-p", "no:cacheprovider", f"--junitxml={report}", "--timeout=60")
    argv = [options.python, "-m", "pytest", "-q", "-x" if options.first else "-q", *plugin, "-m", "not slow", *chosen]
    argv += ["-k", options.k] if options.k else []
    argv += ["-n", str(options.processes)] if options.processes > 1 else []
    with open(work / f"{mode}.log", "wb") as log:
        subprocess.run(argv, cwd=tests, env=env, stdout=log, stderr=log, timeout=options.timeout, check=False)
    return outcomes(report, work / f"{mode}.notes")


def outcomes(report: Path, notes: Path) -> dict[str, Outcome]:
    """Test -> how it ended; a start that the shim refused says so."""
    refused: dict[str, str] = {}
    for line in notes.read_text().splitlines() if notes.exists() else ():
        note = json.loads(line)
        refused[note["test"].split(" ")[0].removeprefix("unit/")] = note["reason"]
    found: dict[str, Outcome] = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        name = f"{case.get('classname', '').removeprefix('unit.')}.py::{case.get('name')}"
        if (skip := case.find("skipped")) is not None:
            found[name] = Outcome("skipped", skip.get("message") or "")
        elif (failure := next((each for each in case if each.tag in ("failure", "error")), None)) is not None:
            found[name] = Outcome("failed", refused.get(name) or (failure.get("message") or "").split("\n")[0])
        else:
            found[name] = Outcome("passed")
    return found


def table(direct: dict[str, Outcome], through: dict[str, Outcome]) -> str:
    """By file: how many ran, passed directly, passed through Corral."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for name in direct:
        row = counts[name.split("::")[0]]
        row[0] += 1
        row[1] += direct[name].state == "passed"
        row[2] += name in through and through[name].state == "passed"
    lines = ["| file | tests | pass with llama-server | pass with Corral |", "|---|---|---|---|"]
    lines += [f"| `{file}` | {row[0]} | {row[1]} | {row[2]} |" for file, row in sorted(counts.items())]
    total = [sum(row[index] for row in counts.values()) for index in range(3)]
    return "\n".join([*lines, f"| all | {total[0]} | {total[1]} | {total[2]} |"])


def alike(direct: dict[str, Outcome], through: dict[str, Outcome]) -> str:
    """How many fail in both, and how many of these with the same words: what they saw was the same."""
    both = [name for name in direct if direct[name].state == "failed" and through.get(name, _MISSING).state == "failed"]
    same = [name for name in both if direct[name].why == through[name].why]
    other = "".join(f"\n- `{name}`: {through[name].why[:200]}" for name in both if name not in same)
    return f"{len(both)} fail in both, {len(same)} of them with the same words; not so:{other or ' none'}"


def differences(direct: dict[str, Outcome], through: dict[str, Outcome]) -> list[str]:
    """One line for each test that ended otherwise."""
    lines = []
    for name in sorted(direct):
        other = through.get(name, _MISSING)
        if other.state != direct[name].state:
            why = (other.why or direct[name].why).replace("\n", " ")[:300]
            lines.append(f"- `{name}`: {direct[name].state} directly, {other.state} through Corral. {why}")
    return lines


def main() -> int:
    """Run both, and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout")
    parser.add_argument("files", nargs="*", help="test files, such as test_basic.py")
    parser.add_argument("--binary", required=True)
    parser.add_argument("--python", required=True)
    parser.add_argument("--work", help="where logs and reports stay")
    parser.add_argument("--port", type=int, default=18080)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=3600)
    parser.add_argument("--first", action="store_true", help="end at the first failure")
    parser.add_argument(
        "--only", choices=("direct", "corral"), help="one kind; the other's report is taken from --work"
    )
    parser.add_argument("-k", default="")
    options = parser.parse_args()
    options.checkout = os.path.abspath(options.checkout)
    work = Path(options.work or tempfile.mkdtemp(prefix="compat")).resolve()
    work.mkdir(parents=True, exist_ok=True)
    build_all(work / "models")
    found = {}
    for mode in ("direct", "corral"):
        if options.only in (None, mode):
            found[mode] = run(options, mode, work)
        else:
            found[mode] = outcomes(work / f"{mode}.xml", work / f"{mode}.notes")
    different = differences(found["direct"], found["corral"])
    print(table(found["direct"], found["corral"]))
    print("", alike(found["direct"], found["corral"]), sep="\n")
    print("\n".join(["", f"{len(different)} differ:", *different, "", f"Logs and reports: {work}"]))
    return int(any("passed directly" in line for line in different))


if __name__ == "__main__":
    sys.exit(main())
