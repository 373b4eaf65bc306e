"""From a credential to a caller."""

from __future__ import annotations

from typing import Protocol

from corral.domain.serving import Caller


class Keys(Protocol):
    """The keys that are valid now."""

    @property
    def required(self) -> bool:
        """True when requests without a key are refused."""
        ...

    def caller(self, token: str) -> Caller | None:
        """Who holds this key; None for an unknown one. Constant time for a given number of keys."""
        ...
