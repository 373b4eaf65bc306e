"""
A host whose memories do what the test says: GPUs that vanish, limits that fall, neighbours that eat.

    host = FakeDevices(ram_bytes=32 * GIB, gpus={"CUDA0": 24 * GIB})
    host.use(pid, {"CUDA0": 6 * GIB})      # one of our processes holds that
    host.neighbour("CUDA0", 20 * GIB)      # another program comes
    host.limit(16 * GIB)                   # the cgroup's limit falls
    host.vanish("CUDA0")
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from corral.domain.devices import IDLE, RAM, Activity, DeviceMemory


class FakeDevices:
    """
    Implements `contracts.devices.Devices`.

    `unified` GPUs have their bytes out of RAM, `blind` ones do not tell what each process holds. A process that is not
    `alive` any more has given everything back.
    """

    def __init__(
        self,
        *,
        ram_bytes: int,
        gpus: Mapping[str, int] | None = None,
        unified: Iterable[str] = (),
        blind: Iterable[str] = (),
        alive: Callable[[int], bool] = lambda pid: True,
    ) -> None:
        self.totals = {RAM: ram_bytes, **(gpus or {})}
        self.gone: set[str] = set()
        self.reads = 0
        self.held = threading.Event()  # cleared: reads hang until it is set again
        self.held.set()
        self._unified = frozenset(unified)
        self._blind = frozenset(blind)
        self._alive = alive
        self._limit: int | None = None
        self._others: Counter[str] = Counter()
        self._ours: dict[int, dict[str, int]] = {}
        self._activity: dict[str, Activity] = {}

    # --- what tests do to it

    def use(self, pid: int, sizes: Mapping[str, int]) -> None:
        """One of our processes holds this now; {} when it has ended."""
        self._ours[pid] = dict(sizes)

    def neighbour(self, name: str, size: int) -> None:
        """Programs that are not ours hold this much of a device now."""
        self._others[name] = size

    def limit(self, size: int | None) -> None:
        """The cgroup allows this much RAM now; None lifts it."""
        self._limit = size

    def vanish(self, name: str) -> None:
        """The GPU falls off the bus."""
        self.gone.add(name)

    def come_back(self, name: str) -> None:
        """The GPU answers again."""
        self.gone.discard(name)

    def work(self, name: str, activity: Activity) -> None:
        """What the GPU does."""
        self._activity[name] = activity

    # --- the contract

    def read(self) -> tuple[DeviceMemory, ...]:
        """RAM first."""
        self.reads += 1
        self.held.wait(60.0)
        return tuple(self._memory(name) for name in self.totals if name not in self.gone)

    def used_by(self, pids: Iterable[int]) -> Mapping[str, int]:
        """What was said with `use`."""
        wanted = set(pids)
        return {name: self._held(name, wanted) for name in self.totals if name not in self.gone | self._blind}

    # --- inside

    def _held(self, name: str, pids: Iterable[int]) -> int:
        return sum(self._ours[pid].get(name, 0) for pid in pids if pid in self._ours and self._alive(pid))

    def _memory(self, name: str) -> DeviceMemory:
        total = self.totals[name]
        used = self._others[name] + self._held(name, self._ours)
        if name == RAM:
            used += sum(self._others[gpu] + self._held(gpu, self._ours) for gpu in self._unified)
            free = total - used
            source = "machine"
            if self._limit is not None and self._limit < total:
                total, source = self._limit, "cgroup"
                free = min(free, total - self._held(RAM, self._ours))
            return DeviceMemory(RAM, total, max(0, free), source=source)
        part_of = RAM if name in self._unified else ""
        return DeviceMemory(
            name, total, max(0, total - used), f"Fake {name}", f"fake-{name}", "fake", part_of,
            self._activity.get(name, IDLE),
        )  # fmt: skip
