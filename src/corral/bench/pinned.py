"""
`python -m corral.bench.pinned CORE PARENT PROGRAM...`: becomes the program, on one core, and ends with its parent.

What is measured must not wander over the cores, and nothing may live on when the benchmark is killed. Both are
inherited, so they are set before the program begins. Where the system has neither, the program runs as it is.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def main(core: int, parent: int, argv: list[str]) -> None:
    """Become the program. `core` -1 leaves all cores."""
    if core >= 0 and sys.platform == "linux":
        os.sched_setaffinity(0, {core})
    with contextlib.suppress(ValueError, OSError):  # a thousand streams are two thousand descriptors
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the signal was asked for
            sys.exit(1)
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
