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

_OLLAMA_HINTS: Final = {
    errno.EADDRINUSE: "Is Ollama itself running? Stop it, or choose another server.ollama_port.",
    errno.EACCES: "Ports below 1024 need a privilege: choose a higher server.ollama_port.",
}


async def tcp_listeners(host: str, port: int, *, ollama: bool = False) -> list[socket.socket]:
    """
    A listening socket for every address of `host`; port 0 takes one free port for all. Raises PlaceFailed.

    `ollama`: it is the port for Ollama's clients. Who connects from now on waits in the backlog until it is served.
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
        hint = (_OLLAMA_HINTS if ollama else _HINTS).get(error.errno or 0, _HINTS[errno.EADDRNOTAVAIL])
        what = " for Ollama's clients" if ollama else ""
        raise PlaceFailed(f"Cannot listen on {host}:{port}{what}: {text}.", hint=hint) from None
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
