"""HTTP connections to a control socket or an address."""

from __future__ import annotations

import http.client
import socket
from urllib.parse import urlsplit

from corral.cli.usage import UsageError
from corral.kit.sockets import reached

UnknownHost = socket.gaierror


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection over a unix socket."""

    def __init__(self, path: str, *, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect to the unix socket."""
        path = reached(self._path)
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(path)


def connection(path: str, url: str, *, timeout_s: float) -> tuple[http.client.HTTPConnection, str]:
    """A connection, not yet open, to `url`, else to the unix socket at `path`; and the prefix of the URL's path."""
    if not url:
        return UnixConnection(path, timeout_s=timeout_s), ""
    try:
        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        return kind(parts.hostname or "", parts.port, timeout=timeout_s), parts.path
    except (ValueError, http.client.HTTPException):
        raise UsageError(f"--server {url!r} is not an address.") from None
