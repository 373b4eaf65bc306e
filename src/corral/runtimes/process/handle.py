"""
Handle files: what a restarted Corral finds its engines by. Mode 0600, because a handle carries the engine's key.

`data` of a process handle: pid, start_ticks, boot_id (who it is), marker, keeper_pid, and the paths of its log and
scratch. The exit file beside it is the keeper's: how the instance ended, for when the keeper is gone too.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from corral.domain.launch import ExitKind, ExitStatus, Handle
from corral.runtimes.process.places import slug, write_private

logger = logging.getLogger(__name__)


class HandleFiles:
    """The handles folder of one state directory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, instance: str) -> Path:
        """Where the handle of an instance lies."""
        return self._folder / f"{slug(instance)}.json"

    def exit_path(self, instance: str) -> Path:
        """Where the keeper writes how the instance ended."""
        return self._folder / f"{slug(instance)}.exit"

    def write(self, handle: Handle) -> None:
        """Create or replace the file. Raises OSError."""
        write_private(self.path(handle.instance), handle.to_json())

    def remove(self, instance: str) -> None:
        """Forget the instance."""
        for path in (self.path(instance), self.exit_path(instance)):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()

    def all(self) -> list[Handle]:
        """Handles that can be read, oldest first. Others are left alone and named in the log."""
        found = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                handle = Handle.from_json(path.read_bytes())
            except (OSError, ValueError) as error:
                logger.warning("The handle file %s cannot be read and is ignored: %s", path, error)
            else:
                found.append(handle)
        return sorted(found, key=lambda handle: handle.started_at)

    def exit_status(self, instance: str, pid: int | None) -> ExitStatus | None:
        """How it ended, as the keeper wrote it; None when it did not, or wrote it of another process."""
        try:
            raw = json.loads(self.exit_path(instance).read_bytes())
            return exit_status(raw) if raw["pid"] == pid else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


def exit_status(raw: Mapping[str, Any]) -> ExitStatus:
    """The keeper's status as a value. Raises KeyError or ValueError for what is not one."""
    return ExitStatus(ExitKind(raw["kind"]), code=raw["code"], signal=raw["signal"], detail=raw["detail"])
