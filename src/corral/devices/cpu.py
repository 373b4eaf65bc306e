"""The machine's CPU time: how much of it was used, whoever used it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import psutil

from corral.domain.devices import CpuTime

_BUSY: Final = ("user", "nice", "system", "irq", "softirq", "steal")  # guests are part of user and nice
_IDLE: Final = ("idle", "iowait")


class CpuReader:
    """Reads the system's counters, which takes long on machines with hundreds of CPUs: do it off the loop."""

    def __init__(self, times: Callable[[], Any] = psutil.cpu_times) -> None:
        self._times = times
        self._last: CpuTime | None = None

    def read(self) -> CpuTime | None:
        """Seconds of all CPUs since the machine started; of the machine in a container too. None where nobody says."""
        try:
            now = self._times()
        except OSError:
            return self._last
        busy, idle = (sum(getattr(now, name, 0.0) for name in names) for names in (_BUSY, _IDLE))
        if self._last is not None:
            # Linux takes some iowait back now and then, and a counter that falls looks like a restart.
            busy, idle = max(busy, self._last.busy_s), max(idle, self._last.idle_s)
        self._last = CpuTime(busy, idle)
        return self._last
