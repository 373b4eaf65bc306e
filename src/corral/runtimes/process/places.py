"""
Where things lie: folders of the state directory, and sockets in a short path.

    STATE/id            random name of this state directory; part of every marker
    STATE/owner.lock    held by the one Corral that uses it
    STATE/keeper.lock   held by the one keeper; says its pid and socket
    STATE/handles/      NAME.json (handle) and NAME.exit (how it ended, written by the keeper)
    STATE/logs/         NAME.<number of the first line>.log
    STATE/scratch/NAME/ private folder of one instance
    RUN/<8 hex>/        sockets: keeper, and NAME.sock
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import shutil
from pathlib import Path

from corral.domain.errors import PlaceFailed
from corral.kit.sockets import SOCKET_PATH_BYTES, fits, private_folder, short_folders

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}")


def slug(instance: str) -> str:
    """A file name for an instance: its id where that is plain and short, else a hash of it."""
    return instance if _PLAIN.fullmatch(instance) else short_slug(instance)


def short_slug(instance: str) -> str:
    """A file name of 16 characters, for socket paths."""
    return hashlib.sha256(instance.encode()).hexdigest()[:16]


class Places:
    """The folders of one state directory, made 0700 when `prepare` is called."""

    def __init__(self, state_dir: Path, runtime_dir: Path | None = None) -> None:
        self.state = state_dir.absolute()
        self.handles = self.state / "handles"
        self.logs = self.state / "logs"
        self.scratch = self.state / "scratch"
        self.keeper_lock = self.state / "keeper.lock"
        self.keeper_log = self.state / "keeper.log"
        self.sockets: Path | None = None  # None: no path is short enough
        self.keeper_socket = ""
        self.state_id = ""
        self._wanted_runtime_dir = runtime_dir
        self._owner_fd = -1
        self._released = False

    def prepare(self) -> None:
        """Make the folders and become the owner. Raises PlaceFailed when another Corral owns them."""
        if self._released:
            raise PlaceFailed("The process runtime is closed.")
        if self._owner_fd >= 0:
            return
        try:
            for folder in (self.state, self.handles, self.logs, self.scratch):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._own()
            self.state_id = self._read_or_make_id()
        except OSError as error:
            raise PlaceFailed(
                f"The state directory {self.state} cannot be used: {error.strerror or error}.",
                hint="Make it writable for this user, or set another one.",
            ) from error
        self.sockets = self._socket_folder()
        # No instance can have this name: theirs end in .sock.
        self.keeper_socket = str(self.sockets / "keeper") if self.sockets else ""

    def release(self) -> None:
        """Let another Corral own the state directory; this one has ended."""
        self._released = True
        if self.sockets is not None:
            with contextlib.suppress(OSError):  # kept engines and their keeper are in it
                self.sockets.rmdir()
        if self._owner_fd >= 0:
            os.close(self._owner_fd)
            self._owner_fd = -1

    def socket(self, instance: str) -> str:
        """The path of an instance's socket, "" where it would be too long."""
        if self.sockets is None:
            return ""
        path = str(self.sockets / f"{slug(instance)}.sock")
        return path if fits(path) else str(self.sockets / f"{short_slug(instance)}.sock")

    def fresh_scratch(self, name: str) -> Path:
        """An empty private folder."""
        folder = self.scratch / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        return folder

    def _own(self) -> None:
        path = self.state / "owner.lock"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(fd, 20, 0).decode(errors="replace").strip() or "unknown"
            os.close(fd)
            raise PlaceFailed(
                f"Another Corral (pid {pid}) uses the state directory {self.state}.",
                hint="Stop it first, or give this one another state directory.",
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._owner_fd = fd

    def _read_or_make_id(self) -> str:
        # Random, not a hash of the path: a container and its host may use the same path and see each other's processes.
        path = self.state / "id"
        found = path.read_text(encoding="ascii", errors="replace").strip() if path.exists() else ""
        if not re.fullmatch(r"[0-9a-f]{16}", found):
            found = secrets.token_hex(8)
            write_private(path, found)
        return found

    def _socket_folder(self) -> Path | None:
        name = hashlib.sha256(os.fsencode(self.state)).hexdigest()[:8]
        bases = [self._wanted_runtime_dir] if self._wanted_runtime_dir else []
        for base in bases + short_folders(os.environ):
            folder = base.absolute() / name
            # Room for a name of 16 hex digits and the suffix: longer names fall back to a hash.
            if len(os.fsencode(folder)) + 22 <= SOCKET_PATH_BYTES and private_folder(base) and private_folder(folder):
                return folder
        return None


def write_private(path: Path, text: str) -> None:
    """Write a file (0600) so that a reader sees the old or the new text, never half of it."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError:  # a full disk; half a handle may hold a whole key
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
