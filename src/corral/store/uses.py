"""Which files Models use: as weights, projector, draft or adapter, or named in the arguments of a program."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable
from typing import Final

from corral.domain.fleet import ModelSpec

Same = Callable[[str], Hashable]
"""The same for two paths where both mean one file."""


def by_content(path: str) -> Hashable:
    """Hard links and symbolic ones are the file; what is not there is its own name."""
    try:
        status = os.stat(path)
    except OSError:
        return path
    return status.st_dev, status.st_ino


class Uses:
    """
    The files of some Models, each looked at once.

    By default a file is where it lies, whatever links lead there, so that hard links are files of their own.
    """

    def __init__(self, models: Iterable[ModelSpec], same: Same = os.path.realpath) -> None:
        self._same: Final = same
        self._users: dict[Hashable, dict[str, None]] = {}
        for model in models:
            for path in model.files:
                self._users.setdefault(same(path), {})[model.name] = None

    def of(self, paths: Iterable[str | os.PathLike[str]]) -> list[str]:
        """The names of the Models that use one of these files."""
        if not self._users:
            return []
        found = (self._users.get(self._same(os.fspath(path)), {}) for path in paths)
        return list(dict.fromkeys(name for names in found for name in names))

    def within(self, path: str | os.PathLike[str]) -> bool:
        """Whether one of them uses this file, or something in this folder, there or not. For uses by path."""
        place = os.path.realpath(path)
        return any(str(each) == place or str(each).startswith(place + os.sep) for each in self._users)
