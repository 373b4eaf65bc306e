import threading
from collections import Counter
from typing import Any

import pytest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from corral.domain.events import Evicted, FetchFinished, LoadFinished, RequestFinished, StateChanged
from corral.domain.instance import InstanceState, InstanceView
from corral.domain.queue import CallerView
from corral.observability.metrics import Metrics
from tests.lines_run import lines_run


def values(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def finished(**changes: object) -> RequestFinished:
    fields: dict[str, object] = {
        "model": "m", "route": "/v1/chat/completions", "status": 200, "caller": "local", "stream": True,
        "outcome": "ok", "duration_s": 2.0, "queue_s": 0.5, "ttft_s": 1.0, "prompt_tokens": 7,
        "completion_tokens": 11, "instance": "i-1",
    }  # fmt: skip
    return RequestFinished(**{**fields, **changes})  # type: ignore[arg-type]


def test_a_finished_stream_is_counted_with_its_tokens_and_times() -> None:
    metrics = Metrics("1.2.3", lambda model: "llamacpp")
    metrics(finished())
    seen = values(metrics)

    chat = (("model", "m"), ("outcome", "ok"), ("route", "/v1/chat/completions"), ("status", "200"))
    assert seen["corral_requests_total", chat] == 1
    assert seen["corral_tokens_total", (("kind", "prompt"), ("model", "m"))] == 7
    assert seen["corral_tokens_total", (("kind", "completion"), ("model", "m"))] == 11
    assert seen["corral_time_to_first_token_seconds_sum", (("model", "m"),)] == 1.0
    assert seen["corral_time_per_output_token_seconds_sum", (("model", "m"),)] == 0.1
    assert seen["corral_queue_seconds_bucket", (("le", "0.5"), ("model", "m"))] == 1
    assert seen["corral_queue_seconds_bucket", (("le", "0.25"), ("model", "m"))] == 0
    assert seen["corral_target_selections_total", (("model", "m"), ("target", "m"))] == 1


def test_missing_usage_is_not_counted_as_zero_tokens() -> None:
    metrics = Metrics("1", lambda model: "llamacpp")
    metrics(finished(prompt_tokens=None, completion_tokens=None, ttft_s=None))

    assert not [name for name, _ in values(metrics) if name.startswith("corral_tokens_total")]


def test_a_refused_request_has_no_queue_time_and_no_target() -> None:
    metrics = Metrics("1", lambda model: "llamacpp")
    metrics(finished(outcome="refused", status=503, instance="", ttft_s=None))

    names = {name for name, _ in values(metrics)}
    assert "corral_queue_seconds_count" not in names
    assert "corral_target_selections_total" not in names
    assert "corral_requests_total" in names


def test_loads_swaps_evictions_and_engine_selections() -> None:
    metrics = Metrics("1", lambda model: "llamacpp")
    metrics(StateChanged("b", "i-2", InstanceState.STOPPED, InstanceState.STARTING))
    metrics(LoadFinished("b", "ready", 3.0, 1))
    metrics(LoadFinished("b", "failed", 9.0, 1))
    metrics(FetchFinished("b", "fetched", 2048, 1.0))
    metrics(FetchFinished("b", "there"))
    metrics(Evicted("a", "swap", "b"))
    metrics(Evicted("a", "ttl"))
    seen = values(metrics)

    assert seen["corral_engine_selections_total", (("engine", "llamacpp"), ("model", "b"))] == 1
    assert seen["corral_loads_total", (("model", "b"), ("outcome", "failed"))] == 1
    assert seen["corral_load_seconds_count", (("model", "b"),)] == 1
    assert seen["corral_fetched_bytes_total", (("model", "b"),)] == 2048
    assert seen["corral_fetches_total", (("model", "b"), ("outcome", "there"))] == 1
    assert seen["corral_swaps_total", (("for_model", "b"), ("model", "a"))] == 1
    assert seen["corral_evictions_total", (("model", "a"), ("why", "ttl"))] == 1


def test_gauges_come_from_the_views_at_scrape_time() -> None:
    metrics = Metrics("1.2.3", lambda model: "llamacpp")
    views = [InstanceView("m", "i-1", InstanceState.READY, leases=2, slots=4, waiting=3)]
    metrics.watch(lambda: views, lambda: [("m", InstanceState.READY), ("idle", InstanceState.STOPPED)])
    seen = values(metrics)

    assert seen["corral_instance_state", (("model", "m"), ("state", "ready"))] == 1
    assert seen["corral_instance_state", (("model", "idle"), ("state", "stopped"))] == 1
    assert seen["corral_leases", (("model", "m"),)] == 2
    assert seen["corral_slots", (("model", "m"),)] == 4
    assert seen["corral_queue_depth", (("model", "m"),)] == 3
    assert any(name == "corral_build_info" and ("version", "1.2.3") in labels for name, labels in seen)


async def test_written_in_a_thread_it_is_the_same_text() -> None:
    metrics = Metrics("1.2.3", lambda model: "llamacpp")
    metrics(finished())
    metrics.watch(lambda: [InstanceView("m", "i-1", InstanceState.READY, slots=2)])

    assert await metrics.rendered() == metrics.render()


async def test_ten_thousand_models_are_only_copied_where_the_numbers_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples cost twenty times what a copy does: the loop makes next to none, and no family more than its own copy."""
    made: Counter[bool] = Counter()

    def counted(kind: type[Any]) -> None:
        add = kind.add_metric

        def add_metric(self: Any, *args: Any, **named: Any) -> None:
            made[threading.current_thread() is threading.main_thread()] += 1
            add(self, *args, **named)

        monkeypatch.setattr(kind, "add_metric", add_metric)

    for kind in (GaugeMetricFamily, CounterMetricFamily, HistogramMetricFamily):
        counted(kind)
    metrics = Metrics("1", lambda model: "llamacpp")
    names = [f"m{number}" for number in range(10_000)]
    metrics.watch(lambda: (), lambda: [(name, InstanceState.STOPPED) for name in names])
    for name in names[:1000]:  # as many have served
        metrics(finished(model=name))
    text = await metrics.rendered()
    assert text.count(b"corral_instance_state{") == 10_000
    assert text.count(b"corral_request_duration_seconds_count{") == 1000
    assert made[True] < 10
    assert made[False] > 15_000
    for family in (metrics.duration, metrics.requests):
        assert lines_run(family.taken, within="observability") < 2100, "one line a row, or two"


def test_of_models_that_neither_run_nor_are_waited_for_only_the_state_is_told() -> None:
    metrics = Metrics("1.2.3", lambda model: "llamacpp")
    views = [
        InstanceView("idle", "", InstanceState.STOPPED),
        InstanceView("wanted", "", InstanceState.STOPPED, waiting=1),
    ]
    metrics.watch(lambda: views, lambda: [(view.model, view.state) for view in views])
    told = {name for name, labels in values(metrics) if ("model", "idle") in labels}

    assert told == {"corral_instance_state"}
    assert values(metrics)["corral_queue_depth", (("model", "wanted"),)] == 1


def test_slot_time_and_waiting_by_caller() -> None:
    metrics = Metrics("1", lambda model: "x", callers=("team-a", "team-b"))
    metrics.watch(
        list, list, lambda: [CallerView("team-a", 3, 1), CallerView("10.0.0.1", 1, 2), CallerView("10.2", 1, 0)]
    )
    for caller, slot_s in (("team-a", 2.0), ("team-a", 3.0), ("10.0.0.1", 1.0), ("10.0.0.2", 1.5), ("local", 0.5)):
        metrics(finished(caller=caller, slot_s=slot_s))
    metrics(finished(caller="team-b", instance="", slot_s=0.0, outcome="refused"))
    seen = values(metrics)

    slots = {
        labels[0][1]: value for (name, labels), value in seen.items() if name == "corral_caller_slot_seconds_total"
    }
    assert slots == {"team-a": 5.0, "(address)": 2.5, "local": 0.5}
    assert seen["corral_caller_queue_seconds_count", (("caller", "team-a"),)] == 2
    assert seen["corral_caller_queue_seconds_sum", (("caller", "(address)"),)] == 1.0
    assert seen["corral_caller_leases", (("caller", "(address)"),)] == 2
    assert seen["corral_caller_queue_depth", (("caller", "team-a"),)] == 1
    assert seen["corral_caller_queue_depth", (("caller", "local"),)] == 0


def test_a_thousand_addresses_are_one_series() -> None:
    metrics = Metrics("1", lambda model: "x")
    for n in range(1000):
        metrics(finished(caller=f"10.0.{n}.1"))
    assert len(metrics._by_caller) == 0
    assert len([1 for name, _ in values(metrics) if name == "corral_caller_slot_seconds_total"]) == 1
