"""
Measured: how long a Model's loads and requests take, by load digest.

The fast path only counts (`Instance.returned`, `Instance.slot_s`); what it counted is taken over when somebody asks.
"""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

from corral.scheduler.policy.waits import Pace

if TYPE_CHECKING:
    from corral.scheduler.machine.state import Instance


class Measured:
    """Of one Model. Another digest is another load: what was measured of one says nothing of another."""

    __slots__ = ("_loads", "_services")

    def __init__(self) -> None:
        self._services: dict[str, Pace] = {}
        self._loads: dict[str, Pace] = {}

    def count(self, instance: Instance) -> None:
        """Take over what an instance has counted; of one that drains because of its digest it is dropped."""
        if instance.returned:
            if instance.digest in instance.model.sizes:
                self._services.setdefault(instance.digest, Pace()).add(instance.slot_s, instance.returned)
            instance.served, instance.returned, instance.slot_s = True, 0, 0.0

    def loaded(self, digest: str, load_s: float) -> None:
        """A load with this digest took so long."""
        self._loads.setdefault(digest, Pace()).add(load_s)

    def remembered(self, digest: str, load_s: float) -> None:
        """So long it took an earlier Corral."""
        if digest not in self._loads:
            self.loaded(digest, load_s)

    def keep(self, digests: Container[str]) -> None:
        """The Model is started with these from now on."""
        self._services = {digest: pace for digest, pace in self._services.items() if digest in digests}
        self._loads = {digest: pace for digest, pace in self._loads.items() if digest in digests}

    def service_s(self, digest: str) -> float | None:
        """Slot-seconds that a request takes; None before the first has ended."""
        pace = self._services.get(digest)
        return pace.mean_s if pace is not None else None

    def load_s(self, digest: str) -> float | None:
        """Seconds that a load takes; None before the first."""
        pace = self._loads.get(digest)
        return pace.mean_s if pace is not None else None
