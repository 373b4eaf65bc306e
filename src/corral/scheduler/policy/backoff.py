"""Back-off: how long a Model that failed to start is left alone."""

from __future__ import annotations

from typing import Final

from corral.domain.fleet import Limits

SETTLED_S: Final = 10.0
"""An engine that ends by itself sooner than this after ready, with no request served, counts as a failed start."""

FORGIVEN: Final = 2
"""Early deaths in a row that cost no back-off: one poisonous request and its retry must not lock out everybody else."""


def backoff_s(failures: int, limits: Limits, *, permanent: bool) -> float:
    """Seconds until the next try after so many failures in a row (1 or more); `permanent` goes straight to the most."""
    if permanent:
        return limits.backoff_max_s
    return float(min(limits.backoff_first_s * 2.0 ** min(failures - 1, 60), limits.backoff_max_s))


def died_early(lived_s: float, *, served: bool) -> bool:
    """True where an unexpected exit is a failed start in disguise: a restart at once would only loop."""
    return not served and lived_s < SETTLED_S
