"""The section `server` of the config -> ServerSpec: who may call, keys hashed."""

from __future__ import annotations

import hashlib
import ipaddress
from typing import Final

from corral.config.problems import Keys, Problems
from corral.config.schema import Key, Server
from corral.domain.serving import KeySpec, Scope, ServerSpec
from corral.kit.addresses import is_loopback

MIN_KEY_LENGTH: Final = 16


def server_spec(server: Server, problems: Problems) -> ServerSpec:
    """The gateway's settings; what is wrong is added to `problems`."""
    keys = _keys(server.keys, problems)
    if not server.keys and not server.open and not is_loopback(server.host):
        problems.add(
            f"server.host {server.host} is not loopback and there are no keys.",
            keys=("server", "host"),
            hint="Add server.keys, or say `open: true` (`--open` on the command line) if everybody who reaches the "
            "port may use it.",
        )
    if server.ollama_port and server.ollama_port == server.port:
        problems.add(
            f"server.ollama_port is {server.port}, as server.port is; that one answers Ollama's clients too.",
            keys=("server", "ollama_port"),
            hint="Leave it out, or choose another.",
        )
    for index, origin in enumerate(server.cors_origins):
        if origin != "*" and (not origin.startswith(("http://", "https://")) or origin.count("/") != 2):
            where: Keys = ("server", "cors_origins", index)
            problems.add(f"{origin!r} is not an origin such as https://chat.example.org", keys=where)
    for index, address in enumerate(server.trusted_proxies):
        try:
            ipaddress.ip_address(address)
        except ValueError:
            problems.add(f"{address!r} is not an IP address", keys=("server", "trusted_proxies", index))
    return ServerSpec(
        host=server.host,
        port=server.port,
        ollama_port=server.ollama_port,
        keys=keys,
        open=server.open,
        allowed_hosts=server.allowed_hosts,
        cors_origins=server.cors_origins,
        trusted_proxies=server.trusted_proxies,
        body_limit_bytes=server.body_limit,
        body_total_bytes=max(server.body_limit, server.body_total),
        header_limit_bytes=server.header_limit,
        header_timeout_s=server.header_timeout,
        body_timeout_s=server.body_timeout,
        keepalive_s=server.keepalive,
        max_connections=server.max_connections,
        engine_root=server.root == "engine",
        drain_s=server.drain,
    )


def _keys(keys: tuple[Key, ...], problems: Problems) -> tuple[KeySpec, ...]:
    specs: list[KeySpec] = []
    names: dict[str, int] = {}
    hashes: dict[str, str] = {}
    for index, key in enumerate(keys):
        here: Keys = ("server", "keys", index)
        digest = _key_hash(key, here, problems)
        if key.name in names:
            problems.add(f"two keys are named {key.name!r}", keys=(*here, "name"))
        elif digest and digest in hashes:
            problems.add(f"{key.name!r} is the same key as {hashes[digest]!r}", keys=here)
        names.setdefault(key.name, index)
        hashes.setdefault(digest, key.name)
        scopes = frozenset(Scope(scope) for scope in key.scopes)
        specs.append(KeySpec(key.name, digest, scopes, key.priority, key.max_concurrent, key.max_waiting))
    return tuple(specs)


def _key_hash(key: Key, here: Keys, problems: Problems) -> str:
    """The key's SHA-256. No message ever shows the key."""
    if bool(key.key) == bool(key.sha256):
        problems.add(f"the key {key.name!r} needs either `key` or `sha256`", keys=here)
        return ""
    if key.sha256:
        digest = key.sha256.lower()
        if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            problems.add("sha256 must be 64 hex digits", keys=(*here, "sha256"))
        return digest
    if not all(33 <= ord(char) <= 126 for char in key.key):
        problems.add(f"the key {key.name!r} must be printable ASCII without spaces", keys=(*here, "key"))
    elif len(key.key) < MIN_KEY_LENGTH:
        problems.add(
            f"the key {key.name!r} is shorter than {MIN_KEY_LENGTH} characters.",
            keys=(*here, "key"),
            hint="`openssl rand -hex 32` makes a good one.",
        )
    return hashlib.sha256(key.key.encode()).hexdigest()
