"""`corral models inspect`: what a model is, by its headers alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corral.cli import options, output

if TYPE_CHECKING:
    from corral.store.gguf.header import TensorInfo
    from corral.store.inspect.inspection import Inspection


def inspect(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A path to a .gguf file, any part of a split one.")],
    tensors: Annotated[bool, typer.Option("--tensors", help="List all tensors as well.")] = False,
    as_json: options.Json = False,
) -> None:
    """
    Show what a model file says of itself: architecture, sizes, context, tokenizer, chat template, quantisation.

    Only headers are read.
    """
    from pathlib import Path

    from corral.cli.models.inspected import lines, type_rows
    from corral.store.inspect.places import FolderFiles, inspect_files

    found, of_all = inspect_files(FolderFiles(Path(model).expanduser()))
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


def _plain(found: Inspection, tensors: Sequence[TensorInfo]) -> dict[str, Any]:
    plain = dataclasses.asdict(found)
    if tensors:
        plain["tensors"] = [
            {"name": each.name, "type": each.type, "shape": each.shape, "n_bytes": each.n_bytes} for each in tensors
        ]
    return plain
