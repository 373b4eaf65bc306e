"""
Unix sockets of a user's own, where the path that they should have is too long for one.

A socket's address has room for about 100 bytes. What does not fit lies in a short folder that nobody else can write to.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

SOCKET_PATH_BYTES: Final = 100  # sun_path holds 104 bytes on macOS, 108 on Linux, the final zero included


def fits(path: str | Path) -> bool:
    """True when a socket can have this path."""
    return len(os.fsencode(path)) <= SOCKET_PATH_BYTES


def short_folders(env: Mapping[str, str]) -> list[Path]:
    """Where sockets of this user may lie, the best place first: the session's folder, else one below a temp folder."""
    run = env.get("XDG_RUNTIME_DIR", "")
    session = [Path(run, "corral")] if os.path.isabs(run) else []
    return session + [Path(folder, f"corral-{os.getuid()}") for folder in (tempfile.gettempdir(), "/tmp")]


def private_folder(folder: Path) -> bool:
    """Make it 0700; False when it cannot be made, or somebody else made it or can write to it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022


def reached(path: str) -> str:
    """
    The path to connect to for a socket that should be at `path`: where that is too long, a link lies there.

    Raises OSError where nothing does.
    """
    return path if fits(path) else os.readlink(path)
