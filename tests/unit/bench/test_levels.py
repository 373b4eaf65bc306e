"""What answers come to: the engine's counts and clock where it tells them, and never an estimate."""

from __future__ import annotations

from dataclasses import replace

from corral.bench.asking import Answer, prompt
from corral.bench.levels import level

TOLD = Answer(
    first_s=0.5, last_s=1.5, whole_s=1.6, chunks=7, prompt_tokens=100, output_tokens=11, prefilled=100,
    prefill_ms=250.0, decoded=11, decode_ms=1100.0,
)  # fmt: skip


def test_the_engines_counts_and_clock_go_before_ours() -> None:
    found = level(2, [TOLD, replace(TOLD, first_s=0.7, whole_s=2.0)], 2.0, 0.9)
    assert (found.counted, found.prefill_by, found.decode_by) == ("tokens", "engine", "engine")
    assert found.prefill_tokens_per_s == 400
    assert found.decode_tokens_per_s == 10
    assert found.total_tokens_per_s == 11  # 22 tokens in two seconds
    assert (found.ttft_p50_s, found.ttft_p95_s, found.latency_p95_s) == (0.5, 0.7, 2.0)


def test_without_its_clock_ours_counts_and_is_called_so() -> None:
    found = level(1, [replace(TOLD, prefilled=0, prefill_ms=0, decoded=0, decode_ms=0, cached_tokens=20)], 2.0, 1.0)
    assert (found.prefill_by, found.decode_by) == ("first token", "stream")
    assert found.prefill_tokens_per_s == 160  # cached tokens were not read
    assert found.decode_tokens_per_s == 10  # ten tokens after the first, in a second


def test_without_its_counts_chunks_are_counted_and_called_so() -> None:
    silent = Answer(first_s=0.5, last_s=1.5, whole_s=1.6, chunks=7)
    found = level(1, [silent], 3.5, 1.0)
    assert (found.counted, found.output_tokens, found.total_tokens_per_s) == ("chunks", 7, 2)
    assert found.prompt_tokens is None and found.prefill_tokens_per_s is None


def test_errors_are_counted_and_the_most_frequent_is_named() -> None:
    found = level(4, [TOLD, Answer(error="a"), Answer(error="b"), Answer(error="b")], 2.0, 1.0)
    assert (found.requests, found.errors, found.error) == (4, 3, "b")
    assert found.total_tokens_per_s == 5.5
    nothing = level(1, [Answer(error="x")], 1.0, 1.0)
    assert nothing.total_tokens_per_s is None and nothing.ttft_p50_s is None and nothing.decode_tokens_per_s is None


def test_no_two_prompts_begin_alike() -> None:
    assert prompt(5)[:16] != prompt(5)[:16]
    assert len(prompt(5).split()) == 6
