"""
Inspections against the real engine: `python -m tests.bench.inspection [--binary PATH] [--update PAGE]`.

Models of many architectures (`tests.architectures`), one with experts in MXFP4 and one in parts among them, are
inspected from their files and then loaded by llama-server, which tells what it has read: the `print_info:` lines.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import uvloop

from corral.store.inspect.inspection import ByLayer, Inspection
from corral.store.inspect.places import FolderFiles, inspect_files
from tests.architectures import ALL, OTHERS, architecture
from tests.bench.footprint import END as END
from tests.bench.footprint import MIB, spec, update
from tests.real.llama import BINARY, started

NAMES: Final = (*ALL, *OTHERS)
BEGIN: Final = "<!-- python -m tests.bench.inspection -->"
_LINE: Final = re.compile(r"print_info: (\S[^=]*?)\s*=\s*(.*?)\s*$")
_FILE_TYPES: Final = {"MXFP4 MoE": "MXFP4_MOE"}


@dataclass(frozen=True)
class Seen:
    """What is compared, as text: a field is a column of the table."""

    layers: str
    embedding: str
    heads: str
    kv_heads: str
    head_length: str
    window: str
    experts: str
    context: str
    tokens: str
    parameters: str
    mib: str
    bits_per_weight: str
    type: str


def ours(found: Inspection) -> Seen:
    """By the files."""
    attention, experts, tokenizer = found.attention, found.experts, found.tokenizer
    assert attention is not None
    assert tokenizer is not None
    return Seen(
        layers=str(found.layers),
        embedding=str(found.embedding_length),
        heads=_each(attention.heads),
        kv_heads=_each(attention.kv_heads),
        head_length=str(attention.key_length or 0),
        window=str(attention.window_tokens or 0),
        experts=f"{experts.used} of {experts.count}" if experts else "0 of 0",
        context=str(found.context_tokens),
        tokens=str(tokenizer.tokens),
        parameters=f"{found.parameters / 1e6:.2f} M",
        mib=f"{found.tensor_bytes / MIB:.2f}",
        bits_per_weight=f"{found.quantisation.bits_per_weight:.2f}",
        type=found.quantisation.name,
    )


def theirs(log: Iterable[str]) -> Seen:
    """By the engine's log."""
    said = {match[1]: match[2] for line in log if (match := _LINE.search(line))}
    size = re.match(r"([\d.]+) MiB \(([\d.]+) BPW\)", said["file size"])
    assert size is not None
    return Seen(
        layers=said["n_layer"],
        embedding=said["n_embd"],
        heads=said["n_head"],
        kv_heads=said["n_head_kv"],
        head_length=said.get("n_embd_head_k_mla") or said["n_embd_head_k"],
        window=said["n_swa"],
        experts=f"{said['n_expert_used']} of {said['n_expert']}",
        context=said["n_ctx_train"],
        tokens=said["n_vocab"],
        parameters=said["model params"],
        mib=size[1],
        bits_per_weight=size[2],
        type=_FILE_TYPES.get(said["file type"], said["file type"]),
    )


def _each(value: ByLayer) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value)


async def compare(name: str, binary: str, folder: Path) -> tuple[Seen, Seen]:
    """Ours and theirs of one architecture."""
    found = inspect_files(FolderFiles(architecture(name)))[0]
    async with started(spec(name, {"ctx_size": 512, "parallel": 1}, binary), folder) as running:
        await running.ready()
        return ours(found), theirs(await running.settled_log())


def table(rows: Sequence[tuple[str, Seen, Seen]]) -> str:
    """As docs/models/inspect.md shows it: two lines for an architecture."""
    columns = [field.name.replace("_", " ") for field in fields(Seen)]
    lines = [f"| architecture | by | {' | '.join(columns)} |", "|---|---|" + "--:|" * len(columns)]
    for name, *both in rows:
        for who, seen in zip((name, ""), both, strict=True):
            by = "Corral" if who else "llama-server"
            lines.append(f"| {who} | {by} | {' | '.join(getattr(seen, field.name) for field in fields(Seen))} |")
    return "\n".join(lines)


async def main(binary: str, names: Sequence[str]) -> str:
    """All of them, as a table."""
    with tempfile.TemporaryDirectory(prefix="c") as folder:
        return table([(name, *await compare(name, binary, Path(folder))) for name in names])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", default=BINARY, help="a llama-server")
    parser.add_argument("--update", type=Path, help="a page with a place for the table")
    parser.add_argument("names", nargs="*", default=list(NAMES), help="architectures; all when none is named")
    args = parser.parse_args()
    shown = uvloop.run(main(args.binary, args.names))
    print(shown)
    if args.update:
        update(args.update, shown, BEGIN)
