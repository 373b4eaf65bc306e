"""TTL: when an instance that nobody uses is unloaded."""

from __future__ import annotations

from corral.domain.units import FOREVER


def expires_at(idle_since: float, ttl_s: float, *, pinned: bool) -> float | None:
    """
    When an instance that is idle since then is unloaded; None = never. 0 means as soon as it is idle.

    `idle_since` is the last release, or the moment it became ready when nobody has used it yet: an instance that was
    loaded for a caller who left lives its full TTL.
    """
    return None if pinned or ttl_s == FOREVER else idle_since + ttl_s
