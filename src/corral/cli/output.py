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
    titles = [name.upper() for name in head]
    columns = zip(titles, *([printable(cell) for cell in row] for row in rows), strict=True)
    padded = [_column(cells, to_the_right=name in right) for name, cells in zip(head, columns, strict=True)]
    first, *lines = ("  ".join(cells).rstrip() for cells in zip(*padded, strict=True))
    print("\n".join((f"{BOLD}{first}{RESET}" if styled() else first, *lines)))


def _column(cells: Sequence[str], *, to_the_right: bool) -> list[str]:
    width = max(map(len, cells))
    return [cell.rjust(width) for cell in cells] if to_the_right else [cell.ljust(width) for cell in cells]


def printable(text: str) -> str:
    """Without control characters: what a model or a log says must not steer the terminal."""
    if text.isprintable():  # nearly always
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text)


def note(text: str) -> None:
    """A line for people, beside the output proper."""
    print(text, file=sys.stderr, flush=True)
