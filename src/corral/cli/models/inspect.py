"""`corral models inspect`: what a model is, by its headers alone."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corral.cli import options, output
from corral.cli.models import asking
from corral.cli.naming import NAMED, Names, is_path
from corral.cli.usage import UsageError
from corral.domain.errors import UnknownModel
from corral.domain.references import Reference, parse
from corral.kit.homes import expanded

if TYPE_CHECKING:
    from corral.store.gguf.header import TensorInfo
    from corral.store.inspect.inspection import Inspection


def inspect(
    model: Annotated[str, NAMED],
    quant: asking.Quant = "",
    file: Annotated[
        str, typer.Option("--file", metavar="FILE", show_default=False, help="This file of a repository.")
    ] = "",
    tensors: Annotated[bool, typer.Option("--tensors", help="List all tensors as well.")] = False,
    insecure: asking.Insecure = False,
    private: asking.Private = False,
    config: options.Config = "",
    as_json: options.Json = False,
) -> None:
    """
    Show what a model file says of itself: architecture, sizes, context, tokenizer, chat template, quantisation.

    Only headers are read: of a model that is elsewhere a few MB come at most, and nothing is kept. What a reference
    means is looked for in the store first.
    """
    from corral.cli.models.inspected import lines, type_rows
    from corral.store.inspect.anywhere import here, inspect_reference
    from corral.store.inspect.places import inspect_files
    from corral.store.sources.access import access
    from corral.store.supply import store_supply

    names = Names(config)
    meant = _meant(model, names)
    if isinstance(meant, Path):
        if quant or file:
            raise UsageError(f"{model} is one model: there is nothing for --quant and --file to choose.")
        found, of_all = inspect_files(here(meant))
    else:
        store = names.settings.store
        allowed = access(store, os.environ, insecure=insecure, private=private)
        supply = store_supply(store, os.environ)
        with output.busy(f"Reading the header of {meant} ..."):
            found, of_all = inspect_reference(meant, allowed, quant=quant, file=file, supply=supply)
    if as_json:
        output.print_json(_plain(found, of_all if tensors else ()))
        return
    for name, text in lines(found):
        print(f"{name:<14} {output.line(text)}")
    if found.quantisation.types:
        print()
        head = ("type", "tensors", "parameters", "size", "bits per weight")
        output.print_table(head, type_rows(found.quantisation), right=head[1:])
    if tensors:
        print()
        output.print_table(
            ("tensor", "type", "shape", "bytes"),
            [(each.name, each.type, " x ".join(map(str, each.shape)), str(each.n_bytes)) for each in of_all],
            right=("bytes",),
        )


def _meant(model: str, names: Names) -> Reference | Path:
    """Of a Model of the config its file or reference."""
    from corral.domain.names import directory, resolve
    from corral.store.supply import store_supply, with_files

    if is_path(model):
        return expanded(model)
    models = names.models(model)
    known = directory(models.values())
    why = None
    try:
        own = resolve(model, known)
    except UnknownModel as error:
        why = error if known else None
    else:
        source = with_files(models[own], store_supply(names.settings.store, os.environ)).source
        if source.given:
            return Path(source.path) if source.path else parse(source.reference)
    found = names.of(model, why)
    return found.path if not isinstance(found, Path | Reference) else found


def _plain(found: Inspection, tensors: Sequence[TensorInfo]) -> dict[str, Any]:
    plain = dataclasses.asdict(found)
    if tensors:
        plain["tensors"] = [
            {"name": each.name, "type": each.type, "shape": each.shape, "n_bytes": each.n_bytes} for each in tensors
        ]
    return plain
