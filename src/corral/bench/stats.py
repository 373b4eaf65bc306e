"""The few statistics that a report needs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def percentile(values: Sequence[float], percent: float) -> float:
    """
    The value that `percent` of them do not exceed, nearest rank; of nothing, 0.

    Nothing is interpolated: it is a value that was measured.
    """
    if not values:
        return 0.0
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)  # rounded up
    return float(ordered[min(len(ordered), max(1, int(rank))) - 1])


def median(values: Sequence[float]) -> float:
    """The middle one, or the mean of the two in the middle; of nothing, 0."""
    return float(statistics.median(values)) if values else 0.0


def spread(values: Sequence[float]) -> float:
    """Half the distance of the farthest two, relative to the median: 0.1 means that all lie about 10 % around it."""
    middle = median(values)
    return (max(values) - min(values)) / 2 / abs(middle) if middle else 0.0
