"""
An HTTP/1.1 server for files, of threads and plain sockets, whose mistakes are options of each reply.

    with FileServer(lambda ask: of_file(ask, data)) as server: ... f"{server.origin}/model.gguf"
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO

CERTIFICATE = Path(__file__).parent / "certificates" / "localhost.pem"  # of localhost, 127.0.0.1 and files.example
PIECE = 16 * 1024


@dataclass(frozen=True)
class Ask:
    """One request. Header names are in small letters."""

    method: str
    path: str
    headers: Mapping[str, str]

    @property
    def span(self) -> tuple[int, int | None] | None:
        """What `Range: bytes=A-B` asks for, the end exclusive."""
        text = self.headers.get("range", "").removeprefix("bytes=")
        first, _, last = text.partition("-")
        return (int(first), int(last) + 1 if last else None) if text else None


@dataclass(frozen=True)
class Reply:
    """What is sent. A Content-Length is added unless the headers say how the body is framed."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None  # the connection is closed after so many bytes of the body
    reset: bool = False  # where it is cut, or before anything was sent: RST instead of FIN
    hang: bool = False  # where it is cut: nothing more comes
    per_s: float = 0.0  # bytes a second; 0 as fast as can be
    drip: bool = False  # a byte every 10 ms, for as long as somebody takes them
    raw: bytes = b""  # instead of a head and body


Handle = Callable[[Ask], Reply]


class FileServer:
    """A context manager. `asked` has all requests, `sent_bytes` counts bodies."""

    def __init__(self, handle: Handle, *, host: str = "127.0.0.1", tls: bool = False) -> None:
        self._handle, self._tls = handle, tls
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if tls else None
        if self._context:
            self._context.load_cert_chain(CERTIFICATE)
        self._listener = socket.create_server((host, 0))
        self.host = host
        self.port: int = self._listener.getsockname()[1]
        self.asked: list[Ask] = []
        self.sent_bytes = 0
        self.ended = threading.Event()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)

    @property
    def connections(self) -> int:
        """How many have been made."""
        return len(self._threads)

    @property
    def origin(self) -> str:
        """`http://127.0.0.1:PORT`."""
        return f"{'https' if self._tls else 'http'}://{self.host}:{self.port}"

    def __enter__(self) -> FileServer:
        self._acceptor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(5)
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while not self.ended.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            with self._lock:
                self._open.add(sock)
                self._threads.append(thread)
            thread.start()

    def _serve(self, plain: socket.socket) -> None:
        sock = plain
        try:
            if self._context:
                sock = self._context.wrap_socket(plain, server_side=True)
                with self._lock:
                    self._open.add(sock)
            with sock, sock.makefile("rb") as reader:
                while (ask := read_ask(reader)) is not None:
                    with self._lock:
                        self.asked.append(ask)
                    if not self._send(sock, ask, self._handle(ask)):
                        return
        except (OSError, ValueError):
            pass
        finally:
            with self._lock:
                self._open -= {plain, sock}
            plain.close()

    def _send(self, sock: socket.socket, ask: Ask, reply: Reply) -> bool:
        """Whether the connection stays."""
        if reply.raw:
            sock.sendall(reply.raw)
            return False
        if reply.reset and reply.cut is None:
            _reset(sock)
            return False
        names = {name.lower() for name in reply.headers}
        lines = [f"HTTP/1.1 {reply.status} Said", *(f"{name}: {value}" for name, value in reply.headers.items())]
        if not names & {"content-length", "transfer-encoding", "connection"}:
            lines.append(f"Content-Length: {len(reply.body)}")
        sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        if ask.method == "HEAD":
            return True
        self._body(sock, reply)
        if reply.hang:
            self.ended.wait(30)
        if reply.reset:
            _reset(sock)
        return reply.cut is None and not reply.hang and "connection" not in names

    def _body(self, sock: socket.socket, reply: Reply) -> None:
        body = memoryview(reply.body)[: reply.cut]
        for at in range(len(body) if reply.drip else 0):
            if self.ended.wait(0.01):
                return
            sock.sendall(body[at : at + 1])
        began, at = time.monotonic(), 0
        while at < len(body):
            if reply.per_s:
                ahead_s = at / reply.per_s - (time.monotonic() - began)
                if ahead_s > 0 and self.ended.wait(ahead_s):
                    return
            piece = body[at : at + (min(PIECE, max(1024, int(reply.per_s / 50))) if reply.per_s else 1024 * 1024)]
            sock.sendall(piece)
            at += len(piece)
            with self._lock:
                self.sent_bytes += len(piece)


@contextlib.contextmanager
def deaf(host: str = "127.0.0.1") -> Iterator[int]:
    """A port of a host that accepts no connection and refuses none: whoever asks hears nothing."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((host, 0))
        listener.listen(0)
        port: int = listener.getsockname()[1]
        for _ in range(3):  # its queue is full after the first one or two
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((host, port))
        yield port


def _reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def read_ask(reader: IO[bytes]) -> Ask | None:
    """The next request of a connection; None at its end."""
    first = reader.readline(65536).decode("latin-1").split()
    if len(first) < 2:
        return None
    headers = {}
    while line := reader.readline(65536).strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    return Ask(first[0], first[1], headers)


def of_file(ask: Ask, data: bytes, *, etag: str = '"one"', per_s: float = 0.0, ranges: bool = True) -> Reply:
    """The file as a good server sends it: ranges, and all of it to who has another version of it."""
    headers = {"ETag": etag} if etag else {}
    span = ask.span if ranges and ask.headers.get("if-range", etag) == etag else None
    if span is None:
        return Reply(200, headers, data, per_s=per_s)
    first, end = span[0], min(len(data), span[1] if span[1] is not None else len(data))
    if first >= len(data):
        return Reply(416, {"Content-Range": f"bytes */{len(data)}"})
    headers["Content-Range"] = f"bytes {first}-{end - 1}/{len(data)}"
    return Reply(206, headers, data[first:end], per_s=per_s)
