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

    def fingerprint(self, token: str) -> bytes:
        """What a key is known by: its hash. Always the same for the same key, so it need not be worked out again."""
        ...

    def caller(self, fingerprint: bytes) -> Caller | None:
        """Who holds the key with this fingerprint; None for an unknown one. To be asked for every request."""
        ...
