"""
All memories of this host in one reading: the product's `contracts.devices.Devices`.

Readers are strangers to each other; one that hangs or fails takes its own devices with it and no others. Devices that
no reader knows (Metal, SYCL, a GPU without its driver's library) come from the list that an engine prints.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Final, Protocol

from corral.devices.bounded import Bounded
from corral.devices.listed import merged
from corral.devices.processes import ProcessMemory
from corral.devices.ram import RamReader
from corral.domain.devices import RAM, DeviceMemory

DEADLINE_S: Final = 2.0
"""For one reader. NVML answers in milliseconds, the first time in half a second."""


class GpuReader(Protocol):
    """One kind of GPU. Its methods do not raise; they may hang."""

    name: str

    def read(self, ram: DeviceMemory) -> Sequence[DeviceMemory]:
        """Those that answer now. `ram` is for GPUs without a memory of their own."""
        ...

    def used_by(self, pids: frozenset[int]) -> Mapping[str, int]:
        """Bytes by device; devices that cannot tell are left out."""
        ...


class HostDevices:
    """Implements `contracts.devices.Devices`. May be called from any thread."""

    def __init__(
        self,
        gpus: Sequence[GpuReader] = (),
        *,
        ram: RamReader | None = None,
        processes: ProcessMemory | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._gpus = tuple(gpus)
        self._ram = ram or RamReader()
        self._processes = processes or ProcessMemory()
        self._reading: dict[str, Bounded[Sequence[DeviceMemory]]] = {
            gpu.name: Bounded(gpu.name, deadline_s=deadline_s) for gpu in self._gpus
        }
        self._asking: dict[str, Bounded[Mapping[str, int]]] = {
            gpu.name: Bounded(gpu.name, deadline_s=deadline_s) for gpu in self._gpus
        }
        self._last: dict[str, Sequence[DeviceMemory]] = {}
        self._listed: tuple[DeviceMemory, ...] = ()
        self._names: Mapping[str, str] = {}  # readers' names of devices -> those that engines use
        self._lock = threading.Lock()  # ProcessMemory's cache

    def engine_says(self, devices: Iterable[DeviceMemory]) -> None:
        """
        What an engine lists as usable; lists of several engines add up, the first reading of a device counts.

        Ask engines before anything of ours is loaded: what is free is as of then, for a device that no reader knows. In
        a later list ours would look like others'.
        """
        known = {device.name: device for device in self._listed}
        self._listed = tuple({**{device.name: device for device in devices}, **known}.values())

    def read(self) -> tuple[DeviceMemory, ...]:
        """See `contracts.devices.Devices.read`."""
        ram = self._ram.read()
        found: list[DeviceMemory] = []
        for gpu in self._gpus:
            last = self._last.get(gpu.name, ())
            seen = self._reading[gpu.name].call(partial(gpu.read, ram), last)
            self._last[gpu.name] = seen
            found += seen
        devices, self._names = merged(found, self._listed)
        return (ram, *devices)

    def used_by(self, pids: Iterable[int]) -> Mapping[str, int]:
        """See `contracts.devices.Devices.used_by`."""
        wanted = frozenset(pids)
        with self._lock:
            used = {RAM: self._processes.used_by(wanted)}
        for gpu in self._gpus:
            held = self._asking[gpu.name].call(partial(gpu.used_by, wanted), {})
            used.update({self._names.get(name, name): size for name, size in held.items()})
        return used
