"""
Footprints against reality: `python -m tests.bench.footprint [--binary PATH] [--update docs/memory.md]`.

Thirteen architectures with random weights (`tests.architectures`), each with several contexts, slots and cache types,
are estimated from their files and then really loaded, by llama-server and by the embedded wheel. What they took is
what their log says (weights and cache, buffer by buffer) and what the kernel says of the process.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop

from corral.domain.devices import RAM
from corral.domain.fleet import ModelSpec, OptionValue, Source
from corral.engines.llamacpp.measured import Buffers, buffers_of
from corral.store.gguf.estimate import Estimate
from corral.store.gguf.memory import FileFootprints
from tests.architectures import ALL, architecture
from tests.real.llama import BINARY, EMBEDDED, Running, started

MIB: Final = 1024 * 1024
SETTINGS: Final[dict[str, dict[str, OptionValue]]] = {
    "8k, 4 slots": {"ctx_size": 8192, "parallel": 4},
    "20k, 3 slots apart, q8_0": {
        "ctx_size": 20000, "parallel": 3, "kv_unified": False, "cache_type_k": "q8_0", "cache_type_v": "q8_0",
        "flash_attn": "on",
    },
    "32k, 1 slot, batch 256": {"ctx_size": 32768, "parallel": 1, "ubatch_size": 256, "swa_full": True},
}  # fmt: skip
RARE: Final[dict[str, dict[str, OptionValue]]] = {  # not in the table: what is right only by a rule of its own
    "no context chosen, 3 slots apart": {"parallel": 3, "kv_unified": False},
    "the whole context, 3 slots apart": {"ctx_size": 0, "parallel": 3, "kv_unified": False},
    "4k, no flash attention": {"ctx_size": 4096, "parallel": 1, "flash_attn": "off"},
}
PURPOSES: Final = ("weights", "cache", "compute", "process")
BEGIN, END = "<!-- python -m tests.bench.footprint -->", "<!-- end -->"


@dataclass(frozen=True)
class Row:
    """One load: estimated, said by its log, held by its process."""

    name: str
    settings: str
    program: str
    estimate: Estimate
    said: Buffers
    held_bytes: int

    def pair(self, what: str) -> tuple[int, int]:
        """Estimated and real bytes of one of PURPOSES."""
        estimate, said = self.estimate, self.said
        if what == "weights":
            return estimate.weights[RAM], said.weights[RAM]
        if what == "cache":
            return estimate.cache[RAM], said.cache[RAM]
        if what == "compute":
            return estimate.compute[RAM], said.compute[RAM] + said.outputs[RAM]
        # All that is there after one request (growth is for later), and what the process holds of it.
        return estimate.total()[RAM] - estimate.growth, self.held_bytes - said.spare


def error(pair: tuple[int, int]) -> float:
    """How far the estimate is from reality: 0.05 is 5 % too much."""
    estimated, real = pair
    return (estimated - real) / real if real else float(estimated > 0)


def spec(name: str, settings: dict[str, OptionValue], binary: str) -> ModelSpec:
    """The Model of one row. An encoder is told what it is for, and has no cache that could have a type."""
    options = dict(settings)
    if name == "bert":
        options = {key: value for key, value in settings.items() if not key.startswith("cache_type")}
        # llama.cpp b11434 crashes at mean pooling when the slots do not divide the physical batch.
        options |= {"embeddings": True, "parallel": 4}
    return ModelSpec(name, Source(str(architecture(name))), binary=binary, options=options)


async def measure(name: str, settings: str, binary: str, folder: Path, *, used: bool = True) -> Row:
    """Estimate it, load it, read what it says and holds: after a request, if it is to be `used`."""
    model = spec(name, {**SETTINGS, **RARE}[settings], binary)
    async with started(model, folder) as running:
        estimate = FileFootprints().estimate(running.engine.resolved(model))
        await running.ready()
        if used:  # memory that is allocated is held only when it was
            await _one_batch(running, name)
        held = _held_bytes(running.process.pid)
        said = buffers_of(running.log())
    assert said is not None, f"{name} said nothing of its buffers"
    return Row(name, settings, "wheel" if binary == EMBEDDED else "llama-server", estimate, said, held)


async def _one_batch(running: Running, name: str) -> None:
    text = "word " * 104  # a token for each byte: one physical batch
    if name == "bert":
        status, _ = await running.post("/v1/embeddings", {"input": text[:240]})
    else:
        status, _ = await running.post("/completion", {"prompt": text, "n_predict": 1})
    assert status == 200


def _held_bytes(pid: int) -> int:
    """Proportional set size; pages of a mapped file among them, as far as they are in memory."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def table(rows: Sequence[Row]) -> str:
    """As docs/memory.md shows it, in MiB: for each purpose the estimate, then what each program really took."""
    programs = list(dict.fromkeys(row.program for row in rows))
    head = "".join(f" {what} | {' | '.join(programs)} |" for what in PURPOSES)
    lines = [f"| architecture | settings |{head}", "|---|---|" + "--:|" * (len(PURPOSES) * (1 + len(programs)))]
    loads: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        loads.setdefault((row.name, row.settings), []).append(row)
    for (name, settings), group in loads.items():
        cells = [name, settings]
        for what in PURPOSES:
            pairs = [row.pair(what) for row in group]
            cells += [f"{size / MIB:.1f}" for size in (pairs[0][0], *(real for _, real in pairs))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def summary(rows: Sequence[Row]) -> str:
    """The worst of each."""
    errors = {what: [error(row.pair(what)) for row in rows] for what in PURPOSES}
    worst = [f"{what} {min(found):+.1%} to {max(found):+.1%}" for what, found in errors.items()]
    return f"{len(rows)} loads; errors: {', '.join(worst)}."


async def main(binaries: Sequence[str], names: Sequence[str]) -> list[Row]:
    """Every combination."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="c") as folder:
        for name in names:
            for settings in SETTINGS:
                for binary in binaries:
                    rows.append(await measure(name, settings, binary, Path(folder)))
    return rows


def update(path: Path, text: str, begin: str = BEGIN) -> None:
    """Put the table where the page has its place for it."""
    page = path.read_text("utf-8")
    before, _, rest = page.partition(begin)
    after = rest.partition(END)[2]
    path.write_text(f"{before}{begin}\n{text}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", default=BINARY, help="a llama-server; without one only the wheel is measured")
    parser.add_argument("--update", type=Path, help="a page with a place for the table")
    parser.add_argument("names", nargs="*", default=list(ALL), help="architectures; all when none is named")
    args = parser.parse_args()
    found = uvloop.run(main([each for each in (args.binary, EMBEDDED) if each], args.names))
    shown = f"{table(found)}\n\n{summary(found)}"
    print(shown)
    if args.update:
        update(args.update, shown)
