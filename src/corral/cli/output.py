"""Words and tables on a terminal or in a pipe."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

_BUSY_CHARS = 72  # a line that the terminal breaks could not be taken back
BOLD, DIM, RESET = "\x1b[1m", "\x1b[2m", "\x1b[0m"


def styled(stream: Any = None) -> bool:
    """True when colours and progress may be written to this stream: a terminal, and NO_COLOR is not set."""
    stream = stream or sys.stdout
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def dim(text: str, *, stream: Any = None) -> str:
    """The text, dimmed where that can be."""
    return f"{DIM}{text}{RESET}" if styled(stream) else text


def both_terminals() -> bool:
    """Whether somebody sits there who can be asked. A stream that was closed before we began is None."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))


def print_json(value: Any) -> None:
    """One JSON document for programs. Where the output is no Unicode, all else is written as JSON's own escapes."""
    unicode = _encoding(sys.stdout).startswith("utf")
    print(json.dumps(value, indent=2, ensure_ascii=not unicode, default=str))


def _encoding(stream: Any) -> str:
    return str(getattr(stream, "encoding", None) or "utf-8").lower()


def never_fails(stream: Any) -> None:
    """Make a text stream write what it cannot encode as \\u escapes: a name must not end a command half-way."""
    if stream is not None and (stream.errors == "strict" or not _encoding(stream).startswith("utf")):
        stream.reconfigure(errors="backslashreplace")


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """Columns aligned by spaces; those named in `right` are numbers and stand at the right."""
    titles = [name.upper() for name in head]
    columns = zip(titles, *rows, strict=True)
    padded = [_column(cells, to_the_right=name in right) for name, cells in zip(head, columns, strict=True)]
    first, *lines = ("  ".join(cells).rstrip() for cells in zip(*padded, strict=True))
    print("\n".join((f"{BOLD}{first}{RESET}" if styled() else first, *lines)))


def _column(cells: Sequence[str], *, to_the_right: bool) -> list[str]:
    whole = "".join(cells)  # nearly always all of it is plain, and a list may have ten thousand rows
    if not whole.isprintable():
        cells = [line(cell) for cell in cells]
    widths = [*map(len if whole.isascii() else width_of, cells)]
    most = max(widths)
    spaces = [" " * (most - width) for width in widths]
    if to_the_right:
        return [space + cell for cell, space in zip(cells, spaces, strict=True)]
    return [cell + space for cell, space in zip(cells, spaces, strict=True)]


def width_of(text: str) -> int:
    """Columns of a terminal: Chinese, Japanese and Korean letters take two, accents that join a letter none."""
    if text.isascii():
        return len(text)
    import unicodedata  # a megabyte, and mostly not needed

    def width(char: str) -> int:
        if unicodedata.category(char) in ("Mn", "Me", "Cf"):
            return 0
        return 2 if unicodedata.east_asian_width(char) in "WF" else 1

    return sum(map(width, text))


def line(text: str) -> str:
    """The same as `printable`, of one line: a name that breaks it must not look like the next one."""
    return printable(text).replace("\n", "\N{REPLACEMENT CHARACTER}").replace("\t", "\N{REPLACEMENT CHARACTER}")


def printable(text: str) -> str:
    """Without control characters: what a model or a log says must not steer the terminal."""
    if text.isprintable():  # nearly always
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text)


def confirmed(question: str, *, default: bool) -> bool:
    """Ask somebody on the terminal. Ctrl-D is no; Ctrl-C ends the command, as everywhere."""
    import typer

    try:
        return typer.confirm(printable(question), default=default, err=True)
    except typer.Abort as error:  # typer's one answer to both
        print(file=sys.stderr)
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        return False


@contextlib.contextmanager
def busy(text: str) -> Iterator[None]:
    """On a terminal, what is going on while it does; nothing of it stays."""
    if not styled(sys.stderr):
        yield
        return
    print(f"{DIM}{line(text)[:_BUSY_CHARS]}{RESET}", end="", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def note(text: str) -> None:
    """A line for people, beside the output proper."""
    print(text, file=sys.stderr, flush=True)
