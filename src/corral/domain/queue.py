"""What is told of those who wait, and of those for whom they wait."""

from __future__ import annotations

import msgspec


class WaitingView(msgspec.Struct, frozen=True):
    """One request that waits. `request` is the scheduler's own number."""

    request: int
    model: str
    caller: str
    priority: int  # its key's
    position: int  # 1 is next for its Model
    waited_s: float
    expected_s: float | None = None  # how much longer, from what was measured; None where something was not yet
    held_back: bool = False  # in no line yet: its key has `max_concurrent` requests in line or running


class CallerView(msgspec.Struct, frozen=True):
    """What one caller has in hand now."""

    caller: str
    leases: int  # slots in use
    waiting: int
