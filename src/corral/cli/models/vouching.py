"""
`corral models import` and `verify`: files are read from their beginning to their end, and their hashes kept.

That may take long, so it can be ended: by Ctrl-C or SIGTERM, with nothing half left behind.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from corral.cli import options, output
from corral.cli.models import shelves
from corral.cli.models.progress import stoppable
from corral.cli.naming import Names
from corral.cli.usage import UsageError
from corral.domain.errors import FetchStopped
from corral.kit.homes import expanded

if TYPE_CHECKING:
    from corral.contracts.fetching import Progress, Told

_PLACES_S = 0.2  # between two pictures of the progress


def import_(
    paths: Annotated[list[str], typer.Argument(metavar="PATH", help="Model files; of a split one any part.")],
    copy: Annotated[bool, typer.Option("--copy", help="Copy instead of linking.")] = False,
    move: Annotated[bool, typer.Option("--move", help="Move instead of linking.")] = False,
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", show_default=False, help="Another name than the file's.")
    ] = "",
    config: options.Config = "",
) -> None:
    """
    Take model files of this machine into the store, split ones whole, with the projector (mmproj) beside them.

    A link costs no space: a hard one, or a symbolic one where the store is on another disk.
    """
    from corral.store.shelf.importing import How, planned, take_in

    if copy and move:
        raise UsageError("--copy or --move, not both.")
    if name and len(paths) > 1:
        raise UsageError("--name is for one model.")
    root = shelves.root_of(shelves.settings_of(config))
    how = How.COPY if copy else How.MOVE if move else How.LINK
    for path in paths:
        wanted = planned(expanded(path).absolute(), name=name, root=root)
        with _ended("What came into the store so far stays there. The same command does the rest.") as stop:
            with _progress() as told:
                done = take_in(root, wanted, how, told, stop=stop)
        for each in done:
            words = "was there already" if each.done == "there" else each.done
            print(output.printable(f"{root / each.wanted.path} {words}"))


def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", show_default=False, help="Default: all of the store.")
    ] = None,
    config: options.Config = "",
    as_json: options.Json = False,
) -> None:
    """
    Hash files again and compare with what came. Exit code 1 when one is not what it was.

    Of a file that nobody vouched for, such as one that was copied into the store by hand, the hash is remembered.
    """
    from corral.store.shelf.verifying import Verdict
    from corral.store.shelf.verifying import verify as verified

    named = Names(config)
    root = named.root
    items = list(map(named.here, names)) if names else named.items
    if not items:
        output.note(f"The store, {root}, is empty.")
    results = []
    for item in sorted(items, key=lambda each: each.name):
        with _ended() as stop, _progress() as told:
            for each in verified(root, item, told, stop=stop):
                results.append(each)
                if not as_json:
                    print(output.printable(f"{each.verdict:<6} {each.path} {each.why}").rstrip(), flush=True)
    if as_json:
        output.print_json(
            [{"name": each.item.name, "path": str(each.path), "verdict": str(each.verdict), "sha256": each.sha256,
              "why": each.why} for each in results]
        )  # fmt: skip
    wrong = [each for each in results if each.verdict is Verdict.WRONG]
    if wrong:
        what = (
            "files is not what it was: remove and pull it again"
            if len(wrong) == 1
            else ("files are not what they were: remove and pull them again")
        )
        output.note(f"{len(wrong)} of {len(results)} {what}.")
        raise typer.Exit(1)


@contextmanager
def _ended(words: str = "") -> Iterator[Callable[[], bool]]:
    """Whether a signal has come; it ends the block, and the command with 128 and its number."""
    with stoppable() as came:
        try:
            yield lambda: came() != 0
        except FetchStopped:
            output.note(f"corral: Stopped. {words}".rstrip())
            raise typer.Exit(128 + came()) from None


@contextmanager
def _progress() -> Iterator[Told]:
    """How far a file is, in one line of a terminal; nothing in a pipe."""
    if not output.styled(sys.stderr):
        yield lambda progress: None
        return
    last = 0.0

    def tell(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _PLACES_S:
            last = now
            share = "" if progress.share is None else f" {progress.share * 100:.0f} %"
            name = output.printable(progress.file)
            print(f"\r\x1b[K{progress.doing} {name}{share}", end="", file=sys.stderr, flush=True)

    try:
        yield tell
    finally:
        if last:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
