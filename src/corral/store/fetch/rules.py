"""
Where a fetch may go: decided from the address that is asked for, and again from the one that a name stands for.

A reference may come from anybody and every server may redirect, so a fetch could be made to read what only this
machine can reach: its own services, the router, the metadata of a cloud. So http and addresses that are not public
need leave. An origin that the operator named himself (a mirror) is trusted with both.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, unquote, unquote_to_bytes, urljoin, urlsplit, urlunsplit

from corral.domain.errors import FetchRefused
from corral.domain.hosts import BadAddress, IpAddress, host_of, port_of
from corral.store.fetch.addresses import is_public

PORTS: Final = {"http": 80, "https": 443}
LONGEST_URL: Final = 16 * 1024  # signed addresses have two kilobytes of it
_PATH: Final = "/%:@!$&'()*+,;=~-._"
_QUERY: Final = _PATH + "?[]|"


@dataclass(frozen=True, slots=True)
class WebRules:
    """
    What a client may do.

    `tokens` are by host (`huggingface.co`; with its port where it is not the scheme's own) and go nowhere else.
    `trusted` are origins (`http://mirror:8080`) that the operator named: http and private addresses are fine there.
    """

    insecure: bool = False  # http everywhere
    private: bool = False  # addresses that are not public
    offline: bool = False
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)
    trusted: frozenset[str] = frozenset()
    timeout_s: float = 30.0  # without a byte
    retries: int = 5
    longest_asked_s: float = 120.0  # a server that wants us to wait for longer is told of instead


@dataclass(frozen=True, slots=True)
class Target:
    """An address taken apart. `path` has the query, ready to be sent; `user` is NAME:PASSWORD from the address."""

    scheme: str
    host: str  # small letters, without brackets
    port: int
    path: str
    user: str = field(default="", repr=False)

    @property
    def authority(self) -> str:
        """As in a Host header: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """`scheme://authority`."""
        return f"{self.scheme}://{self.authority}"

    @property
    def url(self) -> str:
        """The whole address without its user; its query may be a secret."""
        return self.origin + self.path

    @property
    def shown(self) -> str:
        """For messages: without what may be a secret."""
        return self.origin + self.path.partition("?")[0]

    @property
    def spelled(self) -> str:
        """The same for all spellings of one address, and without its query."""
        parts = self.path.partition("?")[0].split("/")
        return self.origin + "/".join(quote(unquote_to_bytes(part), safe="") for part in parts)

    @property
    def address(self) -> IpAddress | None:
        """Where the host is no name."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None

    @property
    def is_old_spelling(self) -> bool:
        """Whether the host is an IPv4 address as C once wrote it (`127.1`, `0x7f.1`, `2130706433`)."""
        try:
            socket.inet_aton(self.host)
        except OSError:
            return False
        return self.address is None


def target_of(url: str) -> Target:
    """Take an address apart. Raises FetchRefused for what is none."""
    try:
        return _taken_apart(url.strip())
    except BadAddress as error:
        raise FetchRefused(f"{shown(url)} is no address that can be asked: {error}.") from None


def _taken_apart(url: str) -> Target:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise BadAddress("its host cannot be one") from None
    if parts.scheme not in PORTS:
        raise BadAddress("it does not begin with http:// or https://")
    if len(url) > LONGEST_URL:
        raise BadAddress(f"it is longer than {LONGEST_URL:,} characters")
    said = parts.netloc.rpartition("@")[2].rpartition("]")[2].partition(":")[2]
    port = port_of(said) if said else PORTS[parts.scheme]
    path = quote(parts.path or "/", safe=_PATH) + (f"?{quote(parts.query, safe=_QUERY)}" if parts.query else "")
    user = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else ""
    return Target(parts.scheme, host_of(parts.hostname or ""), port, path, user)


def joined(url: str, where: str) -> str:
    """What a server at `url` means by `where`. Raises FetchRefused."""
    try:
        return urljoin(url, where)
    except ValueError:
        raise FetchRefused(f"{shown(url)} leads to {shown(where)}, which is no address.") from None


def shown(url: str) -> str:
    """An address for messages: without user, query and fragment, and not longer than a line."""
    try:
        parts = urlsplit(url)
        plain = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    except ValueError:
        plain = url.partition("?")[0].rpartition("@")[2]
    plain = "".join(each if each.isprintable() else "?" for each in plain)
    return plain if len(plain) <= 200 else plain[:197] + "..."


def check_target(rules: WebRules, target: Target) -> None:
    """What can be told before a name is looked up. Raises FetchRefused."""
    if rules.offline:
        raise FetchRefused(
            f"{target.shown} is not fetched: Corral is offline.",
            hint="Unset store.offline and HF_HUB_OFFLINE, or put the file into the store.",
        )
    if target.scheme == "http" and not (rules.insecure or is_trusted(rules, target)):
        raise FetchRefused(
            f"{target.shown} is not fetched: http lets anybody on the way read and change it.",
            hint="Use https, or allow http (--insecure).",
        )
    if target.is_old_spelling:  # a proxy would take it for an address that nobody has checked
        raise FetchRefused(
            f"{target.shown} is not fetched: {target.host} is an old spelling of an address.",
            hint="Write the address with four numbers, or a name.",
        )
    address = target.address
    if address is not None:
        check_address(rules, target, address)
    elif target.host == "localhost" or target.host.endswith(".localhost"):
        check_address(rules, target, ipaddress.IPv4Address("127.0.0.1"))


def check_address(rules: WebRules, target: Target, address: IpAddress) -> None:
    """Raises FetchRefused where `target` leads to an address that needs leave."""
    if rules.private or is_trusted(rules, target) or is_public(address):
        return
    where = target.host if target.host == str(address) else f"{target.host} ({address})"
    raise FetchRefused(
        f"{target.shown} is not fetched: {where} is not a public address.",
        hint=f"If it is meant, put {target.origin} into store.trusted, or pull it with --private.",
    )


def is_trusted(rules: WebRules, target: Target) -> bool:
    """Whether the operator named this origin himself."""
    return target.origin in rules.trusted


def origin_of(url: str) -> str:
    """`scheme://host[:port]` of an address, as `WebRules.trusted` has it. Raises FetchRefused."""
    return target_of(url).origin
