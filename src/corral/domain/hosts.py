"""What the host and the port of an address can be: what reads a config refuses the same as what asks a server."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAME: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")


class BadAddress(ValueError):
    """It leads nowhere; the message says what is wrong with it, and begins with a small letter."""


def host_of(text: str) -> str:
    """A host as it is asked for: small letters of ASCII, without brackets and a last dot. Raises BadAddress."""
    host = text.removeprefix("[").removesuffix("]").lower().rstrip(".")
    try:
        if ":" in host or text.startswith("["):
            ipaddress.IPv6Address(host)
            return host
        host = host.encode("idna").decode() if host else ""
    except ValueError:  # UnicodeError is one
        host = ""
    if not _NAME.fullmatch(host):
        raise BadAddress("its host cannot be one")
    return host


def port_of(text: str) -> int:
    """Raises BadAddress."""
    port = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0
    if not 0 < port < 65536:
        raise BadAddress("its port is not between 1 and 65535")
    return port
