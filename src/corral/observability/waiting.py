"""Who waits now, as gauges: callers that share a queue, the longest wait. No label names anybody."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from corral.domain.queue import WaitingView


class WaitingMetrics(Collector):
    """A collector for `Metrics.also`. `waiters` lists the requests that wait at this moment."""

    def __init__(self, waiters: Callable[[], Sequence[WaitingView]]) -> None:
        self._waiters = waiters

    def collect(self) -> Iterable[Metric]:
        """For prometheus-client's registry."""
        callers: defaultdict[str, Counter[str]] = defaultdict(Counter)
        longest: dict[str, float] = {}
        held_back: Counter[str] = Counter()
        for each in self._waiters():
            callers[each.model][each.caller] += 1
            longest[each.model] = max(each.waited_s, longest.get(each.model, 0.0))
            held_back[each.model] += each.held_back
        families = {
            name: GaugeMetricFamily(f"corral_waiting_{name}", help, labels=("model",))
            for name, help in (
                ("callers", "Callers of which a request waits."),
                ("largest_share", "Of the requests that wait, those of the caller that has most; 0 to 1."),
                ("longest_seconds", "How long the request has waited that waits longest."),
                ("held_back", "Requests that their caller's own bound keeps out of the line."),
            )
        }
        for model, requests in callers.items():
            families["callers"].add_metric((model,), len(requests))
            families["largest_share"].add_metric((model,), max(requests.values()) / requests.total())
            families["longest_seconds"].add_metric((model,), longest[model])
            families["held_back"].add_metric((model,), held_back[model])
        return list(families.values())
