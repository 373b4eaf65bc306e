"""TTL: when an instance that nobody uses is unloaded."""

from __future__ import annotations

from corral.domain.fleet import ModelSpec
from corral.domain.units import FOREVER


def stays_s(spec: ModelSpec, asked_s: float | None, *, pinned: bool) -> float | None:
    """
    How long an instance stays once it is idle; None = for ever. 0 means that it leaves as soon as it is idle.

    A request may have asked for another time than the Model's own. The operator's bounds go before what it asked for,
    and a pin goes before everything.
    """
    if pinned:
        return None
    stays = spec.ttl_s if asked_s is None else max(spec.keep_min_s, min(asked_s, spec.keep_max_s))
    return None if stays == FOREVER else stays


def expires_at(idle_since: float, stays: float | None) -> float | None:
    """
    When an instance that is idle since then is unloaded; None = never.

    `idle_since` is the last release, or the moment it became ready when nobody has used it yet: an instance that was
    loaded for a caller who left lives its full TTL.
    """
    return None if stays is None else idle_since + stays
