"""
One walk over a store's folder: what is there, by name, size and time. Nothing is opened.

Folders behind links are not entered, so that the walk ends and stays inside; a link to a file is that file, under the
name of the link.
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

DEEPEST: Final = 16
OURS: Final = (".part", ".part.json", ".lock", ".origin.json", ".part.json.new", ".origin.json.new")
INDEX_UNFINISHED: Final = re.compile(
    r"\.(index|names)\.\d+-\d+\.tmp"
)  # whole paths: both are in the store's own folder
_ORIGIN: Final = ".origin.json"
_MODEL: Final = ".gguf"
MOST_FILES: Final = 200_000


@dataclass(frozen=True, slots=True)
class Seen:
    """
    A file; `path` below the store's folder, with `/`. `size_bytes` -1: a link that leads to no file, or to none that
    may be looked at; its times are the link's own.

    `changed_ns` is of the link itself, where it is one.
    """

    path: str
    size_bytes: int
    mtime_ns: int
    changed_ns: int = 0  # ctime


@dataclass(slots=True)
class Walked:
    """What one walk met. `origins` is when each file's origin was written, by the path of the origin."""

    models: list[Seen] = field(default_factory=list)
    others: list[Seen] = field(default_factory=list)  # no model by name, and nothing of ours
    origins: dict[str, int] = field(default_factory=dict)
    ours: list[Seen] = field(default_factory=list)  # by their names: parts, journals, locks, origins
    folders: list[str] = field(default_factory=list)
    deeper: list[str] = field(default_factory=list)  # folders that were not entered for they lie too deep
    whole: bool = True  # False: there are more files than we look at

    @property
    def files(self) -> int:
        """How many were met."""
        return len(self.models) + len(self.others) + len(self.ours)


def walk(root: Path) -> Walked:
    """All of a store. A store that is not there is empty; folders that cannot be listed are left out."""
    found = Walked()
    _folder(os.fspath(root), "", 0, found)
    if found.deeper:
        more = f", and {len(found.deeper) - 1} more" if len(found.deeper) > 1 else ""
        logger.warning(
            "%s%s is not looked into: it lies more than %d folders deep in %s", found.deeper[0], more, DEEPEST, root
        )
    if not found.whole:
        logger.warning("%s has more files than Corral looks at (%d)", root, MOST_FILES)
    return found


_name: Final = attrgetter("name")


def _folder(folder: str, prefix: str, depth: int, found: Walked) -> None:
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=_name)
    except FileNotFoundError:
        return
    except OSError as error:
        found.folders.append(prefix)
        logger.warning("%s cannot be listed: %s", folder, error.strerror or error)
        return
    found.folders.append(prefix)
    for entry in entries:
        if found.files >= MOST_FILES:
            found.whole = False
            return
        name = entry.name
        if not _nameable(name):
            logger.warning("%r in %r has a name that is no UTF-8: it is left out", name, folder)
            continue
        try:
            if entry.is_dir(follow_symlinks=False):
                if name.startswith("."):
                    continue
                if depth < DEEPEST:
                    _folder(entry.path, f"{prefix}{name}/", depth + 1, found)
                else:
                    found.deeper.append(prefix + name)
            elif _leads_to_a_file(entry):
                _file(entry, prefix + name, found)
            elif entry.is_symlink() and not name.startswith(".") and name.lower().endswith(_MODEL):
                own = entry.stat(follow_symlinks=False)
                found.models.append(Seen(prefix + name, -1, own.st_mtime_ns, own.st_ctime_ns))
        except OSError as error:  # it went while we looked
            logger.debug("%s: %s", entry.path, error)


def _leads_to_a_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link in a circle, or into a folder that is closed to us
        return False


def _file(entry: os.DirEntry[str], path: str, found: Walked) -> None:
    status = entry.stat()
    own = entry.stat(follow_symlinks=False) if entry.is_symlink() else status
    seen = Seen(path, status.st_size, status.st_mtime_ns, own.st_ctime_ns)
    if not entry.name.startswith("."):
        (found.models if entry.name.lower().endswith(_MODEL) else found.others).append(seen)
    elif entry.name.endswith(OURS) or INDEX_UNFINISHED.fullmatch(path):
        found.ours.append(seen)
        if entry.name.endswith(_ORIGIN):
            found.origins[path] = status.st_mtime_ns


def _nameable(name: str) -> bool:
    """No name that a config, a client or JSON could hold is without UTF-8."""
    if name.isascii():
        return True
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
