"""The control socket's listener: a unix socket that only this user can open, one Corral at a time."""

from __future__ import annotations

import os
import socket
import stat

from corral.domain.errors import PlaceFailed


def private_socket(path: str) -> socket.socket:
    """A listening unix socket with mode 0600; a dead one in its place is removed, a live one is left alone."""
    if len(os.fsencode(path)) > 100:
        raise PlaceFailed(f"The control socket's path is longer than 100 bytes: {path}")
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
