"""Standard streams that were closed before the program began (`corral ... >&-`) lead to nothing, as if to /dev/null."""

from __future__ import annotations

import io
import os
import sys


def open_closed() -> None:
    """
    Open them. Else the next file or socket would become standard output by its number, for child processes too, and
    `print` to a standard error that is None would write to standard output.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            fd = os.open(os.devnull, os.O_RDWR)  # the lowest that is free: those before it are open by now
            os.set_inheritable(fd, fd == number)
            raw = io.FileIO(fd, "w" if number else "r", closefd=False)
            setattr(sys, name, io.TextIOWrapper(raw, encoding="utf-8"))
