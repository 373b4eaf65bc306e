"""
Which files are loaded this very moment: by the Corral of the config, and by those that commands have for themselves.

A Model may be known to them alone: its file, and a projector or adapter that `-o` names, came with a command line.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corral.cli import connect, private
from corral.domain.errors import Conflict, CorralError

if TYPE_CHECKING:
    from corral.config.settings import Settings

_GONE = ("stopped", "failed")


@dataclass(frozen=True, slots=True)
class Loaded:
    """The files of all that is loaded, where they really lie, and by which Models; of those some end with a command."""

    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    passing: frozenset[str] = frozenset()

    @classmethod
    def now(cls, settings: Settings, *, otherwise: str) -> Loaded:
        """
        As every Corral of this user says: of this state directory, or of a command.

        Raises Conflict where one is there and does not say it; `otherwise` is what to do then.
        """
        files: dict[str, tuple[str, ...]] = {}
        passing = set()
        for corral in (connect.find(state_dir=settings.state_dir), *private.all_running()):
            for row in _rows(corral, otherwise):
                name = str(row.get("model"))
                if corral.ends_with_us:
                    passing.add(name)
                for path in _files(row):
                    files[path] = tuple(dict.fromkeys((*files.get(path, ()), name)))
        return cls(files, frozenset(passing))

    def of(self, path: str) -> tuple[str, ...]:
        """The Models that have it loaded."""
        return self.files.get(os.path.realpath(path), ())

    def within(self, path: str | os.PathLike[str]) -> bool:
        """Whether it is one of these files, or a folder above one."""
        place = os.path.realpath(path)
        return any(each == place or each.startswith(place + os.sep) for each in self.files)

    def advice(self, name: str) -> str:
        """How it is let go."""
        if name in self.passing:
            return "Wait for the command that uses it (`corral run`, `corral bench`), or say --force."
        return f"corral unload {name}, or say --force."


def _rows(corral: connect.Corral, otherwise: str) -> list[Mapping[str, Any]]:
    try:
        found = corral.ask("GET", "/api/corral/status", timeout_s=connect.CONNECT_S)
    except connect.NotRunning:
        return []
    except CorralError as error:
        whose = "of a command" if corral.ends_with_us else "that runs here"
        raise Conflict(
            f"What the Corral {whose} has loaded cannot be known: {error.message}", hint=otherwise
        ) from error
    rows = found.get("models") if isinstance(found, dict) else None
    return [row for row in rows or () if row.get("state") not in _GONE]


def _files(row: Mapping[str, Any]) -> Iterator[str]:
    """All of it that are files, with all parts of split ones."""
    from corral.store.files import part_paths

    said = {row.get("path"), row.get("projector"), *(row.get("adapters") or ()), *(row.get("files") or ())}
    for each in filter(None, said):
        yield os.path.realpath(each)
        for part in part_paths(Path(each)):
            yield os.path.realpath(part)
