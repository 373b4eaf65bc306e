"""
Who may come in: keys, Host and Origin.

One extractor for all forms of a credential and one place that asks it; routes then look at the caller's scopes only.
Without keys a browser is the danger: a page on any site can name this address (Origin) or make its own name point
here (DNS rebinding, Host). So both are checked, on loopback too.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
from typing import Final

from corral.contracts.keys import Keys
from corral.domain.errors import BadRequest, Forbidden, Unauthorized
from corral.domain.serving import Caller, Scope, ServerSpec
from corral.kit.addresses import is_loopback
from corral.kit.http_heads import RequestHead

ALL_SCOPES: Final = frozenset({Scope.INFERENCE, Scope.ADMIN})
LOCAL: Final = Caller("local", ALL_SCOPES)
OWNER: Final = Caller("owner", ALL_SCOPES)
_TOKEN_LIMIT: Final = 4096
_WILDCARDS: Final = frozenset({"0.0.0.0", "::", ""})
_FORWARDED: Final = (b"x-forwarded-for", b"forwarded", b"x-real-ip", b"via")


class KeyRing:
    """
    The keys of the server's settings. Only hashes are kept; a look-up compares hashes of what was sent: how long it
    takes can tell something about hashes that nobody can choose, and nothing about keys.
    """

    def __init__(self, spec: ServerSpec) -> None:
        self._callers = {
            bytes.fromhex(key.sha256): Caller(key.name, key.scopes, key.priority, key.max_concurrent, key.max_waiting)
            for key in spec.keys
        }

    @property
    def required(self) -> bool:
        """True when there is at least one key."""
        return bool(self._callers)

    def fingerprint(self, token: str) -> bytes:
        """The hash of a key."""
        return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()

    def caller(self, fingerprint: bytes) -> Caller | None:
        """Who holds the key with this hash."""
        return self._callers.get(fingerprint)


def bind_problem(spec: ServerSpec) -> str | None:
    """Why this address must not be served, None when it may: beyond loopback only with keys, or `open` on purpose."""
    if spec.keys or spec.open or is_loopback(spec.host):
        return None
    return (
        f"server.host is {spec.host!r}, which other machines can reach, and no keys are configured. Add a key under "
        "server.keys, use host 127.0.0.1, or set server.open: true to serve everybody on purpose."
    )


def token_of(fields: dict[bytes, bytes]) -> str | None:
    """
    The credential of a request: `Authorization: Bearer K`, `Authorization: Basic` (the password), or `x-api-key`.

    Raises BadRequest when two different ones are sent: which one counts must not depend on who reads it.
    """
    header = fields.get(b"authorization")
    other = fields.get(b"x-api-key")
    token: str | None = None
    if header is not None:
        scheme, _, rest = header.partition(b" ")
        scheme = scheme.lower()
        if scheme == b"bearer":
            token = rest.strip().decode("latin-1")
        elif scheme == b"basic":
            token = _basic_password(rest.strip())
        else:
            token = header.decode("latin-1")
    if other is not None:
        second = other.decode("latin-1")
        if token is not None and token != second:
            raise BadRequest("Two different API keys were sent.", hint="Send Authorization or x-api-key, not both.")
        token = second
    return token[:_TOKEN_LIMIT] if token is not None else None


def _basic_password(value: bytes) -> str:
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


Credential = bytes | Caller | None
"""The fingerprint of the key that was sent; who asks, where no keys are needed; None for a key that is missing."""


class Door:
    """Host, Origin and key checks of one listener."""

    def __init__(self, spec: ServerSpec, keys: Keys) -> None:
        self._keys = keys
        self._origins = frozenset(origin.rstrip("/").lower().encode() for origin in spec.cors_origins)
        self._any_origin = b"*" in self._origins
        self._any_address = spec.host in _WILDCARDS
        self._any_host = "*" in spec.allowed_hosts
        self._hosts = frozenset(name.lower() for name in (*spec.allowed_hosts, spec.host) if name not in _WILDCARDS)
        self._trusted = frozenset(spec.trusted_proxies)
        self._open = spec.open
        self._good_hosts: set[bytes] = set()

    def identify(self, head: RequestHead, peer: str) -> Caller | None:
        """
        Who asks; None when a key is needed and none was sent (open routes still answer).

        Raises Forbidden for a Host or Origin that must not call, Unauthorized for a key that nobody holds.
        """
        return self.caller(self.credential(head, peer))

    def credential(self, head: RequestHead, peer: str) -> Credential:
        """What a head says of who asks: the same for the same head. Raises Forbidden and BadRequest."""
        fields = head.fields
        if b"origin" in fields or b"sec-fetch-site" in fields:
            self._check_browser(fields)
        if self._keys.required:
            token = token_of(fields)
            return self._keys.fingerprint(token) if token is not None else None
        host = fields.get(b"host", b"")
        if host not in self._good_hosts:
            self._check_host(host)
        return self._keyless(fields, peer)

    def caller(self, credential: Credential) -> Caller | None:
        """Who that is at this moment, to be asked for every request: a key may be taken away. Raises Unauthorized."""
        if not isinstance(credential, bytes):
            return credential
        caller = self._keys.caller(credential)
        if caller is None:
            raise Unauthorized("This API key is not valid.")
        return caller

    def cors_origin(self, fields: dict[bytes, bytes]) -> bytes | None:
        """The Origin to be named in the answer, None for none."""
        origin = fields.get(b"origin")
        if origin is None or not (self._any_origin or origin.lower() in self._origins):
            return None
        return origin

    def _keyless(self, fields: dict[bytes, bytes], peer: str) -> Caller:
        forwarded = any(name in fields for name in _FORWARDED)
        if not forwarded and is_loopback(peer):
            return LOCAL
        # Behind a proxy everybody seems to come from loopback: without keys nobody there is an administrator.
        name = peer
        if forwarded and peer in self._trusted:
            name = self._original(fields.get(b"x-forwarded-for", b"").decode("latin-1")) or peer
        return Caller(name, frozenset({Scope.INFERENCE}))

    def _original(self, chain: str) -> str:
        """The last address of the chain that is not one of our proxies; "" when there is none."""
        for part in reversed(chain.split(",")):
            address = part.strip()
            if address and address not in self._trusted:
                return address[:64]
        return ""

    def _check_browser(self, fields: dict[bytes, bytes]) -> None:
        origin = fields.get(b"origin")
        if origin is None:
            # Pages of other sites may link here, but not load things from here (GETs carry no Origin).
            site, mode = fields.get(b"sec-fetch-site"), fields.get(b"sec-fetch-mode")
            if site in (b"cross-site", b"same-site") and mode != b"navigate" and not self._any_origin:
                raise Forbidden("Requests from pages of other sites are not accepted.", hint=_CORS_HINT)
            return
        if self.cors_origin(fields) is not None or self._same_origin(origin.lower(), fields.get(b"host", b"").lower()):
            return
        raise Forbidden(
            f"Requests from the origin {origin[:100].decode('latin-1')!r} are not accepted.", hint=_CORS_HINT
        )

    @staticmethod
    def _same_origin(origin: bytes, host: bytes) -> bool:
        return bool(host) and origin in (b"http://" + host, b"https://" + host)

    def _check_host(self, host: bytes) -> None:
        name = host.decode("latin-1").lower()
        name = name[: name.index("]") + 1] if name.startswith("[") else name.partition(":")[0]
        if not self._host_ok(name.rstrip(".")):
            raise Forbidden(
                f"The host name {name[:100]!r} is not one of this server's.", hint="Add it to server.allowed_hosts."
            )
        if len(self._good_hosts) < 100:
            self._good_hosts.add(host)

    def _host_ok(self, name: str) -> bool:
        if self._any_host or name in self._hosts or name.strip("[]") in self._hosts:
            return True
        if name == "" or name == "localhost" or name.endswith(".localhost"):
            return True  # HTTP/1.0 may come without a Host; a browser never does
        try:
            address = ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        # A rebinding attack needs a name; an address in Host is the address that was dialled.
        return address.is_loopback or self._any_address


_CORS_HINT: Final = "Add it to server.cors_origins to let that site call."
