"""Which proxy the environment names for an address, and how one is asked."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from corral.domain.errors import FetchRefused
from corral.kit.addresses import is_loopback
from corral.store.fetch.rules import Target


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where requests go instead. `head` is its Proxy-Authorization, or ""."""

    host: str
    port: int
    head: str = field(default="", repr=False)


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
