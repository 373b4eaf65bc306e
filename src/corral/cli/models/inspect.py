"""`corral models inspect`: what a model is, by its headers alone."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corral.cli import options, output
from corral.cli.models import asking, shelves
from corral.cli.usage import UsageError

if TYPE_CHECKING:
    from corral.store.gguf.header import TensorInfo
    from corral.store.inspect.inspection import Inspection


def inspect(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A .gguf file (any part of a split one), the name of a Model or of what is in the store, or a "
            "reference: hf.co/ORG/REPO[:QUANT], ollama:NAME[:TAG], https://...",
        ),
    ],
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
    from corral.domain.references import is_reference

    if is_reference(model):
        found, of_all = _meant(model, quant, file, insecure=insecure, private=private, config=config)
    elif quant or file:
        raise UsageError(f"{model} is one model: there is nothing for --quant and --file to choose.")
    else:
        found, of_all = _here(model, insecure=insecure, private=private, config=config)
    if as_json:
        output.print_json(_plain(found, of_all if tensors else ()))
        return
    for name, text in lines(found):
        print(f"{name:<14} {output.printable(text)}")
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


def _meant(
    model: str, quant: str, file: str, *, insecure: bool, private: bool, config: str
) -> tuple[Inspection, tuple[TensorInfo, ...]]:
    from corral.store.inspect.anywhere import inspect_reference
    from corral.store.sources.access import access
    from corral.store.supply import store_supply

    reference, store = asking.reference_of(model), asking.settings_of(config).store
    allowed = access(store, os.environ, insecure=insecure, private=private)
    return inspect_reference(reference, allowed, quant=quant, file=file, supply=store_supply(store, os.environ))


def _here(model: str, *, insecure: bool, private: bool, config: str) -> tuple[Inspection, tuple[TensorInfo, ...]]:
    from corral.domain.errors import FileMissing
    from corral.store.inspect.anywhere import here
    from corral.store.inspect.places import inspect_files

    found: Path | str
    path = Path(model).expanduser()
    if not path.exists() and not model.startswith((".", "/", "~")):
        try:
            found = _named(model, config)
        except FileMissing:
            if not model.lower().endswith(".gguf"):
                raise
            found = path  # which was meant as one: what is beside it is told
        if isinstance(found, str):
            return _meant(found, "", "", insecure=insecure, private=private, config=config)
        path = found
    return inspect_files(here(path))


def _named(name: str, config: str) -> Path | str:
    """Of a Model of the config its file or reference, else the file of something in the store, or another program's."""
    from corral.domain.names import directory
    from corral.store.supply import store_supply, with_files

    settings = asking.settings_of(config)
    known = directory(settings.fleet.models.values())
    if name in known:
        source = with_files(settings.fleet.models[known[name]], store_supply(settings.store, os.environ)).source
        if source.given:
            return Path(source.path) if source.path else source.reference
    return shelves.find_anywhere(name, shelves.items_of(shelves.root_of(settings))).path


def _plain(found: Inspection, tensors: Sequence[TensorInfo]) -> dict[str, Any]:
    plain = dataclasses.asdict(found)
    if tensors:
        plain["tensors"] = [
            {"name": each.name, "type": each.type, "shape": each.shape, "n_bytes": each.n_bytes} for each in tensors
        ]
    return plain
