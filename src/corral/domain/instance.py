"""An Instance: a running engine that serves one Model, and the states it goes through."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from corral.domain.fetching import Progress
from corral.domain.fleet import OptionValue
from corral.domain.units import FOREVER, to_millisecond


class InstanceState(StrEnum):
    """The states that users see. `stopped` and `failed` instances hold no memory."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


ALIVE: Final = frozenset({InstanceState.STARTING, InstanceState.READY, InstanceState.DRAINING, InstanceState.STOPPING})
"""States in which an instance holds memory."""

TRANSITIONS: Final[dict[InstanceState, frozenset[InstanceState]]] = {
    InstanceState.STARTING: frozenset({InstanceState.READY, InstanceState.STOPPING, InstanceState.FAILED}),
    InstanceState.READY: frozenset({InstanceState.DRAINING, InstanceState.STOPPING, InstanceState.FAILED}),
    InstanceState.DRAINING: frozenset({InstanceState.READY, InstanceState.STOPPING, InstanceState.FAILED}),
    InstanceState.STOPPING: frozenset({InstanceState.STOPPED, InstanceState.FAILED}),
    InstanceState.STOPPED: frozenset({InstanceState.STARTING}),
    InstanceState.FAILED: frozenset({InstanceState.STARTING, InstanceState.STOPPED}),
}


class InstanceView(msgspec.Struct, frozen=True):
    """What the snapshot shows of one Model's instance. Times are monotonic seconds of the scheduler's clock."""

    model: str
    instance: str  # "" when the Model has never been started
    state: InstanceState
    digest: str = ""
    leases: int = 0  # slots in use
    slots: int = 0
    waiting: int = 0
    since: float = 0.0  # when this state began
    idle_since: float | None = None  # set while ready without leases
    ttl_s: float | None = None  # how long it stays once it is idle, as its last request wanted it; None for ever
    expires_at: float | None = None  # when that ends, None for never or while busy
    ram_bytes: int = 0
    devices: Mapping[str, int] = {}  # bytes that count for it, by device, RAM among them
    note: str = ""  # set where it runs smaller than it was configured: in what respect
    options: Mapping[str, OptionValue] = {}  # what requests asked for in the place of the Model's own
    load_s: float | None = None  # seconds of its last load
    ready_at: float | None = None  # when that load ended
    progress: float | None = None  # while it loads: how much of it is done, from 0 to 1, where the engine says so
    fetching: Progress | None = None  # in `starting` before there is an engine: its files are being fetched
    service_s: float | None = None  # slot-seconds that its requests take, as measured
    failures: int = 0  # failed starts in a row
    retry_at: float | None = None  # failed: when the next start is allowed; of a pinned one, when it comes by itself
    error: str = ""  # failed: the sentence
    pinned: bool = False
    wanted: bool = False  # it is to run without a request: pinned, or a preload whose turn has not come yet

    def row(self, now: float, expected_wait_s: float | None) -> dict[str, object]:
        """
        It in a listing. Times are seconds from now, not moments of a clock that nobody else has.

        `expected_wait_s` is that of a request which would come now; None where too little has been measured.
        """
        return {
            "model": self.model,
            "state": str(self.state),
            "instance": self.instance,
            "leases": self.leases,
            "slots": self.slots,
            "waiting": self.waiting,
            "expected_wait_s": to_millisecond(expected_wait_s),
            "for_s": round(now - self.since, 3) if self.instance or self.fetching else None,
            "ttl_s": self.ttl_s,
            "ttl_left_s": _left(self.expires_at, now),
            "ram_bytes": self.ram_bytes,
            "devices": dict(self.devices),
            "note": self.note,
            "options": dict(self.options),
            "load_s": self.load_s,
            "progress": self.progress,
            "fetching": self.fetching.row() if self.fetching is not None else None,
            "service_s": to_millisecond(self.service_s),
            "pinned": self.pinned,
            "error": self.error,
            "retry_in_s": _left(self.retry_at, now),
        }


def _left(moment: float | None, now: float) -> float | None:
    return None if moment is None or moment == FOREVER else max(0.0, round(moment - now, 3))
