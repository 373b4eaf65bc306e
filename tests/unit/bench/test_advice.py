"""Advice follows from figures, and where they do not say it, nothing is said."""

from __future__ import annotations

import msgspec
import pytest

from corral.bench.advice import Facts, advice, between
from corral.bench.levels import Level

SLOTS_2 = Facts(engine="llamacpp", slots=2, bytes_by_device={"ram": 100 * 2**20})


def at(concurrency: int, total: float, *, ttft: float = 0.1, **more: object) -> Level:
    base = Level(
        concurrency=concurrency, requests=4, errors=0, error="", seconds=1.0, ttft_p50_s=ttft, ttft_p95_s=ttft,
        latency_p50_s=1.0, latency_p95_s=1.0, prompt_tokens=512, output_tokens=10, prefill_tokens_per_s=1000.0,
        decode_tokens_per_s=20.0, total_tokens_per_s=total, counted="tokens", prefill_by="engine", decode_by="engine",
        generator_idle=0.9,
    )  # fmt: skip
    return msgspec.structs.replace(base, **more)


def test_a_load_generator_that_had_no_time_left_is_told() -> None:
    said = advice("m", SLOTS_2, [at(1, 20), at(2, 40, generator_idle=0.04)])
    assert said == ["m: at concurrency 2 the load generator had no time left (96% busy): the figures are its own."]


def test_failed_requests_are_a_sentence_whatever_the_error_ends_with() -> None:
    for error in ("503: full.", "no answer"):
        (said,) = advice("m", SLOTS_2, [at(1, 20, errors=1, error=error)])
        assert said == f"m: 1 of 4 requests failed at concurrency 1: {error.rstrip('.')}."


def test_more_slots_are_advised_where_throughput_stops_at_them() -> None:
    (said,) = advice("m", SLOTS_2, [at(1, 20), at(2, 40), at(4, 41, ttft=0.9)])
    assert said.startswith("m: throughput stopped rising at concurrency 2 (40 tokens/s, 41 at 4): it has 2 slots")
    assert "requests wait (first token after 0.9 s at 4, 0.1 s at 2)" in said
    assert "Raise `parallel` to 4" in said and "100 MiB" in said


def test_no_slots_are_advised_where_the_engine_was_at_its_limit_before() -> None:
    said = advice("m", SLOTS_2, [at(1, 40), at(2, 41), at(4, 41)])
    assert not any("Raise" in each for each in said)
    assert any("the engine is at its limit" in each for each in said)


@pytest.mark.parametrize("levels", [[], [at(1, 20)], [at(1, 20), at(2, 40)], [at(1, 20), at(2, 40), at(4, 80)]])
def test_nothing_is_advised_without_a_reason(levels: list[Level]) -> None:
    assert advice("m", SLOTS_2, levels) == []


def test_without_known_slots_none_are_advised() -> None:
    assert advice("m", Facts(), [at(1, 20), at(2, 40)]) == []


@pytest.mark.parametrize(("ubatch", "prefill", "said"), [(64, 100.0, True), (512, 100.0, False), (64, 900.0, False)])
def test_a_small_ubatch_is_named_where_prompts_are_read_slowly(ubatch: int, prefill: float, said: bool) -> None:
    facts = msgspec.structs.replace(SLOTS_2, options={"ubatch_size": ubatch})
    found = advice("m", facts, [at(1, 20, prefill_tokens_per_s=prefill)])
    assert any("ubatch_size" in each for each in found) is said


def test_a_gpu_that_is_not_used_is_named() -> None:
    facts = msgspec.structs.replace(SLOTS_2, gpus=["CUDA0"])
    assert "there is a GPU (CUDA0) and it runs on the CPU alone" in advice("m", facts, [])[0]
    chosen = msgspec.structs.replace(facts, options={"n_gpu_layers": 0})
    assert "`n_gpu_layers` is 0" in advice("m", chosen, [])[0]
    used = msgspec.structs.replace(facts, bytes_by_device={"ram": 1, "CUDA0": 5})
    assert advice("m", used, []) == []


def test_errors_and_notes_are_told() -> None:
    facts = msgspec.structs.replace(SLOTS_2, note="its context is 2048 instead of 8192")
    said = advice("m", facts, [at(1, 20, errors=3, error="503: busy")])
    assert said == [
        "m: 3 of 4 requests failed at concurrency 1: 503: busy.",
        "m: It runs smaller than configured: its context is 2048 instead of 8192.",
    ]


def test_the_fastest_of_several_is_named_where_it_is_one() -> None:
    assert between({"a": {1: 10.0}}) == []
    assert between({"a": {1: 10.0, 2: 20.0}, "b": {1: 30.0, 2: 20.5}}) == [
        "At concurrency 1 b gives 3 times as much as a."
    ]
