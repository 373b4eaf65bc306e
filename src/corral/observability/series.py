"""
Counters and histograms that cost under a microsecond on the serving path.

One thread writes (the serving loop) and the same thread copies them for a scrape (`taken`), so there are no locks;
prometheus-client's own metric classes take one for every update, six times a request. Exposition is still
prometheus-client's, made of the copy and wherever its caller likes: it takes ten times as long.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

Labels = tuple[str, ...]
Taken = Callable[[], Metric]
"""What a family was at one moment; the call makes the Metric, in any thread."""


Cell = list[float]
"""One number, or one row of them, that its holder may change in place."""


class Count:
    """A counter family: `add(("chat", "200"))`, or `cell` once and `cell[0] += 1` from then on."""

    def __init__(self, name: str, help: str, labels: Sequence[str]) -> None:
        self.name, self.help, self.labels = name, help, tuple(labels)
        self._cells: dict[Labels, Cell] = {}

    def cell(self, labels: Labels) -> Cell:
        """The counter of one set of labels."""
        return self._cells.setdefault(labels, [0.0])

    def add(self, labels: Labels, amount: float = 1.0) -> None:
        """Count `amount` more."""
        self.cell(labels)[0] += amount

    def taken(self) -> Taken:
        """The family as it is now."""
        values = [(labels, cell[0]) for labels, cell in self._cells.items()]

        def made() -> Metric:
            family = CounterMetricFamily(self.name, self.help, labels=self.labels)
            for labels, value in values:
                family.add_metric(labels, value)
            return family

        return made


class Spread:
    """A histogram family: `observe(("chat",), 0.2)`. `bounds` are upper edges in the metric's unit, ascending."""

    def __init__(self, name: str, help: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self.name, self.help, self.labels = name, help, tuple(labels)
        self.bounds = tuple(bounds)
        self._rows: dict[Labels, Cell] = {}

    def row(self, labels: Labels) -> Cell:
        """The row of one set of labels: a count per bucket, then the overflow, then the sum."""
        row = self._rows.get(labels)
        if row is None:
            row = self._rows[labels] = [0.0] * (len(self.bounds) + 2)
        return row

    def observe(self, labels: Labels, value: float) -> None:
        """Count one observation."""
        enter(self.row(labels), self.bounds, value)

    def taken(self) -> Taken:
        """The family as it is now."""
        rows = [(labels, row.copy()) for labels, row in self._rows.items()]

        def made() -> Metric:
            family = HistogramMetricFamily(self.name, self.help, labels=self.labels)
            bounds = (*map(str, self.bounds), "+Inf")
            for labels, row in rows:
                total, buckets = 0.0, []
                for bound, count in zip(bounds, row[:-1], strict=True):
                    total += count
                    buckets.append((bound, total))
                family.add_metric(labels, buckets=buckets, sum_value=row[-1])
            return family

        return made


def enter(row: Cell, bounds: Sequence[float], value: float) -> None:
    """Count one observation in a row of a Spread."""
    row[bisect_left(bounds, value)] += 1
    row[-1] += value
