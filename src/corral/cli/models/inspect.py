"""`corral models inspect`: what a model is, by its headers alone."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corral.cli import options, output
from corral.cli.usage import UsageError

if TYPE_CHECKING:
    from corral.store.gguf.header import TensorInfo
    from corral.store.inspect.inspection import Inspection


def inspect(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A .gguf file (any part of a split one), hf.co/ORG/REPO[:QUANT], ollama:NAME[:TAG] or https://...",
        ),
    ],
    quant: Annotated[
        str, typer.Option("--quant", metavar="QUANT", show_default=False, help="Which one of a repository.")
    ] = "",
    file: Annotated[
        str, typer.Option("--file", metavar="FILE", show_default=False, help="This file of a repository.")
    ] = "",
    tensors: Annotated[bool, typer.Option("--tensors", help="List all tensors as well.")] = False,
    insecure: Annotated[bool, typer.Option("--insecure", help="Allow http.")] = False,
    private: Annotated[bool, typer.Option("--private", help="Allow addresses that are not public.")] = False,
    config: options.Config = "",
    as_json: options.Json = False,
) -> None:
    """
    Show what a model file says of itself: architecture, sizes, context, tokenizer, chat template, quantisation.

    Only headers are read: of a model that is elsewhere a few MB come at most, and nothing is kept.
    """
    from corral.cli.models.inspected import lines, type_rows

    found, of_all = _inspected(model, quant=quant, file=file, insecure=insecure, private=private, config=config)
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


def _inspected(
    model: str, *, quant: str, file: str, insecure: bool, private: bool, config: str
) -> tuple[Inspection, tuple[TensorInfo, ...]]:
    from corral.domain.references import BadReference, is_reference, parse

    if not is_reference(model):
        from corral.store.inspect.places import FolderFiles, inspect_files

        if quant or file:
            raise UsageError(f"{model} is one file: there is nothing for --quant and --file to choose.")
        return inspect_files(FolderFiles(Path(model).expanduser()))
    from corral.cli.models.shelves import settings_of
    from corral.store.inspect.anywhere import inspect_reference
    from corral.store.sources.access import access

    try:
        reference = parse(model)
    except BadReference as error:
        raise UsageError(str(error)) from None
    allowed = access(settings_of(config).store, os.environ, insecure=insecure, private=private)
    return inspect_reference(reference, allowed, quant=quant, file=file)


def _plain(found: Inspection, tensors: Sequence[TensorInfo]) -> dict[str, Any]:
    plain = dataclasses.asdict(found)
    if tensors:
        plain["tensors"] = [
            {"name": each.name, "type": each.type, "shape": each.shape, "n_bytes": each.n_bytes} for each in tensors
        ]
    return plain
