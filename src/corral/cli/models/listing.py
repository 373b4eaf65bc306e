"""`corral models list` and `show`: what stands in the store."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corral.cli import options, output
from corral.cli.models import shelves
from corral.cli.naming import STORED, Names
from corral.domain.units import format_bytes, format_duration, format_parameters

if TYPE_CHECKING:
    from corral.store.shelf.items import Item

_HEAD = ("name", "size", "quant", "params", "context", "parts", "age", "used by")
_NUMBERS = ("size", "params", "context", "parts", "age")


def list_(
    everything: Annotated[
        bool,
        typer.Option(
            "--all",
            "-a",
            help="Show projectors and adapters, and what llama.cpp, Ollama, LM Studio and the hub have here.",
        ),
    ] = False,
    config: options.Config = "",
    as_json: options.Json = False,
) -> None:
    """
    Show the models in the store: size, quantisation, parameters, context, parts, age, and who uses them.

    What other programs have fetched can be used where it lies, by its path in the config; `pull` finds it, too.
    """
    from corral.contracts.fetching import Role
    from corral.store.shelf.items import STORE

    settings = shelves.settings_of(config)
    root = shelves.root_of(settings)
    items = [each for each in shelves.items_of(root) if everything or each.role is Role.MODEL]
    items.sort(key=lambda item: item.name)
    items += shelves.elsewhere() if everything else []
    users = shelves.all_users(items, shelves.models_of(settings))
    if as_json:
        output.print_json([as_data(item, users.get(item.key, [])) for item in items])
        return
    if not items:
        output.note(f"The store, {root}, is empty.")
        return
    now = time.time()
    rows = [_row(item, users.get(item.key, []), now) for item in items]
    if everything:
        rows = [(*row, item.place, str(item.role)) for row, item in zip(rows, items, strict=True)]
    output.print_table((*_HEAD, *(("place", "kind") if everything else ())), rows, right=_NUMBERS)
    for item in items:
        if item.problem:
            output.note(output.printable(f"{item.name} cannot be used: {item.problem}"))
    own = [item for item in items if item.place == STORE]
    total = format_bytes(sum(item.size_bytes for item in own))
    output.note(output.printable(f"{total} in {len(own)} model{'' if len(own) == 1 else 's'} at {root}"))


def show(
    name: Annotated[str, STORED],
    config: options.Config = "",
    as_json: options.Json = False,
) -> None:
    """Show one model of the store: its files, where it came from, who uses it."""
    from corral.store.shelf.items import STORE

    named = Names(config)
    item = named.here(name)
    used_by = shelves.users_of(item, shelves.models_of(named.settings))
    data = as_data(item, used_by)
    if as_json:
        output.print_json(data)
        return
    origin = item.origins[0]
    lines = {
        "name": item.name,
        "kind": str(item.role),
        "kept by": "" if item.place == STORE else item.place,
        "problem": item.problem,
        "title": item.title,
        "architecture": item.architecture,
        "parameters": format_parameters(item.parameters),
        "quantisation": item.quantisation,
        "context": f"{item.context_tokens} tokens" if item.context_tokens else "",
        "licence": item.licence,
        "size": format_bytes(item.size_bytes),
        "reference": item.reference,
        "url": origin.url if origin else "",
        "fetched": _date(origin.fetched_at) if origin and origin.fetched_at else "",
        "projector": str(item.projector or ""),
        "adapters": ", ".join(map(str, item.adapters)),
        "in place": origin.linked if origin else "",
        "used by": ", ".join(used_by),
    }
    for word, text in lines.items():
        if text:
            print(f"{word:<12} {output.line(text)}")
    for path, known in zip(item.paths, item.origins, strict=True):
        print(output.printable(f"{'file':<12} {path}"))
        if known and known.sha256:
            print(f"{'sha256':<12} {output.printable(known.sha256)}")


def as_data(item: Item, used_by: Sequence[str]) -> Mapping[str, Any]:
    """For programs."""
    return {
        "name": item.name,
        "key": item.key,
        "kind": str(item.role),
        "place": item.place,
        "paths": [str(path) for path in item.paths],
        "size_bytes": item.size_bytes,
        "architecture": item.architecture,
        "title": item.title,
        "parameters": item.parameters,
        "quantisation": item.quantisation,
        "context_tokens": item.context_tokens,
        "licence": item.licence,
        "modified_at": item.modified_at,
        "reference": item.reference,
        "sha256": [origin.sha256 if origin else "" for origin in item.origins],
        "projector": str(item.projector) if item.projector else None,
        "adapters": [str(path) for path in item.adapters],
        "problem": item.problem,
        "used_by": list(used_by),
    }


def _row(item: Item, used_by: Sequence[str], now: float) -> tuple[str, ...]:
    return (
        item.name,
        format_bytes(item.size_bytes),
        item.quantisation or "-",
        format_parameters(item.parameters) or "-",
        str(item.context_tokens or "-"),
        str(len(item.files)),
        _age(now - item.modified_at),
        ", ".join(used_by) or "-",
    )


def _age(seconds: float) -> str:
    """The largest unit of it."""
    return format_duration(max(1.0, seconds)).split()[0]


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
