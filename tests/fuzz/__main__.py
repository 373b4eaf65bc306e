"""
Coverage-guided fuzzing of one target: `python -m tests.fuzz TARGET [--seconds 60]` (Linux, with the package `atheris`).

Begins with tests/fuzz/corpus/TARGET and tests/fuzz/crashes/TARGET. What reaches new code is kept in a temporary folder;
an input that fails is written to the crashes. Commit it with the mend: test_corpus.py runs it for ever after.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    """Never returns: libFuzzer ends the process, with 0 where nothing was found."""
    import atheris

    with atheris.instrument_imports(include=["corral", "httptools"]):
        from tests.fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, default=60)
    args = parser.parse_args()
    crashes = HERE / "crashes" / args.target
    crashes.mkdir(parents=True, exist_ok=True)
    found = tempfile.mkdtemp(prefix="corral-fuzz-")
    seeds = [str(each) for each in (HERE / "corpus" / args.target, crashes) if each.is_dir()]
    flags = [
        f"-max_total_time={args.seconds}",
        f"-artifact_prefix={crashes}/",
        "-max_len=8192",
        "-timeout=10",
        "-rss_limit_mb=1500",
    ]
    atheris.Setup([sys.argv[0], *flags, found, *seeds], TARGETS[args.target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
