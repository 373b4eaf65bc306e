"""What a concurrency level of a Model comes to: answers in, figures out. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from corral.bench.asking import Answer
from corral.bench.stats import median, percentile


class Level(msgspec.Struct, frozen=True):
    """
    So many requests at one time. Figures are None where nothing could be measured.

    `counted` says what tokens are: `tokens` that the engine counted, or `chunks` of the stream where it does not say.
    `prefill_by` is `engine` (its own clock) or `first token` (prompt tokens by the time to the first token);
    `decode_by` is `engine` or `stream` (tokens by the time from the first to the last that came).
    """

    concurrency: int
    requests: int
    errors: int
    error: str
    seconds: float
    ttft_p50_s: float | None
    ttft_p95_s: float | None
    latency_p50_s: float | None
    latency_p95_s: float | None
    prompt_tokens: int | None
    output_tokens: int | None
    prefill_tokens_per_s: float | None
    decode_tokens_per_s: float | None
    total_tokens_per_s: float | None
    counted: str
    prefill_by: str
    decode_by: str
    generator_idle: float


def level(concurrency: int, answers: Sequence[Answer], seconds: float, idle: float) -> Level:
    """The figures of these answers, which took so long together."""
    good = [answer for answer in answers if not answer.error]
    spoken = [answer for answer in good if answer.first_s]
    by_engine = bool(good) and all(answer.output_tokens is not None for answer in good)
    tokens = [(answer.output_tokens if by_engine else answer.chunks) or 0 for answer in good]
    decode, decode_by = _decode(good, tokens)
    prefill, prefill_by = _prefill(spoken)
    prompts = [answer.prompt_tokens for answer in good if answer.prompt_tokens is not None]
    errors = [answer.error for answer in answers if answer.error]
    return Level(
        concurrency=concurrency,
        requests=len(answers),
        errors=len(errors),
        error=max(set(errors), key=errors.count) if errors else "",
        seconds=round(seconds, 3),
        ttft_p50_s=_at(50, [answer.first_s for answer in spoken]),
        ttft_p95_s=_at(95, [answer.first_s for answer in spoken]),
        latency_p50_s=_at(50, [answer.whole_s for answer in good]),
        latency_p95_s=_at(95, [answer.whole_s for answer in good]),
        prompt_tokens=round(median(prompts)) if prompts else None,
        output_tokens=round(median(tokens)) if tokens else None,
        prefill_tokens_per_s=prefill,
        decode_tokens_per_s=decode,
        total_tokens_per_s=round(sum(tokens) / seconds, 2) if tokens and seconds > 0 else None,
        counted="tokens" if by_engine else "chunks",
        prefill_by=prefill_by,
        decode_by=decode_by,
        generator_idle=round(idle, 3),
    )


def _decode(good: Sequence[Answer], tokens: Sequence[int]) -> tuple[float | None, str]:
    """Tokens a second of one stream, by the engine's clock where all tell it: a burst that comes as one has no time."""
    if good and all(answer.decoded > 1 and answer.decode_ms > 0 for answer in good):
        return round(median([answer.decoded / answer.decode_ms * 1e3 for answer in good]), 2), "engine"
    rates = [
        (count - 1) / (answer.last_s - answer.first_s)
        for answer, count in zip(good, tokens, strict=True)
        if count > 1 and answer.last_s > answer.first_s
    ]
    return (round(median(rates), 2), "stream") if rates else (None, "")


def _prefill(answers: Sequence[Answer]) -> tuple[float | None, str]:
    """Prompt tokens a second of one request, by the engine's clock where all tell it."""
    if answers and all(answer.prefilled and answer.prefill_ms > 0 for answer in answers):
        return round(median([answer.prefilled / answer.prefill_ms * 1e3 for answer in answers]), 2), "engine"
    rates = [
        (answer.prompt_tokens - answer.cached_tokens) / answer.first_s
        for answer in answers
        if answer.prompt_tokens is not None
    ]
    return (round(median(rates), 2), "first token") if rates else (None, "")


def _at(percent: float, values: Sequence[float]) -> float | None:
    return round(percentile(values, percent), 4) if values else None
