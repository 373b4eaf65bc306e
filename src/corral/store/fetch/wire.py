"""One connection that is made already: it is read in slices, so that a stop is seen, and silence has its deadline."""

from __future__ import annotations

import io
import socket
from dataclasses import dataclass
from typing import Final, cast

from corral.domain.errors import FetchFailed, FetchStopped
from corral.store.fetch.patience import LOOK_S, Patience, Stop

HEAD_S: Final = 60.0  # for a whole head, however slowly it drips


class Interrupted(FetchFailed):
    """The connection failed; it may work another time. `hopeless`: hardly so (no such host, nobody listens)."""

    def __init__(self, message: str, *, hint: str = "", hopeless: bool = False) -> None:
        self.hopeless = hopeless
        super().__init__(message, hint=hint)


class Incoming(io.RawIOBase):
    """What a socket receives. Waits in slices, so that a stop is seen, for as long as its deadlines allow."""

    def __init__(self, sock: socket.socket, wire: Wire) -> None:
        self._sock, self._wire = sock, wire
        wire.readers += 1

    def close(self) -> None:
        """The socket stays as long as its wire does."""
        if not self.closed:
            self._wire.readers -= 1
            self._wire.close_if_unused()
        super().close()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        wire = self._wire
        quiet = wire.patience.now() + wire.timeout_s
        if wire.deadline is not None:
            quiet = min(quiet, wire.deadline)
        while True:
            if wire.stop():
                raise FetchStopped()
            left = quiet - wire.patience.now()
            if left <= 0:
                raise TimeoutError("it is silent")
            self._sock.settimeout(min(left, LOOK_S))
            try:
                return self._sock.recv_into(cast(memoryview, buffer))
            except TimeoutError:
                continue


@dataclass(slots=True)
class Wire:
    """One connection, as http.client wants a socket to be."""

    sock: socket.socket
    timeout_s: float
    stop: Stop
    patience: Patience
    deadline: float | None = None  # for all that is read
    readers: int = 0
    closed: bool = False

    def makefile(self, mode: str) -> io.BufferedReader:
        """The reading side. Bodies go past its buffer: what is asked for in large pieces is received in place."""
        return io.BufferedReader(Incoming(self.sock, self), 64 * 1024)

    def sendall(self, data: bytes) -> None:
        """Heads are short: the kernel takes them at once."""
        self.sock.settimeout(self.timeout_s)
        self.sock.sendall(data)

    def close(self) -> None:
        """Once nobody reads from it: http.client closes a connection when it has the head of its last answer."""
        self.closed = True
        self.close_if_unused()

    def close_if_unused(self) -> None:
        """When it is closed and the last reader has gone."""
        if self.closed and not self.readers:
            self.sock.close()
