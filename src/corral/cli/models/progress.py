"""A download as people see it: a bar on a terminal, one line every five seconds elsewhere."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final, TypeVar

import typer

from corral.cli import output
from corral.contracts.fetching import Progress, Told
from corral.domain.errors import FetchStopped
from corral.domain.units import format_duration

EVERY_S: Final = 5.0
_REMIND_S: Final = 0.5
MB: Final = 1_000_000
T = TypeVar("T")
Stop = Callable[[], bool]


def megabytes(count: int) -> str:
    """Millions of bytes, whole: `2048 MB`; one decimal below ten."""
    return f"{count / MB:.0f} MB" if count >= 10 * MB or count == 0 else f"{count / MB:.1f} MB"


def line(progress: Progress) -> str:
    """`Download progress: 25.3% (518 MB / 2048 MB)`, and how fast it is."""
    if progress.doing == "looking":
        return "Looking what there is to download"
    rest = []
    if progress.files > 1:
        rest.append(f"file {min(progress.files_done + 1, progress.files)} of {progress.files}")
    if progress.doing != "fetching":
        rest.append(progress.held_up or progress.doing)
    else:
        rest += pace(progress)
    more = "".join(f", {each}" for each in rest)
    if progress.share is None or progress.total_bytes is None:
        return f"Download progress: {megabytes(progress.done_bytes)} downloaded{more}"
    share = int(progress.share * 1000) / 10  # cut, not rounded: 100.0% is all of it
    return (
        f"Download progress: {share:.1f}% ({megabytes(progress.done_bytes)} / {megabytes(progress.total_bytes)}){more}"
    )


def pace(progress: Progress) -> list[str]:
    """`61.2 MB/s` and `25s left`, as far as it is known."""
    if progress.per_s <= 0:
        return []
    left = [] if progress.left_s is None else [f"{format_duration(max(1.0, progress.left_s))} left"]
    return [f"{progress.per_s / MB:.1f} MB/s", *left]


def watched(name: str, work: Callable[[Told, Stop], T]) -> T:
    """
    The result of `work` while people watch it on standard error; `name` stands before each line.

    Ctrl-C and SIGTERM end it with what to do next, and what has come stays. A second one of them ends it at once. The
    exit code is 128 and the number of the signal: 130, 143.
    """
    with stoppable() as stop:
        try:
            with shown(name) as told:
                told(Progress(0, None, doing="looking"))
                return work(told, lambda: stop() != 0)
        except FetchStopped:
            if not stop():
                raise
            output.note("corral: Stopped. What has come so far is kept: the same command goes on with it.")
            raise typer.Exit(128 + stop()) from None


def shown(name: str) -> contextlib.AbstractContextManager[Told]:
    """Draws what it is told on standard error: the bar on a terminal, lines that begin with `name` elsewhere."""
    return _bar() if output.styled(sys.stderr) else _lines(name)


@contextlib.contextmanager
def stoppable() -> Iterator[Callable[[], int]]:
    """Gives the signal that has come, or 0."""
    came = 0

    def hear(number: int, frame: FrameType | None) -> None:
        nonlocal came
        if came:
            raise SystemExit(128 + number)
        came = number

    before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _lines(name: str) -> Iterator[Told]:
    """A thread says the last one once more where nothing is told for long: who waits may not be able to tell."""
    said_at = told_at = time.monotonic()
    last = Progress(0, None, doing="looking")
    over = threading.Event()

    def told(progress: Progress) -> None:
        nonlocal last, said_at, told_at
        last, told_at = progress, time.monotonic()
        if told_at - said_at >= EVERY_S:
            said_at = told_at
            output.note(f"[{name}] {line(progress)}")

    def remind() -> None:
        nonlocal said_at
        while not over.wait(_REMIND_S):
            now = time.monotonic()
            if now - told_at >= _REMIND_S and now - said_at >= EVERY_S:
                said_at = now
                output.note(f"[{name}] {line(last)}")

    thread = threading.Thread(target=remind, name=f"lines of {name}", daemon=True)
    thread.start()
    try:
        yield told
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def _bar() -> Iterator[Told]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn
    from rich.progress import Progress as Bar

    bar = Bar(
        TextColumn("{task.fields[file]}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>5.1f}%"),
        DownloadColumn(),
        TextColumn("{task.fields[pace]}", markup=False),  # rich's own counts what was here as having come
        TextColumn("{task.fields[parts]}", markup=False),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=None, file="", pace="", parts="")

        def told(progress: Progress) -> None:
            parts = f"{progress.files_done}/{progress.files}" if progress.files > 1 else ""
            doing = "" if progress.doing == "fetching" else f"{parts and ' '}{progress.held_up or progress.doing}"
            bar.update(
                task,
                completed=progress.done_bytes,
                total=progress.total_bytes,
                file=output.printable(progress.file)[:48],
                pace=", ".join(pace(progress)),
                parts=parts + doing,
            )

        yield told
