"""`corral models split` and `merge`: one file into parts and back, by llama.cpp's own tool."""

from __future__ import annotations

from typing import Annotated

import typer

from corral.cli import ending, output
from corral.cli.usage import UsageError
from corral.domain.units import format_bytes, parse_bytes
from corral.kit.homes import expanded

Tool = Annotated[
    str,
    typer.Option(
        "--tool", metavar="FILE", show_default=False,
        help="llama.cpp's llama-gguf-split. Default: on PATH, or beside llama-server.",
    ),
]  # fmt: skip


def split(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The .gguf file.")],
    max_size: Annotated[str, typer.Option("--max-size", metavar="SIZE", help="The most that a part may have: 4G.")],
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="The folder for the parts.")],
    tool: Tool = "",
) -> None:
    """Cut a model file into parts. The file stays as it is."""
    from corral.store import splitting

    try:
        most_bytes = parse_bytes(max_size)
    except ValueError as error:
        raise UsageError(f"--max-size: {error}.") from None
    program = splitting.find_tool(tool, servers=_servers())
    with ending.like_ctrl_c():
        parts = splitting.split(expanded(file), expanded(out), most_bytes, program)
    for part in parts:
        print(part)
    output.note(f"{len(parts)} parts; an engine is given the first.")


def merge(
    first: Annotated[str, typer.Argument(metavar="FIRST", help="Any part of the split model.")],
    out: Annotated[str, typer.Option("--out", metavar="FILE", help="The file to write.")],
    tool: Tool = "",
) -> None:
    """Join the parts of a split model into one file. The parts stay as they are."""
    from corral.store import splitting

    program = splitting.find_tool(tool, servers=_servers())
    with ending.like_ctrl_c():
        made = splitting.merge(expanded(first), expanded(out), program)
    print(made)
    output.note(f"{format_bytes(made.stat().st_size)} in one file.")


def _servers() -> list[str]:
    """The llama-server that the config names, for the tool beside it; a config that is broken is not ours to judge."""
    from corral.cli import reading
    from corral.config.files import read_file
    from corral.domain.errors import ConfigError

    try:
        file = reading.find_file("")
        defaults = read_file(file).data.get("defaults") if file else None
    except ConfigError:
        return []
    binary = defaults.get("binary") if isinstance(defaults, dict) else None
    return [binary] if isinstance(binary, str) and binary else []
