"""The answer of `corral models fit` as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from corral.cli import output
from corral.domain.units import format_bytes, format_parameters

HEAD: Final = ("device", "weights", "cache", "compute", "program", "growth", "needs", "free", "at most", "fits")
_FITS: Final = {"now": "yes", "later": "once Models leave", "never": "no"}
_KINDS: Final = {
    "full": "keys and values of the whole context",
    "window": "of sliding windows",
    "compressed": "of compressed attention (MLA)",
    "index": "of an indexer",
    "state": "recurrent state",
}
Said = Mapping[str, Any]


def show(found: Said) -> None:
    """Print it."""
    print(output.printable(_title(found)))
    _show_notes(found["notes"])
    print()
    _show_load("As asked", found["asked"])
    recommended = found["recommended"]
    print()
    if recommended is None:
        print("Nothing fits here, whatever else is set: take a smaller quantisation or another model.")
    else:
        print(output.printable(f"Recommended: {_words(recommended['options'])}"))
        print(output.printable(f"  {recommended['why']}"))
        if recommended["needs"]:
            print(output.printable(f"  {recommended['needs']}"))
        if recommended["most_context_tokens"]:
            print(f"  The longest context that fits so is {recommended['most_context_tokens']} tokens.")
        if recommended["load"] != found["asked"]:
            _show_load("With that", recommended["load"], known=found["asked"]["notes"])
    if found["quantisations"]:
        print()
        _show_quants(found["quantisations"])


def _title(found: Said) -> str:
    parts = [str(found["model"]) + ":", str(found["architecture"]), str(found["quantisation"])]
    if found["parameters"]:
        parts.append(f"{format_parameters(found['parameters'])} parameters,")
    size = format_bytes(found["size_bytes"])
    parts.append(f"{size}," if found["trained_context_tokens"] else size)
    if found["trained_context_tokens"]:
        parts.append(f"trained for {found['trained_context_tokens']} tokens")
    return " ".join(part for part in parts if part)


def _show_notes(notes: Sequence[str]) -> None:
    for each in notes:
        print(output.printable(each))


def _show_load(title: str, load: Said, known: Sequence[str] = ()) -> None:
    """`known` are notes that were shown already."""
    layers = f"{load['gpu_layers']} of {load['layers'] + 1} layers on GPUs"
    slots = f"{load['slots']} slot{'' if load['slots'] == 1 else 's'}"
    if load["context_tokens"]:
        between = ", " if load["context_shared"] else " for each of "
        slots = f"{load['context_tokens']} tokens of context{between}{slots}"
    print(f"{title}: {slots}, {layers}.")
    rows = [_row(each) for each in load["devices"]]
    output.print_table(HEAD, rows, right=HEAD[1:-1])
    kinds: dict[str, int] = {}
    for each in load["devices"]:
        for kind, size in each["cache"].items():
            kinds[kind] = kinds.get(kind, 0) + size
    if len(kinds) > 1 or "full" not in kinds:
        parts = [f"{format_bytes(size)} {_KINDS.get(kind, kind)}" for kind, size in kinds.items()]
        if parts:
            print(f"The cache is {', '.join(parts)}.")
    sentence = speed_sentence(load["speed"])
    if sentence:
        print(output.printable(sentence))
    _show_notes([each for each in load["notes"] if each not in known])


def _row(need: Said) -> tuple[str, ...]:
    sizes = ("weights", "cache", "compute", "program", "growth", "needs", "free")
    most = need["total_bytes"] if need["limit_bytes"] is None else min(need["limit_bytes"], need["total_bytes"])
    name = f"{need['device']} ({need['description']})" if need["description"] else str(need["device"])
    return (
        name,
        *(format_bytes(need[f"{size}_bytes"]) for size in sizes),
        format_bytes(most),
        _FITS.get(need["fits"], str(need["fits"])),
    )


def speed_sentence(speed: Said | None) -> str:
    """What is estimated, and from what."""
    if speed is None:
        return ""
    if speed["empty_per_s"] is None:
        return f"Speed: unknown, for the bandwidth of {', '.join(speed['unknown'])} is."
    read = sum(speed["read_bytes"].values())
    from_what = ", ".join(f"{name} {each / 1e9:.0f} GB/s" for name, each in speed["bandwidth_bytes_per_s"].items())
    full = f", {_rate(speed['full_per_s'])} when the context is full" if speed["full_per_s"] else ""
    return (
        f"Speed, an estimate: at most {_rate(speed['empty_per_s'])} tokens a second{full} "
        f"({format_bytes(read)} are read for each; {from_what})."
    )


def _rate(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def _words(options: Said) -> str:
    if not options:
        return "as asked"
    return ", ".join(f"{name}: {_value(value)}" for name, value in options.items())


def _value(value: object) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list | tuple) else str(value)


def _show_quants(quants: Sequence[Said]) -> None:
    rows = [
        (
            f"{each['quantisation']}{' *' if each['recommended'] else ''}",
            format_bytes(each["size_bytes"]),
            _FITS.get(each["fits"], str(each["fits"])),
            _rate(each["tokens_per_s"]) if each["tokens_per_s"] else "-",
            str(each["why"]),
        )
        for each in quants
    ]
    output.print_table(("quantisation", "size", "fits", "tokens/s", "how"), rows, right=("size", "tokens/s"))
    if any(each["recommended"] for each in quants):
        print("* recommended")
