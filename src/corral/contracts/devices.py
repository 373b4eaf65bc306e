"""Devices: the memories of this host, and who uses them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from corral.domain.devices import DeviceMemory


class Devices(Protocol):
    """What is there and what is free. Calls read files and drivers and take milliseconds: make them off the loop."""

    def read(self) -> tuple[DeviceMemory, ...]:
        """
        All memories now, RAM first. A GPU that has vanished is left out; one without a driver was never there.

        Never raises: a source that fails is logged once and left out.
        """
        ...

    def used_by(self, pids: Iterable[int]) -> Mapping[str, int]:
        """
        Bytes that these processes hold together, by device name. Memory that several of them share counts once.

        Devices that cannot tell (a driver without accounting by process) are left out.
        """
        ...
