"""What listings ask of model files that is too much to keep for all of them. `app` provides it, the gateway asks."""

from __future__ import annotations

from typing import Protocol

from corral.domain.facts import FileDetails
from corral.domain.fleet import ModelSpec


class Details(Protocol):
    """The details of Models' files."""

    async def of(self, model: ModelSpec) -> FileDetails | None:
        """Never raises and waits a few seconds at most; None for a Model without a file, or where it cannot be read."""
        ...
