"""
Reading what an engine wrote: the segments on the disk and the keeper's ring, joined by line number.

A reader that falls behind the ring goes back to the disk; it misses lines only when they are gone there too.

Files are read in small pieces on the loop: they are local, just written and in the page cache.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from corral.contracts.runtime import LogLine

_PIECE_BYTES = 64 * 1024
_YIELD_LINES = 256  # other tasks get their turn after this many
_STREAMS = {"O": "stdout", "E": "stderr"}


class AskKeeper(Protocol):
    """The keeper's answer to `logs`, None when it does not know the instance (any more)."""

    async def __call__(self, after: int, *, now: bool) -> dict[str, Any] | None: ...


async def read(prefix: Path, ask: AskKeeper, *, tail: int | None, follow: bool) -> AsyncIterator[LogLine]:
    """Lines of the segments `prefix.N.log` and of the keeper, from the beginning or the last `tail`."""
    known = await ask(2**62, now=True)
    if tail is None:
        number = 0
    elif known is not None:
        number = max(0, known["total"] - tail)
    else:
        number = max(0, _total(prefix) - tail)
    while True:
        known = await ask(number, now=not follow)
        if known is None or known["first"] > number:  # the ring has moved on, or is gone: the disk remembers more
            before = number
            for after, line in _segments(prefix, before):
                number = after
                yield line
                if number % _YIELD_LINES == 0:
                    await asyncio.sleep(0)
            if known is None:
                return
            if number > before:
                continue
            if known["lines"]:
                yield missed(known["first"] - number, known["lines"][0][0])
        for at, stream, text in known["lines"]:
            yield LogLine(at, _STREAMS[stream], text)
        number = known["first"] + len(known["lines"])
        if known["ended"] or (not follow and number >= known["total"]):
            return


def missed(count: int, at: float) -> LogLine:
    """The line that stands for lines that the reader does not get."""
    return LogLine(at, "stderr", f"[corral: {count} line{'' if count == 1 else 's'} missed]")


def remove(prefix: Path) -> None:
    """Delete the segments of an earlier instance of the same name."""
    for _, path in _paths(prefix):
        path.unlink(missing_ok=True)


def _paths(prefix: Path) -> list[tuple[int, Path]]:
    found = []
    for path in prefix.parent.glob(f"{prefix.name}.*.log"):
        number = path.name[len(prefix.name) + 1 : -4]
        if number.isdigit():
            found.append((int(number), path))
    return sorted(found)


def _total(prefix: Path) -> int:
    paths = _paths(prefix)
    return paths[-1][0] + sum(1 for _ in _lines(paths[-1][1])) if paths else 0


def _segments(prefix: Path, start: int) -> Iterator[tuple[int, LogLine]]:
    """Lines from number `start` on, each with the number of the line after it."""
    paths = _paths(prefix)
    while len(paths) > 1 and paths[1][0] <= start:
        paths.pop(0)
    expected = start
    for number, path in paths:
        for raw in _lines(path):
            if number >= start:
                line = _parse(raw)
                if number > expected:
                    yield number, missed(number - expected, line.at)
                yield number + 1, line
                expected = number + 1
            number += 1


def _lines(path: Path) -> Iterator[bytes]:
    """Complete lines only: the last one may be in the middle of being written."""
    rest = b""
    try:
        with path.open("rb") as file:
            while data := file.read(_PIECE_BYTES):
                lines = deque((rest + data).split(b"\n"))
                rest = lines.pop()
                yield from lines
    except OSError:
        return  # rotated away before it was opened: the gap is counted by the numbers


def _parse(raw: bytes) -> LogLine:
    stamp, _, rest = raw.partition(b" ")
    stream, _, text = rest.partition(b" ")
    try:
        at = datetime.fromisoformat(stamp.decode("ascii")).timestamp()
    except ValueError:
        return LogLine(0.0, "stdout", raw.decode("utf-8", "replace"))  # somebody edited the file
    return LogLine(at, _STREAMS.get(stream.decode("ascii", "replace"), "stdout"), text.decode("utf-8", "replace"))
