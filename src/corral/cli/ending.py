"""SIGTERM for commands that have started something: it ends them as Ctrl-C does, so that nothing of it is left."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def like_ctrl_c() -> Iterator[None]:
    """Inside the block SIGTERM unwinds what is under way; the exit code is 143, as a shell says of who dies of it."""
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
