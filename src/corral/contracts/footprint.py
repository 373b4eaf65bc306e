"""Footprints: bytes that a load needs, estimated from the files first, remembered from earlier loads later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from corral.domain.devices import DeviceMemory
from corral.domain.fleet import ModelSpec
from corral.domain.launch import Footprint


@dataclass(frozen=True, slots=True)
class SeenLoad:
    """What the loads of one digest have shown. `load_s` is a moving average, `at` when it was last measured."""

    estimated: Footprint
    measured: Footprint
    load_s: float
    loads: int
    at: float = 0.0  # seconds since the epoch; 0 = nobody knows


class Footprints(Protocol):
    """Computed and remembered by the store; reach the machine inside events. Calls may block on the disk."""

    def footprint(self, model: ModelSpec, *, digest: str = "", devices: Sequence[DeviceMemory] = ()) -> Footprint:
        """
        What one load will take: as measured at earlier loads of this digest, else estimated from its files.

        `model` has its options resolved (`Engine.resolved`). `devices` are the memories that the Model's program can
        use; without a GPU among them everything is RAM. What was measured beside other GPUs says nothing any more:
        then it is estimated. Raises StoreFailed for files that are missing or not GGUF.
        """
        ...

    def record(
        self,
        digest: str,
        *,
        estimated: Footprint,
        measured: Footprint,
        load_s: float | None,
        devices: Sequence[DeviceMemory] = (),
    ) -> None:
        """
        Remember what a load has shown, and beside which GPUs; with `load_s` None what the same load has shown since.

        A store that cannot be written costs a warning, never a load.
        """
        ...

    def seen(self, digest: str) -> SeenLoad | None:
        """What is remembered of this digest."""
        ...

    def load_seconds(self, digest: str) -> float | None:
        """How long its loads took of late; None when it was never loaded."""
        ...
