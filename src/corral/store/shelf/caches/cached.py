"""One file in another program's folder."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from corral.contracts.fetching import Role
from corral.domain.references import Reference

LONGEST_JSON: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Cached:
    """`place` is the program's name. `sha256` is what the program says that the content has; "" where it does not."""

    place: str
    path: Path
    size_bytes: int
    modified_at: float
    reference: Reference | None = None
    sha256: str = ""
    role: Role = Role.MODEL


def look(path: Path, root: Path) -> os.stat_result | None:
    """The regular file at `path`, through links that stay below `root`; None for all else."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or not path.resolve().is_relative_to(root.resolve()):
            return None
    except (OSError, RuntimeError, ValueError):  # RuntimeError: links in a circle; ValueError: a NUL in the name
        return None
    return status


def listed(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder, by name; nothing where there is none, or none that we may read. Names are UTF-8."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except (OSError, ValueError):
        return []
    return [entry for entry in found if not any("\ud800" <= char <= "\udfff" for char in entry.name)]


def read_json(path: Path) -> dict[str, Any]:
    """A small JSON object; empty for anything else."""
    try:
        with open(path, "rb") as file:
            text = file.read(LONGEST_JSON + 1)
        value = json.loads(text) if len(text) <= LONGEST_JSON else None
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def role_of(name: str) -> Role:
    """By the name of a file."""
    return Role.PROJECTOR if "mmproj" in name.lower() else Role.MODEL
