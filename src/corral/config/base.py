"""What every step of compiling a config needs: the engines' rules, and what paths are resolved against."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Protocol

from corral.config import paths
from corral.config.problems import Keys
from corral.contracts.options import OptionTable
from corral.domain.fleet import ModelSpec


class EngineRules(Protocol):
    """What the config needs of an engine: its options and its opinion. Engines of `contracts.engine` have all of it."""

    @property
    def options(self) -> OptionTable:
        """The engine's option table."""
        ...

    def problems(self, model: ModelSpec) -> list[str]:
        """Sentences about what cannot work together."""
        ...

    def slots(self, model: ModelSpec) -> int:
        """Leases per instance."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Base:
    """What relative paths and `~` are resolved against: the file's folder; the working directory for overrides."""

    config_file: str
    folder: str  # of the file
    cwd: str
    env: Mapping[str, str]
    literal: frozenset[Keys]
    from_outside: Callable[[Keys], bool]  # True for values of the environment and the command line

    def resolve(self, path: str, keys: Keys) -> str:
        folder = self.cwd if not self.config_file or self.from_outside(keys) else self.folder
        return paths.resolve(path, os.path.join(self.cwd, folder), self.env)

    def program(self, name: str, keys: Keys) -> str:
        """A program: a bare name is looked for on PATH later."""
        return self.resolve(name, keys) if "/" in name or name.startswith("~") else name
