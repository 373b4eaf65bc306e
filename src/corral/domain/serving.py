"""How the gateway serves: address, keys, origins, limits; and who a caller is."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class Scope(StrEnum):
    """What a key may do. `admin` includes `inference`."""

    INFERENCE = "inference"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class KeySpec:
    """An API key: only its SHA-256 is kept. Keys are 256-bit random, so a fast hash is right (no guessing)."""

    name: str
    sha256: str = field(repr=False)
    scopes: frozenset[Scope] = frozenset({Scope.INFERENCE})
    priority: int = 0
    max_concurrent: int = 0
    max_waiting: int = 0


@dataclass(frozen=True, slots=True)
class Caller:
    """
    Who asks: the key's name, else the peer address; loopback without keys is one caller, `local`.

    Made once for each key and handed to the scheduler as it is. Two of the same name are one caller in every account.
    """

    name: str
    scopes: frozenset[Scope] = frozenset()
    priority: int = 0  # against other callers; what a level is worth: scheduler.policy.fair and .queue
    max_concurrent: int = 0  # its requests that hold a slot or stand in line for one, over all Models; 0 = no bound
    max_waiting: int = 0  # its requests that may wait, over all Models; 0 = only the bounds for everybody

    def may(self, scope: Scope) -> bool:
        """True where one of the caller's scopes covers `scope`."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


NOBODY: Final = Caller("")
"""Who could not be told."""


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """The gateway's own settings; sizes in bytes, times in seconds."""

    host: str = "127.0.0.1"
    port: int = 11435
    ollama_port: int | None = None  # a second one of the same gateway, for clients that know only Ollama's
    keys: tuple[KeySpec, ...] = ()
    open: bool = False  # beyond loopback without keys, on purpose
    allowed_hosts: tuple[str, ...] = ()  # Host names accepted besides loopback names and the bound address
    cors_origins: tuple[str, ...] = ()  # browser origins that may call; empty = none
    trusted_proxies: tuple[str, ...] = ()  # addresses whose X-Forwarded-* are believed
    body_limit_bytes: int = 64 * 1024**2
    body_total_bytes: int = 512 * 1024**2  # all request bodies held at one time
    header_limit_bytes: int = 32 * 1024
    header_count_limit: int = 100
    header_timeout_s: float = 15.0  # from the first byte of a request to the end of its head
    body_timeout_s: float = 60.0  # silence while a body is read
    keepalive_s: float = 75.0  # an idle client connection is closed after this
    max_connections: int = 10_000
    engine_root: bool = False  # `/` is the page of the engine of the default Model for chat
    drain_s: float = 30.0  # at shutdown: how long running answers may take
