"""`corral bench MODEL...`: each Model in turn, loaded cold, then at rising concurrency."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from corral.bench import advice
from corral.bench.asking import Answer, Where, ask, body
from corral.bench.levels import Level, level
from corral.domain.errors import CorralError, EngineFailed

LOAD_S: Final = 1800.0
ANSWER_S: Final = 900.0
FEWEST: Final = 4
WORDS_PER_TOKEN: Final = 0.75
CLOSE: Final = 0.1
"""A prompt within a tenth of the wanted tokens is close enough."""

Say = Callable[[str], None]


class Control(Protocol):
    """How a running Corral is asked; the command line has one."""

    def ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, timeout_s: float | None = ...
    ) -> Any:
        """The JSON of a whole answer."""


class Wanted(msgspec.Struct, frozen=True):
    """What to measure. `requests` 0: three for each of the concurrency, at least four; none begins after `seconds`."""

    concurrency: list[int]
    prompt_tokens: int = 512
    output_tokens: int = 128
    requests: int = 0
    seconds: float = 60.0
    unload: bool = True


class ModelReport(msgspec.Struct, frozen=True):
    """One Model. `load_s` is from no process to ready, None with `load_note` where it could not be measured."""

    model: str
    facts: advice.Facts
    load_s: float | None
    load_note: str
    levels: list[Level]
    advice: list[str]


class Sweep(msgspec.Struct, frozen=True):
    """The whole report; `--json` prints it."""

    wanted: Wanted
    models: list[ModelReport]
    advice: list[str]


def run(
    control: Control,
    where: Where,
    models: Sequence[str],
    wanted: Wanted,
    options: Mapping[str, Mapping[str, object]],
    say: Say,
) -> Sweep:
    """Measure them one after another: those of a swap group must take turns. Raises EngineFailed, CorralError."""
    reports = [_model(control, where, name, wanted, options.get(name), say) for name in models]
    totals = {
        report.model: {each.concurrency: each.total_tokens_per_s for each in report.levels if each.total_tokens_per_s}
        for report in reports
    }
    return Sweep(wanted, reports, [line for report in reports for line in report.advice] + advice.between(totals))


def _model(
    control: Control, where: Where, name: str, wanted: Wanted, options: Mapping[str, object] | None, say: Say
) -> ModelReport:
    load_s, note = _load(control, name, wanted.unload)
    say(f"{name}: " + (f"loaded in {load_s:.2f} s" if load_s is not None else f"load not measured: {note}"))
    words = asyncio.run(_words(where, name, wanted))
    levels = []
    for concurrency in sorted(set(wanted.concurrency)):
        found = asyncio.run(_level(where, name, wanted, concurrency, words))
        levels.append(found)
        say(f"{name}: {concurrency} at one time: {_figure(found.total_tokens_per_s)} tokens/s, {found.errors} errors")
    facts = _facts(control, name, options)
    return ModelReport(name, facts, load_s, note, levels, advice.advice(name, facts, levels))


def _load(control: Control, name: str, unload: bool) -> tuple[float | None, str]:
    """Seconds of a cold load, or why they were not measured; the Model is loaded afterwards."""
    try:
        row = _row(control, name)
        if row.get("leases") or row.get("waiting"):
            return None, "others use it"
        if row.get("instance") and not unload:
            return None, "it was loaded already"
        if row.get("instance"):
            control.ask("POST", "/api/corral/unload", {"model": name}, timeout_s=LOAD_S)
    except CorralError as error:
        return None, error.message
    began = time.perf_counter()
    loaded = control.ask(
        "POST", "/api/corral/load", {"model": name, "wait": True, "timeout_s": LOAD_S}, timeout_s=LOAD_S
    )
    took = loaded.get("load_s") if isinstance(loaded, dict) else None
    return round(took if isinstance(took, int | float) else time.perf_counter() - began, 3), ""


def _status(control: Control) -> Mapping[str, Any]:
    found = control.ask("GET", "/api/corral/status")
    return found if isinstance(found, dict) else {}


def _row(control: Control, name: str) -> Mapping[str, Any]:
    return next((row for row in _status(control).get("models") or () if row.get("model") == name), {})


def _facts(control: Control, name: str, options: Mapping[str, object] | None) -> advice.Facts:
    """What the running Corral says of the Model; nothing where its key may not ask."""
    known = dict(options) if options is not None else None
    try:
        status = _status(control)
    except CorralError:
        return advice.Facts(options=known)
    row: Mapping[str, Any] = next((each for each in status.get("models") or () if each.get("model") == name), {})
    gpus = [str(each.get("device")) for each in status.get("devices") or () if each.get("device") not in ("ram", None)]
    return advice.Facts(
        engine=row.get("engine") or "",
        slots=row.get("slots") or None,
        context_tokens=row.get("context_tokens"),
        options=known,
        gpus=gpus,
        bytes_by_device=row.get("devices") or {},
        rss_bytes=row.get("rss_bytes"),
        note=row.get("note") or "",
    )


async def _words(where: Where, name: str, wanted: Wanted) -> int:
    """How many words the prompt has, by what the engine counts. These requests are the warm-up, uncounted."""
    words = max(1, int(wanted.prompt_tokens * WORDS_PER_TOKEN))
    for _ in range(2):
        answer = await ask(where, body(name, words, min(4, wanted.output_tokens)), timeout_s=ANSWER_S)
        if answer.error:
            raise EngineFailed(
                f"{name} does not answer a prompt of about {wanted.prompt_tokens} tokens: {answer.error}"
            )
        counted = answer.prompt_tokens
        if counted and abs(counted - wanted.prompt_tokens) > CLOSE * wanted.prompt_tokens:
            words = max(1, int(words * wanted.prompt_tokens / counted))
    return words


async def _level(where: Where, name: str, wanted: Wanted, concurrency: int, words: int) -> Level:
    left = wanted.requests or max(FEWEST, 3 * concurrency)
    answers: list[Answer] = []
    began, cpu = time.perf_counter(), time.process_time()

    async def client() -> None:
        nonlocal left
        while left > 0 and (time.perf_counter() - began < wanted.seconds or not answers):
            left -= 1
            answers.append(await ask(where, body(name, words, wanted.output_tokens), timeout_s=ANSWER_S))

    async with asyncio.TaskGroup() as group:
        for number in range(concurrency):
            group.create_task(client(), name=f"client {number}")
    took = time.perf_counter() - began
    return level(concurrency, answers, took, 1 - (time.process_time() - cpu) / took)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


HEAD: Final = (
    "model", "at once", "requests", "ttft p50", "p95", "prefill/s", "decode/s", "total/s", "latency p50", "errors",
    "generator idle",
)  # fmt: skip


def rows(report: Sweep, before: Mapping[tuple[str, int], Level]) -> list[tuple[str, ...]]:
    """The table, beside an earlier report's totals where there is one."""
    found: list[tuple[str, ...]] = []
    for model in report.models:
        for each in model.levels:
            mark = "" if each.counted == "tokens" else " chunks"
            cells = (
                model.model, str(each.concurrency), str(each.requests), _seconds(each.ttft_p50_s),
                _seconds(each.ttft_p95_s), _figure(each.prefill_tokens_per_s),
                _figure(each.decode_tokens_per_s) + mark, _figure(each.total_tokens_per_s) + mark,
                _seconds(each.latency_p50_s), str(each.errors), f"{each.generator_idle:.0%}",
            )  # fmt: skip
            found.append((*cells, _change(each, before.get((model.model, each.concurrency)))) if before else cells)
    return found


def _change(now: Level, then: Level | None) -> str:
    if then is None or not then.total_tokens_per_s or not now.total_tokens_per_s:
        return "-"
    return f"{now.total_tokens_per_s / then.total_tokens_per_s:.2f}"


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 1e3:.0f} ms" if value < 1 else f"{value:.2f} s"
