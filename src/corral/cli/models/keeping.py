"""`corral models remove`, `import`, `verify` and `gc`: the store is kept in order."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corral.cli import options, output
from corral.cli.loaded import Loaded
from corral.cli.models import shelves
from corral.cli.naming import STORED, Names
from corral.cli.usage import UsageError
from corral.domain.errors import Conflict
from corral.domain.units import format_bytes, parse_duration

if TYPE_CHECKING:
    from corral.config.settings import Settings
    from corral.contracts.fetching import Progress, Told
    from corral.store.shelf.removing import Removal

_PLACES_S = 0.2  # between two pictures of the progress


def remove(
    names: Annotated[list[str], STORED],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Do not ask, and remove what is used as well.")] = False,
    config: options.Config = "",
) -> None:
    """
    Remove models from the store: all parts, and what came with them.

    Refused for what a Model of the config uses, or the running Corral; asked for on a terminal.
    """
    from corral.store.shelf import removing
    from corral.store.shelf.index import Index
    from corral.store.shelf.walk import walk

    named = Names(config)
    root, walked = named.root, walk(named.root)
    named.items = items = Index(root).items_of(walked)
    wanted = {item.key: item for item in map(named.here, names)}
    plans = removing.planned(root, list(wanted.values()), items, walked)
    if not force:
        _refuse_used(root, plans, named.settings)
    if not (yes or force):
        total = format_bytes(sum(plan.size_bytes for plan in plans))
        what = ", ".join(plan.item.name for plan in plans)
        if not sys.stdin.isatty():
            raise UsageError(
                f"{what} ({total}) would be removed for good.", hint="Say --yes where nobody can be asked."
            )
        for path in (path for plan in plans for path in plan.paths):
            output.note(output.printable(f"  {path}"))
        if not typer.confirm(output.printable(f"Remove {what} ({total})?"), default=False, err=True):
            output.note("Nothing was removed.")
            raise typer.Exit(1)
    for plan in plans:
        removing.remove(root, plan)
        files = f"{len(plan.paths)} file{'' if len(plan.paths) == 1 else 's'}"
        print(output.printable(f"Removed {plan.item.name}: {files}, {format_bytes(plan.size_bytes)}."))


def _refuse_used(root: Path, plans: Sequence[Removal], settings: Settings) -> None:
    """Every file that would go is looked for, where it really lies: the store may be reached through a link."""
    from corral.store.uses import Uses

    uses, loaded = Uses(shelves.models_of(settings)), Loaded.now(settings)
    for plan in plans:
        own = {os.fspath(path) for path in plan.item.paths}
        for path in (os.fspath(root / each) for each in plan.paths):
            what = (
                plan.item.name if path in own else f"{os.path.relpath(path, root)}, which goes with {plan.item.name},"
            )
            users = uses.of([path])
            if users:
                raise Conflict(
                    f"{what} is used by {', '.join(users)} of the config.", hint="Take that out first, or say --force."
                )
            by = loaded.of(path)
            if by:
                raise Conflict(f"{what} is loaded as {', '.join(by)}.", hint=loaded.advice(by[0]))


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
        wanted = planned(Path(path).expanduser().absolute(), name=name, root=root)
        with _progress() as told:
            done = take_in(root, wanted, how, told)
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
        with _progress() as told:
            for each in verified(root, item, told):
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


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go, and remove nothing.")] = False,
    older: Annotated[
        str, typer.Option("--older-than", metavar="TIME", help="Fetches go that got nothing for so long.")
    ] = "7d",
    config: options.Config = "",
    as_json: options.Json = False,
) -> None:
    """Remove what nobody needs: fetches that were given up, journals and origins without a file, empty folders."""
    from corral.store.shelf import gc as collecting

    try:
        older_s = parse_duration(older)
    except ValueError as error:
        raise UsageError(f"--older-than: {error}.") from None
    settings = shelves.settings_of(config)
    root = shelves.root_of(settings)
    used = _in_use(root, settings)
    litter = [each for each in collecting.find(root, older_s=older_s, now=time.time()) if not used(each.path)]
    folders = [each for each in collecting.empty_folders(root) if not used(each)]
    gone = litter if dry_run else list(collecting.sweep(root, litter))
    if not dry_run:
        collecting.remove_folders(root, folders)
    if as_json:
        rows = [{"path": each.path, "size_bytes": each.size_bytes, "why": each.why} for each in gone]
        output.print_json({"removed": not dry_run, "files": rows, "folders": folders})
        return
    for each in gone:
        print(output.printable(f"{each.path} ({format_bytes(each.size_bytes)}): {each.why}"))
    for folder in folders:
        print(output.printable(f"{folder}/: an empty folder"))
    freed = format_bytes(sum(each.size_bytes for each in gone))
    output.note(
        f"{freed} {'would be freed' if dry_run else 'freed'}." if gone or folders else "There is nothing to remove."
    )


def _in_use(root: Path, settings: Settings) -> Callable[[str], bool]:
    """Whether a Model, of the config or loaded, names this file or folder below the store, or something in it."""
    from corral.store.uses import Uses

    uses, loaded = Uses(shelves.models_of(settings)), Loaded.now(settings)
    return lambda path: bool(uses.within(root / path) or loaded.within(root / path))


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
