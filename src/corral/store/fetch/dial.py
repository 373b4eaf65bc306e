"""
Connecting: a name is looked up once, its address is checked, and that very address is connected to.

Looking it up a second time would let a name server answer the check with one address and the connection with another.
Behind a proxy it is the proxy that looks names up; only addresses that stand in the URL itself are checked then.

Each wait is in slices: who stops a fetch, or ends the program, does not wait for a host that says nothing.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import errno
import http.client
import ipaddress
import os
import select
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from corral.domain.errors import FetchFailed, FetchRefused, FetchStopped
from corral.domain.hosts import IpAddress
from corral.store.fetch.head import Response
from corral.store.fetch.patience import LOOK_S, Patience, Stop
from corral.store.fetch.proxy import Proxy, proxy_for
from corral.store.fetch.rules import Target, WebRules, check_address
from corral.store.fetch.wire import HEAD_S, Incoming, Interrupted, Wire

CONNECT_S: Final = 10.0  # for each address of a name, and for the handshake of https
RESOLVE_S: Final = 30.0  # the system's own patience with name servers ends about here
_MOST_ADDRESSES: Final = 4


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
        sock = self._proxied(target, proxy, stop) if proxy else self._direct(target, stop)
        try:
            if target.scheme == "https":
                sock = self._secured(sock, target, stop)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            sock.close()
            raise
        connection = http.client.HTTPConnection(target.host, target.port)
        connection.response_class = Response
        connection.auto_open = 0  # a connection that it opened by itself would be checked by nobody
        connection.sock = Wire(sock, self.rules.timeout_s, stop, self.patience)
        return connection, proxy if target.scheme == "http" else None

    def _direct(self, target: Target, stop: Stop) -> socket.socket:
        return self._open([str(each) for each in self._addresses(target, stop)], target.port, target.host, stop)

    def _addresses(self, target: Target, stop: Stop) -> list[IpAddress]:
        literal = target.address
        if literal is not None:
            check_address(self.rules, target, literal)
            return [literal]
        try:
            found = [ipaddress.ip_address(each) for each in self._looked_up(target.host, target.port, stop)]
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

    def _open(self, addresses: list[str], port: int, name: str, stop: Stop) -> socket.socket:
        last: OSError = OSError("it has no address")
        for address in addresses:
            try:
                return self._connected(address, port, stop)
            except OSError as error:
                last = error
        raise Interrupted(
            f"{name} port {port} cannot be reached: {_words(last)}.",
            hint="Check this machine's network; behind a proxy set HTTPS_PROXY.",
            hopeless=isinstance(last, ConnectionRefusedError),
        ) from last

    def _connected(self, address: str, port: int, stop: Stop) -> socket.socket:
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            code = sock.connect_ex((address, port))
            if code == errno.EINPROGRESS:
                self._wait(sock, select.POLLOUT, self._patient_until(CONNECT_S), stop)
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, os.strerror(code))
        except BaseException:
            sock.close()
            raise
        return sock

    def _looked_up(self, host: str, port: int, stop: Stop) -> list[str]:
        """Nothing ends a look-up from outside: it has a thread that is left alone when nobody waits any more."""
        found: concurrent.futures.Future[list[str]] = concurrent.futures.Future()

        def look() -> None:
            try:
                found.set_result(self.resolve(host, port))
            except (OSError, UnicodeError) as error:
                found.set_exception(error)

        threading.Thread(target=look, name=f"look up {host}", daemon=True).start()
        end = self.patience.now() + RESOLVE_S
        while not found.done():
            if stop():
                raise FetchStopped()
            if self.patience.now() >= end:
                raise TimeoutError
            concurrent.futures.wait([found], LOOK_S)
        return found.result()

    def _patient_until(self, seconds: float) -> float:
        return self.patience.now() + min(seconds, self.rules.timeout_s)

    def _wait(self, sock: socket.socket, event: int, end: float, stop: Stop) -> None:
        """Until it may be read or written. Raises TimeoutError at `end`, and FetchStopped."""
        poll = select.poll()
        poll.register(sock, event)
        while True:
            if stop():
                raise FetchStopped()
            left = end - self.patience.now()
            if left <= 0:
                raise TimeoutError
            if poll.poll(min(left, LOOK_S) * 1000):
                return

    def _proxied(self, target: Target, proxy: Proxy, stop: Stop) -> socket.socket:
        try:
            addresses = self._looked_up(proxy.host, proxy.port, stop)
        except OSError as error:
            raise Interrupted(
                f"The proxy {proxy.host} has no address: {_words(error)}.",
                hint=f"Correct {proxy.variable}.",
                hopeless=True,
            ) from error
        sock = self._open(addresses[:_MOST_ADDRESSES], proxy.port, f"the proxy {proxy.host}", stop)
        if target.scheme == "http":
            return sock
        try:
            self._tunnel(sock, target, proxy, stop)
        except OSError as error:
            sock.close()
            raise Interrupted(
                f"The proxy {proxy.host} does not lead to {target.host}: {_words(error)}.", hint="Check the proxy."
            ) from error
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
        with contextlib.closing(Incoming(sock, wire)) as incoming:
            while not head.endswith(b"\r\n\r\n"):  # by bytes: what follows the head is the target's own
                byte = bytearray(1)
                if len(head) > 16 * 1024 or not incoming.readinto(byte):
                    raise Interrupted(f"The proxy {proxy.host} closed the connection.", hint="Check the proxy.")
                head += byte
        said = head.split(b"\r\n", 1)[0].partition(b" ")[2].decode("latin-1")
        if not said.startswith("2"):
            raise proxy.closed(target, said)

    def _secured(self, sock: socket.socket, target: Target, stop: Stop) -> socket.socket:
        try:
            return self._wrapped(sock, target, stop)
        except ssl.SSLCertVerificationError as error:
            raise FetchFailed(
                f"{target.host} cannot prove that it is itself: {error.verify_message}.",
                hint="If your network has a certificate authority of its own, name its file in SSL_CERT_FILE.",
            ) from error
        except OSError as error:
            raise Interrupted(f"No secure connection to {target.host}: {_words(error)}.") from error

    def _wrapped(self, sock: socket.socket, target: Target, stop: Stop) -> socket.socket:
        if not self._contexts:
            self._contexts.append(ssl.create_default_context())  # reads SSL_CERT_FILE and SSL_CERT_DIR
        sock.setblocking(False)
        secured = self._contexts[0].wrap_socket(sock, server_hostname=target.host, do_handshake_on_connect=False)
        try:
            self._shake_hands(secured, stop)
        except BaseException:
            secured.close()
            raise
        return secured

    def _shake_hands(self, sock: ssl.SSLSocket, stop: Stop) -> None:
        end = self._patient_until(CONNECT_S)
        while True:
            try:
                return sock.do_handshake()
            except ssl.SSLWantReadError:
                self._wait(sock, select.POLLIN, end, stop)
            except ssl.SSLWantWriteError:
                self._wait(sock, select.POLLOUT, end, stop)


def _words(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return error.strerror or str(error)
