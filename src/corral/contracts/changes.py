"""Changes that clients may make to the Fleet: in the config file, and then in force. `app` provides it."""

from __future__ import annotations

from typing import Protocol


class Changes(Protocol):
    """
    Each returns once what it changed is served. Model names are Models' own names.

    Raises Conflict, with the reason, where the config is none that can be changed; then it is as it was.
    """

    async def add_alias(self, model: str, alias: str) -> None:
        """One more name for a Model."""
        ...

    async def remove_alias(self, model: str, alias: str) -> None:
        """One name less; the Model stays."""
        ...

    async def remove_model(self, model: str) -> None:
        """It is no longer served. Its files stay where they are."""
        ...
