"""The TCP listeners of one address: bound and listening before anything is loaded, served from when all is wired."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import Final

from corral.domain.errors import PlaceFailed

BACKLOG: Final = 2048

_HINTS: Final = {
    errno.EADDRINUSE: "Is another Corral running? Choose another port with --port or server.port.",
    errno.EACCES: "Ports below 1024 need a privilege: choose a higher one with --port or server.port.",
    errno.EADDRNOTAVAIL: "This machine has no such address: correct --host or server.host.",
}


async def tcp_listeners(host: str, port: int) -> list[socket.socket]:
    """
    A listening socket for every address of `host`; port 0 takes one free port for all. Raises PlaceFailed.

    Who connects from now on waits in the backlog until somebody serves it.
    """
    try:
        infos = await asyncio.get_running_loop().getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as error:
        raise PlaceFailed(
            f"Cannot listen on {host}:{port}: {error.strerror}.", hint="Correct --host or server.host."
        ) from None
    listeners: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(infos):
            listeners.append(_listen(family, kind, protocol, (address[0], port, *address[2:])))
            port = listeners[0].getsockname()[1]
    except OSError as error:
        for listener in listeners:
            listener.close()
        text = os.strerror(error.errno) if error.errno else str(error)
        raise PlaceFailed(
            f"Cannot listen on {host}:{port}: {text}.", hint=_HINTS.get(error.errno or 0, "Correct server.host.")
        ) from None
    return listeners


def _listen(family: int, kind: int, protocol: int, address: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.setblocking(False)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
