"""`corral models search` and `corral models suggest`: what there is on the hub, and what would run here."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from corral.cli import options, output
from corral.cli.models import asking
from corral.cli.usage import UsageError
from corral.domain.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from corral.store.search.hub import Hit
    from corral.store.search.memory import Fits, HostMemory
    from corral.store.search.starters import Starter

_WHERE = {"gpu": "on the GPU", "gpu+ram": "partly on the GPU", "ram": "in RAM", "no": "no"}
_SHOWN = 4  # quantisations in a line


def search(
    words: Annotated[list[str], typer.Argument(metavar="WORDS", help="Words of the name: qwen3 coder.")],
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=50, help="How many to show.")] = 10,
    config: options.Config = "",
    as_json: options.Json = False,
) -> None:
    """
    Search the hub for models in GGUF files.

    Those with the most downloads come first. FITS says where the quantisation that is taken by default would run here,
    or which smaller one would; it is judged by size alone.
    """
    from corral.store.search import hub

    fetches = asking.fetches_of(asking.settings_of(config))
    hits = hub.search(fetches.sources, " ".join(words), limit=limit)
    memory = _memory()
    if as_json:
        output.print_json([_row(hit, memory) for hit in hits])
        return
    if not hits:
        output.note("corral: the hub has nothing of that name; try fewer words.")
        return
    rows = [
        (
            hit.reference.repo + (" (gated)" if hit.gated else ""),
            _short(hit.downloads),
            _short(hit.likes),
            hit.changed,
            _quants(hit.sizes, hit.usual),
            _fits(hit, memory),
        )
        for hit in hits
    ]
    output.print_table(
        ("repository", "downloads", "likes", "changed", "quantisations", "fits"), rows, right=("downloads", "likes")
    )
    output.note(output.dim(f"corral models pull hf.co/{hits[0].reference.repo}", stream=sys.stderr))


def suggest(
    pull: Annotated[
        bool, typer.Option("--pull", help="Pick one and pull it; on a terminal it is asked anyway.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", "-a", help="Those too that do not fit here.")] = False,
    config: options.Config = "",
    as_json: options.Json = False,
) -> None:
    """
    Suggest models to begin with, by the memory that this machine has.

    The list is part of Corral and needs no network; sizes are about. On a terminal one can be picked and pulled.
    """
    from corral.store.search.memory import Fits
    from corral.store.search.starters import fitting, starters

    known, memory = starters(), _memory()
    found = fitting(known.models, memory)
    if every:
        found += [(each, Fits.NO) for each in known.models if memory.fits(each.size_bytes) is Fits.NO]
    if as_json:
        rows = [
            {"reference": each.reference, "title": each.title, "size_bytes": each.size_bytes, "fits": str(fits),
             "good_for": each.good_for, "licence": each.licence}
            for each, fits in found
        ]  # fmt: skip
        output.print_json({"date": known.date, "models": rows})
        return
    _print_starters(found, known.date, memory)
    if found and (pull or (sys.stdin.isatty() and sys.stdout.isatty())):
        _pick([each for each, _ in found], config)


def _print_starters(found: list[tuple[Starter, Fits]], date: str, memory: HostMemory) -> None:
    vram = f" and {format_bytes(memory.vram_bytes)} on GPUs" if memory.vram_bytes else ""
    print(f"This machine has {format_bytes(memory.ram_bytes)} of RAM{vram}. The list is of {date}.")
    rows = [
        (str(number), each.title, f"{each.gigabytes:.1f} GB", _WHERE[fits], each.good_for, each.reference)
        for number, (each, fits) in enumerate(found, 1)
    ]
    output.print_table(("#", "model", "size", "fits", "good for", "reference"), rows, right=("#", "size"))


def _pick(there: list[Starter], config: str) -> None:
    """Ask which one, and pull it."""
    print(f"Which one shall be pulled? 1 to {len(there)}, or nothing: ", end="", file=sys.stderr, flush=True)
    text = sys.stdin.readline().strip()
    if not text:
        return
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= len(there):
        raise UsageError(f"{text!r} is no number from 1 to {len(there)}.")
    from corral.cli.models.pulling import fetch, planned
    from corral.domain.references import suggested_name
    from corral.store.sources.planning import exact

    reference = there[int(text) - 1].parsed
    fetches = asking.fetches_of(asking.settings_of(config))
    plan = planned(fetches, reference)
    print(fetch(fetches, plan, suggested_name(exact(plan))).model)


def _memory() -> HostMemory:
    from corral.devices import this_host
    from corral.store.search.memory import memory_of

    return memory_of(this_host().read())


def _fits(hit: Hit, memory: HostMemory) -> str:
    """A word for a hit: of what is taken by default, else the best that fits."""
    size = hit.sizes.get(hit.usual)
    if size is None:
        return "?"
    fits = _WHERE[memory.fits(size)]
    if fits != "no":
        return fits
    for smaller in sorted(hit.sizes, key=lambda quant: -(hit.sizes[quant] or 0)):
        fits = _WHERE[memory.fits(hit.sizes[smaller] or size)]
        if fits != "no":
            return f"{smaller} {fits}"
    return "no"


def _quants(sizes: Mapping[str, int | None], usual: str) -> str:
    """The usual one first, and how many more."""
    names = [usual, *(name for name in sizes if name != usual)] if usual else []
    shown = [f"{name} {_size(sizes[name])}" for name in names[:_SHOWN]]
    more = f", {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(shown) + more


def _size(count: int | None) -> str:
    return "?" if count is None else format_bytes(count)


def _short(count: int) -> str:
    """`1.2M`, `34k`."""
    for size, unit in ((1_000_000, "M"), (1000, "k")):
        if count >= size:
            return f"{count / size:.1f}{unit}" if count < 10 * size else f"{count / size:.0f}{unit}"
    return str(count)


def _row(hit: Hit, memory: HostMemory) -> dict[str, object]:
    quants = [
        {"quantisation": name, "size_bytes": size, "fits": str(memory.fits(size)) if size is not None else None}
        for name, size in hit.sizes.items()
    ]
    return {
        "reference": str(hit.reference), "downloads": hit.downloads, "likes": hit.likes, "gated": hit.gated,
        "changed": hit.changed or None, "licence": hit.licence or None, "default": hit.usual or None,
        "quantisations": quants,
    }  # fmt: skip
