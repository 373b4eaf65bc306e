"""What clients may have fetched into the store, and how they follow it. `app` provides it; the gateway asks."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from corral.domain.errors import CorralError
from corral.domain.fleet import ModelSpec
from corral.domain.references import Reference


@dataclass(frozen=True, slots=True)
class PullWanted:
    """
    What a client asks for: a `reference`, or what a Model is served from.

    With both it is a Model of the store, which may have changed where it came from. `insecure`: plain http would do.
    """

    reference: Reference | None
    model: ModelSpec | None = None
    insecure: bool = False


@dataclass(frozen=True, slots=True)
class ComingFile:
    """One file of a pull. `sha256` "" and `size_bytes` None where its source does not say."""

    path: str  # below the store's folder
    sha256: str = ""
    size_bytes: int | None = None
    done_bytes: int = 0


Coming = tuple[ComingFile, ...]
"""All files of a pull, in the order in which they were first heard of; none until it is known what there is."""


class Pulls(Protocol):
    """One fetch for all who want the same."""

    def refusal(self, wanted: PullWanted) -> CorralError | None:
        """Why these settings do not let it be fetched; None where they do. Asks nobody."""
        ...

    def follow(self, wanted: PullWanted) -> AsyncGenerator[Coming, None]:
        """
        Fetch it, or follow who does: how far it is now, again when that has changed, and now and then in between.

        It ends when the files are here and whatever serves them knows of it. Raises StoreFailed, and ConfigError where
        the files are here and the config cannot be read that they are to be served by. Who closes it has left: a fetch
        that nobody follows is ended, and what has come of it is kept.
        """
        ...
