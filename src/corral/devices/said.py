"""A log that says each thing once: what is wrong with a device is read every few seconds, and told when it changes."""

from __future__ import annotations

import logging


class Said:
    """What one reader has told the log."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._told: dict[str, str] = {}

    def once(self, about: str, sentence: str, *, level: int = logging.WARNING) -> None:
        """Tell it, unless it was the last that was told about this."""
        if self._told.get(about) != sentence:
            self._told[about] = sentence
            self._logger.log(level, "%s", sentence)

    def over(self, about: str, sentence: str = "") -> None:
        """It is well again: forget what was told, and say `sentence` if anything was."""
        if self._told.pop(about, None) is not None and sentence:
            self._logger.warning("%s", sentence)
