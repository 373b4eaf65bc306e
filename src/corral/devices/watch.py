"""
The poll: reads the devices every few seconds, remembers the last reading, and calls back when it has changed enough.

Readings are made in a thread and never at the same instant on hosts that were started together. What is small does not
count as a change, so a machine in ordinary use is silent; slow drifts add up, because a reading is compared with the
last one that was told.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

from corral.contracts.devices import Devices
from corral.devices.budget import others_bytes
from corral.domain.devices import CpuTime, DeviceMemory, Snapshot
from corral.domain.errors import CorralError

EVERY_S: Final = 5.0
JITTER: Final = 0.2
NOTICEABLE_BYTES: Final = 256 * 1024**2
NOTICEABLE: Final = 0.01
"""A change of others' use counts when it is more than this share of the device and more than NOTICEABLE_BYTES."""

Pids = Callable[[], Awaitable[Iterable[int]]]


async def _nobody() -> Iterable[int]:
    return ()


class DeviceWatch:
    """
    `await look()` reads now; `await run()` goes on for ever. `last` is the newest reading.

    `pids` gives the processes of all our instances, those that are starting too; where it raises a CorralError there is
    no reading this time. `counted` is what ours hold by the scheduler's own count: it stands in for devices that cannot
    tell, or all their use would look like others'. `cpu` reads the machine's CPU time beside the devices. `changed` is
    called on the loop.
    """

    def __init__(
        self,
        devices: Devices,
        changed: Callable[[Snapshot], None] = lambda snapshot: None,
        *,
        pids: Pids = _nobody,
        counted: Callable[[], Mapping[str, int]] = dict,
        cpu: Callable[[], CpuTime | None] = lambda: None,
        every_s: float = EVERY_S,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: random.Random | None = None,
    ) -> None:
        self._devices = devices
        self._changed = changed
        self._pids = pids
        self._counted = counted
        self._cpu = cpu
        self._every_s = every_s
        self._now = now
        self._sleep = sleep
        self._rng = rng or random.Random()
        self._known: dict[str, str] = {}  # every name that was ever seen -> the identity it had
        self._told: Snapshot | None = None
        self.last = Snapshot()

    async def look(self) -> Snapshot:
        """Read now and remember it; `changed` hears of it when it differs from what it last heard."""
        try:
            pids = tuple(await self._pids())
        except CorralError:  # without ours all use would be others': better an old reading than a wrong one
            return self.last
        # `Devices` promises to come back in time even when a driver hangs, so the thread is only borrowed.
        devices, ours, cpu = await asyncio.to_thread(self._read, pids)
        self.last = Snapshot(devices, {**self._counted(), **ours}, self._gone(devices), self._now(), cpu)
        if self._told is None or differs(self._told, self.last):
            self._told = self.last
            self._changed(self.last)
        return self.last

    async def run(self) -> None:
        """Look, wait, look again."""
        while True:
            await self._sleep(self._every_s * self._rng.uniform(1 - JITTER, 1 + JITTER))
            await self.look()

    def _read(self, pids: tuple[int, ...]) -> tuple[tuple[DeviceMemory, ...], Mapping[str, int], CpuTime | None]:
        devices = self._devices.read()
        # After it, never before: a load that goes on meanwhile must not look like somebody else's.
        return devices, self._devices.used_by(pids), self._cpu()

    def _gone(self, devices: tuple[DeviceMemory, ...]) -> frozenset[str]:
        present = {device.name for device in devices}
        identities = {device.id for device in devices if device.id}
        self._known.update({device.name: device.id for device in devices})
        # One that is called otherwise now, since an engine was heard, has not gone.
        missing = self._known.keys() - present
        return frozenset(name for name in missing if self._known[name] not in identities)


def differs(old: Snapshot, new: Snapshot) -> bool:
    """Whether the scheduler should hear of it."""
    before = {device.name: device for device in old.devices}
    if before.keys() != {device.name for device in new.devices} or old.gone != new.gone:
        return True
    for device in new.devices:
        was = before[device.name]
        enough = max(NOTICEABLE_BYTES, NOTICEABLE * device.total_bytes)
        moved = abs(others_bytes(device, new.devices, new.ours) - others_bytes(was, old.devices, old.ours))
        if was.total_bytes != device.total_bytes or was.id != device.id or moved > enough:
            return True
    return False
