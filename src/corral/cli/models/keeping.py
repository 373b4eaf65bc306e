"""`corral models remove` and `gc`: what nobody needs goes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corral.cli import options, output
from corral.cli.loaded import Loaded
from corral.cli.models import shelves
from corral.cli.naming import STORED, Names
from corral.cli.usage import UsageError
from corral.domain.errors import Conflict, StoreFailed
from corral.domain.units import format_bytes, parse_duration

if TYPE_CHECKING:
    from corral.config.settings import Settings
    from corral.store.shelf.removing import Removal


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
        if not output.confirmed(f"Remove {what} ({total})?", default=False):
            output.note("Nothing was removed.")
            raise typer.Exit(1)
    for plan in plans:
        removing.remove(root, plan)
        files = f"{len(plan.paths)} file{'' if len(plan.paths) == 1 else 's'}"
        print(output.printable(f"Removed {plan.item.name}: {files}, {format_bytes(plan.size_bytes)}."))


def _refuse_used(root: Path, plans: Sequence[Removal], settings: Settings) -> None:
    """Every file that would go is looked for, where it really lies: the store may be reached through a link."""
    from corral.store.uses import Uses

    uses = Uses(shelves.models_of(settings))
    loaded = Loaded.now(settings, otherwise="Try again when it does, end it, or say --force.")
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
    gone, failed = [], list[StoreFailed]()
    for each in litter if dry_run else collecting.sweep(root, litter, failed=failed.append):
        gone.append(each)
        if not as_json:  # at once: what is gone is told, whatever comes
            print(output.printable(f"{each.path} ({format_bytes(each.size_bytes)}): {each.why}"), flush=True)
    if not dry_run:
        folders = collecting.remove_folders(root, folders)
    if as_json:
        rows = [{"path": each.path, "size_bytes": each.size_bytes, "why": each.why} for each in gone]
        told = [error.message for error in failed]
        output.print_json({"removed": not dry_run, "files": rows, "folders": folders, "failed": told})
    else:
        for folder in folders:
            print(output.printable(f"{folder}/: an empty folder"))
        for left in failed:
            output.note(output.printable(f"corral: {left.sentence()}"))
        _sum_up(sum(each.size_bytes for each in gone), dry_run=dry_run, nothing=not (gone or folders or failed))
    if failed:
        raise typer.Exit(1)


def _sum_up(size_bytes: int, *, dry_run: bool, nothing: bool) -> None:
    freed = f"{format_bytes(size_bytes)} {'would be freed' if dry_run else 'freed'}."
    output.note("There is nothing to remove." if nothing else freed)


def _in_use(root: Path, settings: Settings) -> Callable[[str], bool]:
    """Whether a Model, of the config or loaded, names this file or folder below the store, or something in it."""
    from corral.store.uses import Uses

    uses = Uses(shelves.models_of(settings))
    loaded = Loaded.now(settings, otherwise="Try again when it does, or end it.")
    return lambda path: bool(uses.within(root / path) or loaded.within(root / path))
