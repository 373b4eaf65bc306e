"""Words and tables on a terminal or in a pipe."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

BOLD, DIM, RESET = "\x1b[1m", "\x1b[2m", "\x1b[0m"


def styled(stream: Any = None) -> bool:
    """True when colours and progress may be written to this stream: a terminal, and NO_COLOR is not set."""
    stream = stream or sys.stdout
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def dim(text: str, *, stream: Any = None) -> str:
    """The text, dimmed where that can be."""
    return f"{DIM}{text}{RESET}" if styled(stream) else text


def print_json(value: Any) -> None:
    """One JSON document for programs."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """Columns aligned by spaces; those named in `right` are numbers and stand at the right."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(name), *(len(row[i]) for row in rows)) if rows else len(name) for i, name in enumerate(head)]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if name in right else cell.ljust(width)
            for cell, width, name in zip(cells, widths, head, strict=True)
        )
        return "  ".join(padded).rstrip()

    titles = line([name.upper() for name in head])
    print(f"{BOLD}{titles}{RESET}" if styled() else titles)
    for row in rows:
        print(line(row))


def printable(text: str) -> str:
    """Without control characters: what a model or a log says must not steer the terminal."""
    if text.isprintable():  # nearly always
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text)


def note(text: str) -> None:
    """A line for people, beside the output proper."""
    print(text, file=sys.stderr, flush=True)
