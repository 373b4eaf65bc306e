"""
Fits against reality: `python -m tests.bench.fit [--binary PATH] [--update PAGE]`.

What `corral models fit` says of many architectures (`tests.architectures`), one with experts in MXFP4 and one in parts
among them, beside the buffers that llama-server logs when it loads them, and beside what llama.cpp's own
`llama-fit-params` prints, where it lies beside the server.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop

from corral.domain.devices import RAM, DeviceMemory
from corral.domain.fleet import OptionValue
from corral.engines.llamacpp import LlamaCppEngine
from corral.store.fit.report import DeviceNeed, fit
from corral.store.fit.rooms import rooms_of
from corral.store.fit.subject import of_model
from corral.store.gguf.memory import FileFootprints
from corral.store.known import KnownFiles
from tests.architectures import ALL, OTHERS, architecture
from tests.bench.footprint import END as END
from tests.bench.footprint import MIB, SETTINGS, measure, spec, update
from tests.real.llama import BINARY

NAMES: Final = (*ALL, *OTHERS)
BEGIN: Final = "<!-- python -m tests.bench.fit -->"
COMPARED: Final = ("weights", "cache")
# Slots that share one context are not to be had from llama-fit-params.
APART: Final = {
    name: options
    for name, options in SETTINGS.items()
    if options["parallel"] == 1 or options.get("kv_unified") is False
}
_FLAGS: Final = {
    "ctx_size": "-c", "parallel": "-np", "ubatch_size": "-ub", "cache_type_k": "-ctk", "cache_type_v": "-ctv",
    "flash_attn": "-fa", "swa_full": "--swa-full",
}  # fmt: skip
_HOST: Final = re.compile(r"^Host (\d+) (\d+) (\d+)\s*$", re.MULTILINE)
_SECONDS: Final = 30


@dataclass(frozen=True)
class Fitted:
    """One load: bytes by purpose, as they are told before and as they were. `printed` None: no such program."""

    name: str
    settings: str
    told: Mapping[str, int]
    logged: Mapping[str, int]
    printed: Mapping[str, int] | None
    cache: Mapping[str, int]

    def error(self, what: str) -> float:
        """How far what is told is from the log."""
        told, logged = self.told[what], self.logged[what]
        return (told - logged) / logged if logged else float(told > 0)


def told(name: str, settings: str) -> DeviceNeed:
    """What `corral models fit` says of RAM on a host without GPUs."""
    model = LlamaCppEngine().resolved(spec(name, APART[settings], ""))
    known = KnownFiles()
    subject = of_model(model, frozenset(model.options), FileFootprints(known), known, model.options)
    host = rooms_of([DeviceMemory(RAM, 1 << 40, 1 << 40)], {})
    (found,) = fit(subject, host, lambda device: None).asked.devices
    return found


def fit_params(binary: str) -> str:
    """llama.cpp's own program beside a llama-server; "" where it is not."""
    path = Path(os.path.realpath(binary)).with_name("llama-fit-params") if binary else Path("/none")
    return str(path) if path.exists() else ""


def printed(program: str, name: str, options: Mapping[str, OptionValue]) -> dict[str, int]:
    """What it says that a load takes on the host, in whole MiB."""
    argv = [program, "-m", str(architecture(name)), "-fitp", "on"]
    for option, value in options.items():
        if option in _FLAGS:
            argv += [_FLAGS[option]] if value is True else [_FLAGS[option], str(value)]
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=_SECONDS, check=True)
    found = _HOST.search(ran.stdout)
    assert found is not None, ran.stdout
    return dict(zip(("weights", "cache", "compute"), (int(each) * MIB for each in found.groups()), strict=True))


async def compare(name: str, settings: str, binary: str, folder: Path) -> Fitted:
    """Ask, load, and ask llama.cpp."""
    need = told(name, settings)
    row = await measure(name, settings, binary, folder, used=False)
    program = fit_params(binary)
    options = spec(name, APART[settings], "").options
    return Fitted(
        name,
        settings,
        {"weights": need.weights_bytes, "cache": need.cache_bytes},
        {"weights": row.said.weights[RAM], "cache": row.said.cache[RAM]},
        printed(program, name, options) if program else None,
        need.cache,
    )


def loads(names: Sequence[str] = NAMES) -> Iterator[tuple[str, str]]:
    """Every architecture with every setting."""
    return ((name, settings) for name in names for settings in APART)


def table(rows: Sequence[Fitted]) -> str:
    """As docs/models/fit.md shows it, in MiB."""
    sources = ("fit", "llama-server", "llama-fit-params")
    head = " | ".join(f"{what}: {source}" for what in COMPARED for source in sources)
    lines = [f"| architecture | settings | kinds of cache | {head} |", f"|---|---|---|{'--:|' * 6}"]
    for row in rows:
        cells = [row.name, row.settings, ", ".join(row.cache) or "none"]
        for what in COMPARED:
            cells += [f"{row.told[what] / MIB:.1f}", f"{row.logged[what] / MIB:.1f}"]
            cells.append(f"{row.printed[what] / MIB:.0f}" if row.printed else "-")
        lines.append(f"| {' | '.join(cells)} |")
    worst = {what: max(abs(row.error(what)) for row in rows) for what in COMPARED}
    shown = ", ".join(f"{what} {error:.1%}" for what, error in worst.items())
    return "\n".join([*lines, "", f"{len(rows)} loads; the largest errors beside llama-server: {shown}."])


async def main(binary: str, names: Sequence[str]) -> list[Fitted]:
    """One after the other."""
    with tempfile.TemporaryDirectory(prefix="c") as folder:
        return [await compare(name, settings, binary, Path(folder)) for name, settings in loads(names)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", default=BINARY, help="a llama-server")
    parser.add_argument("--update", type=Path, help="a page with a place for the table")
    parser.add_argument("names", nargs="*", default=list(NAMES), help="architectures; all when none is named")
    args = parser.parse_args()
    text = table(uvloop.run(main(args.binary, args.names)))
    print(text)
    if args.update:
        update(args.update, text, BEGIN)
