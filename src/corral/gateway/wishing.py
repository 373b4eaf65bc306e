"""Load options in requests: what the Model's engine makes of them, and what its operator is told, once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from corral.contracts.engine import Wished
from corral.domain.fleet import ModelSpec, OptionValue

logger = logging.getLogger(__name__)

Wishes = Callable[[ModelSpec, Mapping[str, OptionValue]], Wished]
"""What the Model's engine makes of load options in a request."""


def no_wishes(model: ModelSpec, wanted: Mapping[str, OptionValue]) -> Wished:
    """None of them."""
    return Wished(None, tuple(wanted))


class Wishing:
    """Asks an engine what becomes of load options, and logs those that requests may not choose."""

    def __init__(self, wishes: Wishes) -> None:
        self._wishes = wishes
        self._told: set[tuple[str, str]] = set()

    def of(self, model: ModelSpec, wanted: Mapping[str, OptionValue]) -> Wished:
        """What a request wants its Model loaded with, as far as that may be. Raises BadRequest."""
        found = self._wishes(model, wanted)
        for name in found.ignored:
            if (model.name, name) not in self._told:  # once: a client sends the same with every request
                self._told.add((model.name, name))
                logger.info("%s: requests ask for %s, which they may not choose (`load_options`)", model.name, name)
        return found
