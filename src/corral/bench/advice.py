"""Plain sentences that follow from measured figures and a Model's settings. Pure; what does not follow is not said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import msgspec

from corral.bench.levels import Level

RISES = 1.10
"""A tenth more tokens a second is a rise; less is noise."""
WAITS = 2.0
"""A first token that comes after twice the time of the level before has waited."""
DEFAULT_UBATCH = 512
SLOW_PREFILL = 10.0
"""A prompt is read token by token at the speed of decoding, in parallel many times faster; below this it is slow."""

SATURATED = 0.10
"""A load generator that is idle for less is what was measured."""


class Facts(msgspec.Struct, frozen=True):
    """
    What is known of a Model while it is measured; None or empty where it is not.

    `options` are the configured ones, `gpus` the names of the host's; with `bytes_by_device` its instance is counted.
    """

    engine: str = ""
    slots: int | None = None
    context_tokens: int | None = None
    options: dict[str, object] | None = None
    gpus: list[str] = []
    bytes_by_device: dict[str, int] = {}
    rss_bytes: int | None = None
    note: str = ""


def advice(model: str, facts: Facts, levels: Sequence[Level]) -> list[str]:
    """The sentences for one Model; `levels` by rising concurrency."""
    found = [
        *_errors(levels),
        *_generator(levels),
        *_slots(facts, levels),
        *_ceiling(facts, levels),
        *_ubatch(facts, levels),
        *_gpu(facts),
        *([f"It runs smaller than configured: {facts.note}."] if facts.note else []),
    ]
    return [f"{model}: {sentence}" for sentence in found]


def _errors(levels: Sequence[Level]) -> list[str]:
    return [
        f"{each.errors} of {each.requests} requests failed at concurrency {each.concurrency}: {each.error.rstrip('.')}."
        for each in levels
        if each.errors
    ]


def _generator(levels: Sequence[Level]) -> list[str]:
    """The benchmark itself had no time left, so it was measured too."""
    return [
        f"at concurrency {each.concurrency} the load generator had no time left ({1 - each.generator_idle:.0%} busy): "
        "the figures are its own."
        for each in levels
        if each.generator_idle < SATURATED
    ]


def _slots(facts: Facts, levels: Sequence[Level]) -> list[str]:
    """Requests beyond the slots: they wait, and nothing is won."""
    slots = facts.slots
    within = [each for each in levels if slots and each.concurrency <= slots and each.total_tokens_per_s]
    beyond = [each for each in levels if slots and each.concurrency > slots and each.total_tokens_per_s]
    if not within or not beyond:
        return []
    base, more = within[-1], beyond[0]
    assert base.total_tokens_per_s and more.total_tokens_per_s
    if more.total_tokens_per_s > RISES * base.total_tokens_per_s:
        return []
    told = (
        f"throughput stopped rising at concurrency {base.concurrency} ({base.total_tokens_per_s:g} tokens/s, "
        f"{more.total_tokens_per_s:g} at {more.concurrency}): it has {slots} slot{'' if slots == 1 else 's'}"
    )
    if base.ttft_p50_s and more.ttft_p50_s and more.ttft_p50_s > WAITS * base.ttft_p50_s:
        told += (
            f", so requests wait (first token after {more.ttft_p50_s:.3g} s at {more.concurrency}, "
            f"{base.ttft_p50_s:.3g} s at {base.concurrency})"
        )
    if not _still_rising(within):
        return [f"{told}."]
    option = " Raise `parallel`" if facts.engine in ("llamacpp", "fake") else " Raise its slots"
    return [f"{told}.{option} to {more.concurrency} to serve them at one time{_memory(facts)}."]


def _still_rising(within: Sequence[Level]) -> bool:
    """True when more requests at one time still gave more, or it was not seen that they do not."""
    if len(within) < 2:
        return True
    before, last = within[-2].total_tokens_per_s or 0.0, within[-1].total_tokens_per_s or 0.0
    return last > RISES * before


def _memory(facts: Facts) -> str:
    """What it takes now, which more slots of the same context make more."""
    taken = sum(facts.bytes_by_device.values()) or facts.rss_bytes
    return (
        f"; it is counted with {taken / 2**20:,.0f} MiB now, and each slot needs its own part of the context"
        if taken
        else ""
    )


def _ceiling(facts: Facts, levels: Sequence[Level]) -> list[str]:
    """Concurrency that has slots and still gives nothing more."""
    within = [
        each for each in levels if (not facts.slots or each.concurrency <= facts.slots) and each.total_tokens_per_s
    ]
    for before, after in pairwise(within):
        assert before.total_tokens_per_s and after.total_tokens_per_s
        if after.total_tokens_per_s <= RISES * before.total_tokens_per_s:
            return [
                f"{after.concurrency} requests at one time give {after.total_tokens_per_s:g} tokens/s, "
                f"{before.concurrency} give {before.total_tokens_per_s:g}: the engine is at its limit, "
                "more slots would only make each slower."
            ]
    return []


def _ubatch(facts: Facts, levels: Sequence[Level]) -> list[str]:
    """Prompts that are read in small steps."""
    size = (facts.options or {}).get("ubatch_size")
    if not isinstance(size, int) or size >= DEFAULT_UBATCH or not levels:
        return []
    first = levels[0]
    prefill, decode, tokens = first.prefill_tokens_per_s, first.decode_tokens_per_s, first.prompt_tokens
    if not prefill or not decode or not tokens or tokens <= size or prefill > SLOW_PREFILL * decode:
        return []
    return [
        f"prompts are read at {prefill:g} tokens/s, {size} tokens at once (`ubatch_size`): "
        f"the engine's default of {DEFAULT_UBATCH} reads more in one step."
    ]


def _gpu(facts: Facts) -> list[str]:
    """A GPU that is there and not used."""
    on_gpu = any(count > 0 for device, count in facts.bytes_by_device.items() if device != "ram")
    if facts.engine != "llamacpp" or not facts.gpus or on_gpu or not facts.bytes_by_device:
        return []
    layers = (facts.options or {}).get("n_gpu_layers")
    why = (
        "`n_gpu_layers` is 0"
        if layers == 0
        else "its llama.cpp cannot use it, or nothing was put there: see `corral logs`"
    )
    return [f"there is a GPU ({', '.join(facts.gpus)}) and it runs on the CPU alone: {why}."]


def between(totals: Mapping[str, Mapping[int, float]]) -> list[str]:
    """Which of several Models is the fastest at each concurrency that all of them have."""
    if len(totals) < 2:
        return []
    found = []
    for concurrency in sorted(set.intersection(*(set(each) for each in totals.values()))):
        ordered = sorted(totals, key=lambda name: -totals[name][concurrency])
        best, second = totals[ordered[0]][concurrency], totals[ordered[1]][concurrency]
        if second > 0 and best > RISES * second:
            found.append(
                f"At concurrency {concurrency} {ordered[0]} gives {best / second:.2g} times as much as {ordered[1]}."
            )
    return found
