"""
Connections: a name is looked up once, its address is checked, and that very address is connected to.

Looking it up a second time would let a name server answer the check with one address and the connection with another.
Behind a proxy it is the proxy that looks names up; only addresses that stand in the URL itself are checked then.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import ipaddress
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, cast
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from corral.domain.errors import FetchFailed, FetchRefused, FetchStopped
from corral.kit.addresses import is_loopback
from corral.store.fetch.patience import LOOK_S, Patience, Stop
from corral.store.fetch.rules import IpAddress, Target, WebRules, check_address

CONNECT_S: Final = 10.0
HEAD_S: Final = 60.0  # for a whole head, however slowly it drips
_MOST_ADDRESSES: Final = 4


class Interrupted(FetchFailed):
    """The connection failed; it may work another time. `hopeless`: hardly so (no such host, nobody listens)."""

    def __init__(self, message: str, *, hint: str = "", hopeless: bool = False) -> None:
        self.hopeless = hopeless
        super().__init__(message, hint=hint)


class _Incoming(io.RawIOBase):
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
        return io.BufferedReader(_Incoming(self.sock, self), 64 * 1024)

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


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where requests go instead. `head` is its Proxy-Authorization, or ""."""

    host: str
    port: int
    head: str = field(default="", repr=False)


Resolve = Callable[[str, int], list[str]]


def resolve(host: str, port: int) -> list[str]:
    """Addresses of a name, in the order that the system prefers. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


@dataclass(frozen=True, slots=True)
class Dial:
    """How connections are made."""

    rules: WebRules
    patience: Patience = field(default_factory=Patience)
    resolve: Resolve = resolve
    _contexts: list[ssl.SSLContext] = field(default_factory=list, repr=False)

    def connect(self, target: Target, stop: Stop) -> tuple[http.client.HTTPConnection, Proxy | None]:
        """A connection to send a request for `target` on; the proxy where it wants whole addresses."""
        proxy = proxy_for(target)
        sock = self._proxied(target, proxy, stop) if proxy else self._direct(target)
        try:
            if target.scheme == "https":
                sock = self._secured(sock, target)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            sock.close()
            raise
        connection = http.client.HTTPConnection(target.host, target.port)
        connection.auto_open = 0  # a connection that it opened by itself would be checked by nobody
        connection.sock = Wire(sock, self.rules.timeout_s, stop, self.patience)
        return connection, proxy if target.scheme == "http" else None

    def _direct(self, target: Target) -> socket.socket:
        return self._open([str(each) for each in self._addresses(target)], target.port, target.host)

    def _addresses(self, target: Target) -> list[IpAddress]:
        literal = target.address
        if literal is not None:
            check_address(self.rules, target, literal)
            return [literal]
        try:
            found = [ipaddress.ip_address(each) for each in self.resolve(target.host, target.port)]
        except OSError as error:
            raise Interrupted(
                f"There is no address for {target.host}: {_words(error)}.",
                hint="Check the name and this machine's network; behind a proxy set HTTPS_PROXY.",
                hopeless=True,
            ) from error
        allowed, refused = [], None
        for address in found:
            try:
                check_address(self.rules, target, address)
                allowed.append(address)
            except FetchRefused as error:
                refused = error
        if not allowed and refused is not None:
            raise refused
        return allowed[:_MOST_ADDRESSES]

    def _open(self, addresses: list[str], port: int, name: str) -> socket.socket:
        last: OSError = OSError("it has no address")
        for address in addresses:
            try:
                return socket.create_connection((address, port), min(CONNECT_S, self.rules.timeout_s))
            except OSError as error:
                last = error
        raise Interrupted(
            f"{name} port {port} cannot be reached: {_words(last)}.",
            hint="Check this machine's network; behind a proxy set HTTPS_PROXY.",
            hopeless=isinstance(last, ConnectionRefusedError),
        ) from last

    def _proxied(self, target: Target, proxy: Proxy, stop: Stop) -> socket.socket:
        try:
            addresses = self.resolve(proxy.host, proxy.port)
        except OSError as error:
            raise Interrupted(
                f"The proxy {proxy.host} has no address: {_words(error)}.", hint="Correct HTTPS_PROXY.", hopeless=True
            ) from error
        sock = self._open(addresses, proxy.port, f"the proxy {proxy.host}")
        if target.scheme == "http":
            return sock
        try:
            self._tunnel(sock, target, proxy, stop)
        except BaseException:
            sock.close()
            raise
        return sock

    def _tunnel(self, sock: socket.socket, target: Target, proxy: Proxy, stop: Stop) -> None:
        host = f"[{target.host}]" if ":" in target.host else target.host
        lines = [f"CONNECT {host}:{target.port} HTTP/1.1", f"Host: {host}:{target.port}"]
        lines += [f"Proxy-Authorization: {proxy.head}"] if proxy.head else []
        wire = Wire(sock, self.rules.timeout_s, stop, self.patience, self.patience.now() + HEAD_S)
        wire.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        head = bytearray()
        with contextlib.closing(_Incoming(sock, wire)) as incoming:
            while not head.endswith(b"\r\n\r\n"):  # by bytes: what follows the head is the target's own
                byte = bytearray(1)
                if len(head) > 16 * 1024 or not incoming.readinto(byte):
                    raise Interrupted(f"The proxy {proxy.host} closed the connection.", hint="Check the proxy.")
                head += byte
        words = head.split(b"\r\n", 1)[0].split(b" ", 2)
        if len(words) < 2 or not words[1].startswith(b"2"):
            said = b" ".join(words[1:]).decode("latin-1")[:80]
            hint = "It wants a user: HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT." if words[1:2] == [b"407"] else ""
            raise FetchFailed(f"The proxy {proxy.host} does not lead to {target.host}: {said!r}.", hint=hint)

    def _secured(self, sock: socket.socket, target: Target) -> socket.socket:
        if not self._contexts:
            self._contexts.append(ssl.create_default_context())  # reads SSL_CERT_FILE and SSL_CERT_DIR
        sock.settimeout(min(CONNECT_S, self.rules.timeout_s))
        try:
            return self._contexts[0].wrap_socket(sock, server_hostname=target.host)
        except ssl.SSLCertVerificationError as error:
            raise FetchFailed(
                f"{target.host} cannot prove that it is itself: {error.verify_message}.",
                hint="If your network has a certificate authority of its own, name its file in SSL_CERT_FILE.",
            ) from error
        except OSError as error:
            raise Interrupted(f"No secure connection to {target.host}: {_words(error)}.") from error


def proxy_for(target: Target) -> Proxy | None:
    """What the environment says (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY). Raises FetchRefused."""
    proxies = getproxies()
    text = proxies.get(target.scheme) or proxies.get("all") or ""
    if not text or is_loopback(target.host) or proxy_bypass(target.authority):
        return None
    parts = urlsplit(text if "://" in text else f"http://{text}")
    if parts.scheme != "http" or not parts.hostname:
        raise FetchRefused(
            f"The proxy {parts.scheme}://{parts.hostname or '?'} cannot be used.",
            hint="Name an http:// proxy in HTTPS_PROXY, or set NO_PROXY for this host.",
        )
    user = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else ""
    head = basic(user) if user else ""
    return Proxy(parts.hostname, parts.port or 80, head)


def basic(user: str) -> str:
    """NAME:PASSWORD as a header."""
    return "Basic " + base64.b64encode(user.encode()).decode()


def _words(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return error.strerror or str(error)
