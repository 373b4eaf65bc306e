"""The control socket's listener: a unix socket that only this user can open, one Corral at a time."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import stat

from corral.domain.errors import PlaceFailed
from corral.kit.sockets import SOCKET_PATH_BYTES, fits, private_folder, short_folders


class ControlSocket:
    """
    The control socket at `path`; where that is too long for a socket, one in a short folder with a link at `path`.

    A link, because whoever looks for it may have another environment: the state directory is all that both know.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._real = ""

    def bind(self) -> socket.socket:
        """Raises PlaceFailed."""
        real = self._path if fits(self._path) else _short(self._path)
        listener = _private_socket(real)
        self._real = real
        if real != self._path:
            try:
                _link(self._path, real)
            except PlaceFailed:
                listener.close()
                self.remove()
                raise
        return listener

    def remove(self) -> None:
        """Take away what `bind` has made."""
        if not self._real:
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._real)
        if self._real != self._path:
            with contextlib.suppress(OSError):  # a link that was never made, or leads to another's
                if os.readlink(self._path) == self._real:
                    os.unlink(self._path)
            with contextlib.suppress(OSError):
                os.rmdir(os.path.dirname(self._real))


def _short(path: str) -> str:
    bases = short_folders(os.environ)
    for base in bases:
        folder = base / hashlib.sha256(os.fsencode(os.path.abspath(path))).hexdigest()[:8]
        found = folder / "control.sock"
        if fits(found) and private_folder(base) and private_folder(folder):
            return str(found)
    raise PlaceFailed(
        f"The control socket's path {path} is longer than {SOCKET_PATH_BYTES} bytes, and no shorter place is this "
        f"user's alone: {', '.join(map(str, bases))}.",
        hint="Choose a shorter --state-dir or `state_dir`, or point $XDG_RUNTIME_DIR to a folder that nobody else can "
        "write to.",
    )


def _link(path: str, real: str) -> None:
    new = f"{path}.new"
    try:
        if os.path.lexists(path) and not os.path.islink(path):
            raise PlaceFailed(f"{path} exists and is not a link to a socket.", hint="Remove it.")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)
        os.symlink(real, new)
        os.replace(new, path)
    except OSError as error:
        raise PlaceFailed(f"{path} cannot be made a link to {real}: {error.strerror or error}.") from None


def _private_socket(path: str) -> socket.socket:
    """A listening unix socket with mode 0600; a dead one in its place is removed, a live one is left alone."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    umask = os.umask(0o177)
    try:
        _remove_dead(path)
        listener.bind(path)
    except OSError as error:
        listener.close()
        raise PlaceFailed(f"Cannot listen on {path}: {error.strerror or error}.") from None
    except PlaceFailed:
        listener.close()
        raise
    finally:
        os.umask(umask)
    listener.setblocking(False)
    return listener


def _remove_dead(path: str) -> None:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise PlaceFailed(f"{path} exists and is not a socket.")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except OSError:
            os.unlink(path)
            return
    raise PlaceFailed(f"Another Corral listens on {path}.", hint="Stop it first, or use another state directory.")
