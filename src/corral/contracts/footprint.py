"""Footprints: bytes that a load needs, estimated from the files first."""

from __future__ import annotations

from typing import Protocol

from corral.domain.fleet import ModelSpec
from corral.domain.launch import Footprint


class Footprints(Protocol):
    """Computed by the store; reach the machine inside events."""

    def footprint(self, model: ModelSpec) -> Footprint:
        """
        The estimate for one load. Reads file sizes and headers, so call it off the serving loop.

        Raises StoreFailed for files that are missing or not GGUF.
        """
        ...
