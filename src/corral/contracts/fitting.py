"""What is asked before a model is loaded or fetched: does it fit here? `app` provides it; gateway and CLI ask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from corral.domain.fleet import ModelSpec


@dataclass(frozen=True, slots=True)
class FitWanted:
    """
    A question. `model` is a path or a reference; `spec` the Model where it is the name of one.

    `options` go before those of the Model and are checked here. `memory` are sizes to reckon with in the place of this
    host's: `24GiB` for a GPU, in the order in which programs count them, `NAME=24GiB` for a memory by its name, `ram`
    among them.
    """

    model: str
    spec: ModelSpec | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    memory: tuple[str, ...] = ()


class Fits(Protocol):
    """Fitting models to the memory that there is."""

    async def fit(self, wanted: FitWanted) -> Mapping[str, object]:
        """
        The answer, JSON-ready: what it takes by device and purpose, whether that fits, what is recommended, how fast.

        Raises StoreFailed for files, BadRequest for options that cannot be and for Models without a file.
        """
        ...
