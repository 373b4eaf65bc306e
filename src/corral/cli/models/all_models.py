"""`corral models pull --all`: everything that a config needs, before anybody asks for it."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import typer

from corral.cli import output
from corral.cli.models import asking
from corral.cli.models.progress import Stop, megabytes, watched
from corral.cli.models.pulling import borrowed
from corral.contracts.fetching import Progress, Told
from corral.domain.errors import CorralError
from corral.domain.fleet import Source
from corral.domain.references import parse
from corral.store.supply import StoreSupply, store_supply


def pull_all(config: str, *, insecure: bool, private: bool, as_json: bool) -> None:
    """
    Fetch what the Models of the config come from, one after the other; those with auto_download off too.

    What fails is told, and the others come all the same; then the code is 1.
    """
    settings = asking.settings_of(config)
    supply = store_supply(settings.store, os.environ, insecure=insecure, private=private)
    wanted = {name: model.source for name, model in settings.fleet.models.items() if model.source.reference}
    if not wanted:
        output.note("corral: no Model of the config comes from elsewhere.")
    rows = [_pulled(supply, name, source) for name, source in wanted.items()]
    if as_json:
        output.print_json(rows)
    failed = [str(row["model"]) for row in rows if row["error"]]
    if failed:
        output.note(f"corral: {len(failed)} of {len(rows)} could not be fetched: {', '.join(failed)}.")
        raise typer.Exit(1)


def _pulled(supply: StoreSupply, name: str, source: Source) -> dict[str, Any]:
    row: dict[str, Any] = {"model": name, "reference": str(parse(source.reference)), "path": None, "error": None}
    try:
        found = supply.here(source)
        if found is not None:
            output.note(f"[{name}] Model already exists at {found.path}")
        else:
            output.note(f"[{name}] Downloading model from {row['reference']}")
            asked = dataclasses.replace(source, auto_download=True)  # somebody asks for it by hand now
            size = 0

            def bring(told: Told, stop: Stop) -> Source:
                def sized(progress: Progress) -> None:
                    nonlocal size
                    size = progress.total_bytes or progress.done_bytes
                    told(progress)

                return supply.bring(asked, sized, stop)

            found = watched(name, bring)
            used = borrowed(Path(found.path))
            came = (
                f"used in place from {used}" if used else f"downloaded successfully to {found.path} ({megabytes(size)})"
            )
            output.note(f"[{name}] Model {came}")
    except CorralError as error:
        output.note(f"[{name}] Failed to download model from {row['reference']}: {error.sentence()}")
        return {**row, "error": error.message}
    return {**row, "path": found.path}
