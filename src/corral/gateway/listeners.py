"""Where clients connect: bound and listening before anything is loaded, served from when all is wired."""

from __future__ import annotations

import asyncio
import errno
import functools
import os
import socket
from collections.abc import Callable
from typing import Final

from corral.domain.errors import PlaceFailed
from corral.gateway.control_socket import ControlSocket

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


class Listeners:
    """The addresses of one gateway: `host` and `port`, a second port for Ollama's clients, control sockets."""

    def __init__(self, host: str, port: int, ollama_port: int | None) -> None:
        self.host, self.port = host, port
        self.ollama_port: int | None = None  # once it is bound
        self._wanted = ollama_port
        self._main: list[socket.socket] = []
        self._ollama: list[socket.socket] = []
        self._control: list[ControlSocket] = []
        self._servers: list[asyncio.Server] = []

    @property
    def bound(self) -> bool:
        """Whether who connects is heard, now or later."""
        return bool(self._main)

    async def bind(self) -> None:
        """Listen; port 0 becomes any free one. Raises PlaceFailed."""
        self._main = await tcp_listeners(self.host, self.port)
        name = self._main[0].getsockname()
        self.host, self.port = str(name[0]), int(name[1])
        if self._wanted is not None:
            self._ollama = await tcp_listeners(self.host, self._wanted, ollama=True)
            self.ollama_port = int(self._ollama[0].getsockname()[1])

    async def serve(self, make: Callable[[bool], asyncio.Protocol]) -> None:
        """Make a protocol for everybody who has connected, and who comes; True for the second port."""
        loop = asyncio.get_running_loop()
        for second, sockets in ((False, self._main), (True, self._ollama)):
            for listener in sockets:
                factory = functools.partial(make, second)
                self._servers.append(await loop.create_server(factory, sock=listener, backlog=BACKLOG))

    async def serve_unix(self, path: str, make: Callable[[], asyncio.Protocol]) -> None:
        """The same on a control socket that only this user can open. Raises PlaceFailed."""
        control = ControlSocket(path)
        listener = control.bind()
        self._control.append(control)
        self._servers.append(await asyncio.get_running_loop().create_unix_server(make, sock=listener))

    def close(self) -> None:
        """Nobody can connect any more; control sockets stay in sight until `remove`."""
        for server in self._servers:
            server.close()
        for listener in (*self._main, *self._ollama):
            listener.close()
        self._servers.clear()
        self._main.clear()
        self._ollama.clear()

    def remove(self) -> None:
        """Take the control sockets away."""
        for control in self._control:
            control.remove()
        self._control.clear()


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
