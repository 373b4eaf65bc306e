"""`corral models search` and `corral models suggest`: what there is on the hub, and what would run here."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from corral.cli import options, output
from corral.cli.models import asking
from corral.cli.usage import UsageError
from corral.domain.units import format_bytes, format_count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from corral.config.settings import Settings
    from corral.store.fit.advice import Where
    from corral.store.fit.rough import Judge
    from corral.store.search.hub import Hit
    from corral.store.search.starters import Starter

_WHERE = {"gpu": "on the GPU", "gpu+ram": "partly on the GPU", "ram": "in RAM", "no": "no"}
_BETTER = "`corral models fit REFERENCE` reads the model's own header."
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
    or which smaller one would. It is an estimate: weights by their size, cache and buffers as models of that many
    parameters have them; `corral models fit` reads the model's own header.
    """
    from corral.store.search import hub

    settings = asking.settings_of(config)
    hits = hub.search(asking.fetches_of(settings).sources, " ".join(words), limit=limit)
    judge = _judge(settings)
    if as_json:
        output.print_json([_row(hit, judge) for hit in hits])
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
            _fits(hit, judge),
        )
        for hit in hits
    ]
    output.print_table(
        ("repository", "downloads", "likes", "changed", "quantisations", "fits"), rows, right=("downloads", "likes")
    )
    _note_problems(hits)
    for hint in (f"corral models pull hf.co/{hits[0].reference.repo}", f"FITS is an estimate; {_BETTER}"):
        output.note(output.dim(hint, stream=sys.stderr))


def suggest(
    pull: Annotated[
        bool, typer.Option("--pull", help="Pick one and pull it; on a terminal it is asked anyway.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", "-a", help="Those too that do not fit here.")] = False,
    config: options.Config = "",
    as_json: options.Json = False,
) -> None:
    """
    Suggest models to begin with, by the memory that Models may have on this machine.

    The list is part of Corral and needs no network; sizes are about, and whether one fits is an estimate from the shape
    that its maker has published. On a terminal one can be picked and pulled.
    """
    from corral.store.fit.advice import Where
    from corral.store.search.starters import judged, starters

    known, judge = starters(), _judge(asking.settings_of(config))
    found = judged(known.models, judge)
    if not every:
        found = [(each, where) for each, where in found if where is not Where.NO]
    if as_json:
        rows = [
            {"reference": each.reference, "title": each.title, "size_bytes": each.size_bytes, "fits": str(where),
             "good_for": each.good_for, "licence": each.licence}
            for each, where in found
        ]  # fmt: skip
        output.print_json({"date": known.date, "models": rows})
        return
    _print_starters(found, known.date, judge)
    if not found:
        output.note("corral: nothing of the list fits here; --all shows all of it.")
    if found and (pull or output.both_terminals()):
        _pick([each for each, _ in found], config)


def _print_starters(found: list[tuple[Starter, Where]], date: str, judge: Judge) -> None:
    rooms = [f"{format_bytes(each.most_bytes)} of {_named(each.device.name)}" for each in judge.rooms.all]
    print(output.printable(f"Models may have {' and '.join(rooms)} here."))
    print(f"The list is of {date}. Sizes are about, and FITS is an estimate.")
    rows = [
        (str(number), each.title, f"{each.gigabytes:.1f} GB", _WHERE[where], each.good_for, each.reference)
        for number, (each, where) in enumerate(found, 1)
    ]
    output.print_table(("#", "model", "size", "fits", "good for", "reference"), rows, right=("#", "size"))


def _pick(there: list[Starter], config: str) -> None:
    """Ask which one, and pull it."""
    number = _asked(len(there))
    if number is None:
        return
    from corral.cli.models.pulling import download, fetch, planned
    from corral.domain.references import suggested_name
    from corral.store.sources.planning import exact

    reference = there[number - 1].parsed
    fetches = asking.fetches_of(asking.settings_of(config))
    with download(reference):
        plan = planned(fetches, reference)
        print(fetch(fetches, plan, suggested_name(exact(plan))).model)


def _asked(most: int) -> int | None:
    """A number from 1 to `most`; None where nothing is said. A person is asked again, a script is told that it errs."""
    while sys.stdin is not None:
        print(f"Which one shall be pulled? 1 to {most}, or nothing: ", end="", file=sys.stderr, flush=True)
        text = sys.stdin.readline()
        if not text.endswith("\n"):  # Ctrl-D has left the cursor behind the question
            print(file=sys.stderr)
        text = text.strip()
        if not text:
            return None
        if text.isascii() and text.isdecimal() and len(text) < 4 and 1 <= int(text) <= most:
            return int(text)
        wrong = f"{text[:40]!r} is no number from 1 to {most}."
        if not sys.stdin.isatty():
            raise UsageError(wrong)
        output.note(f"corral: {wrong}")
    return None


def _judge(settings: Settings) -> Judge:
    import asyncio

    from corral.cli.models.fit import fitting_of

    return asyncio.run(fitting_of(settings).judge())


def _named(device: str) -> str:
    return "RAM" if device == "ram" else device


def _fits(hit: Hit, judge: Judge) -> str:
    """A word for a hit: of what is taken by default, else the largest below it that fits."""
    usual = hit.sizes.get(hit.usual)
    if usual is None:
        return "?"
    smaller = [(size, quant) for quant, size in hit.sizes.items() if size is not None and size < usual]
    for quant in (hit.usual, *(quant for _, quant in sorted(smaller, reverse=True))):
        where = _where(hit, quant, judge)
        if where is not None and where != "no":
            return f"{'' if quant == hit.usual else f'{quant} '}{_WHERE[where]}"
    return "no"


def _where(hit: Hit, quant: str, judge: Judge) -> str | None:
    rough = hit.rough(quant)
    return None if rough is None else str(judge.of(rough).where)


def _quants(sizes: Mapping[str, int | None], usual: str) -> str:
    """The usual one first, and how many more."""
    names = [usual, *(name for name in sizes if name != usual)] if usual else []
    shown = [f"{name} {_size(sizes[name])}" for name in names[:_SHOWN]]
    more = f", {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(shown) + more


def _size(count: int | None) -> str:
    return "?" if count is None else format_bytes(count)


def _note_problems(hits: list[Hit]) -> None:
    """Of how many the sizes are not known, and why of the first."""
    failed = [hit for hit in hits if hit.problem]
    if failed:
        named = failed[0].reference.repo if len(failed) == 1 else f"{len(failed)} of {len(hits)} repositories"
        output.note(output.line(f"corral: the hub did not tell the sizes of {named}: {failed[0].problem}"))


def _short(count: int) -> str:
    """`1.2M`, `34k`."""
    return format_count(count, (("M", 10**6), ("k", 10**3)), tenths_below=10)


def _row(hit: Hit, judge: Judge) -> dict[str, object]:
    quants = [
        {"quantisation": name, "size_bytes": size, "fits": _where(hit, name, judge)} for name, size in hit.sizes.items()
    ]
    return {
        "reference": str(hit.reference), "downloads": hit.downloads, "likes": hit.likes, "gated": hit.gated,
        "changed": hit.changed or None, "licence": hit.licence or None, "default": hit.usual or None,
        "parameters": hit.model.parameters, "architecture": hit.model.architecture or None,
        "trained_context_tokens": hit.model.context_tokens,
        "quantisations": quants, "problem": hit.problem or None,
    }  # fmt: skip
