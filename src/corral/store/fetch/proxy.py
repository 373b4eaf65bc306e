"""Which proxy the environment names for an address, and how one is asked."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from corral.domain.errors import FetchFailed, FetchRefused
from corral.kit.addresses import is_loopback
from corral.store.fetch.denial import may_pass
from corral.store.fetch.rules import Target
from corral.store.fetch.wire import Interrupted


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where requests go instead, as `variable` says. `head` is its Proxy-Authorization, or ""."""

    host: str
    port: int
    head: str = field(default="", repr=False)
    variable: str = "HTTPS_PROXY"

    def closed(self, target: Target, said: str) -> FetchFailed:
        """For who is not let through. `said` begins with a status; Interrupted where it may pass."""
        message = f"The proxy {self.host} does not lead to {target.host}: {said[:80]!r}."
        status = said[:3]
        if status.isascii() and status.isdecimal() and may_pass(int(status)):
            return Interrupted(message, hint="Try again later.")
        if status == "407":
            return FetchFailed(message, hint=f"It wants a user: {self.variable}=http://USER:PASSWORD@HOST:PORT.")
        return FetchFailed(message, hint="Ask who runs it, or set NO_PROXY for this host if it can be reached without.")


def proxy_for(target: Target) -> Proxy | None:
    """What the environment says (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY). Raises FetchRefused."""
    proxies = getproxies()
    text = proxies.get(target.scheme) or proxies.get("all") or ""
    if not text or is_loopback(target.host) or proxy_bypass(target.authority):
        return None
    variable = _variable(target.scheme, text)
    try:
        return _proxy(text, variable)
    except ValueError:  # not shown: where it is not even an address, its password could be anywhere in it
        raise FetchRefused(
            f"What {variable} says is no address of a proxy.",
            hint=f"Correct {variable}: http://HOST:PORT or http://USER:PASSWORD@HOST:PORT.",
        ) from None


def _proxy(text: str, variable: str) -> Proxy:
    """Raises ValueError for no address, FetchRefused for one that cannot be used."""
    parts = urlsplit(text if "://" in text else f"http://{text}")
    port = parts.port or 80
    if parts.scheme != "http" or not parts.hostname:
        raise FetchRefused(
            f"The proxy {parts.scheme}://{parts.hostname or '?'} cannot be used.",
            hint=f"Name an http:// proxy in {variable}, or set NO_PROXY for this host.",
        )
    if ":" not in parts.hostname:
        parts.hostname.encode("idna")
    user = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else ""
    head = basic(user) if user else ""
    return Proxy(parts.hostname, port, head, variable)


def _variable(scheme: str, text: str) -> str:
    """Which one says it; where it is none (the settings of a desktop), the one that goes before."""
    usual = f"{scheme}_proxy"
    names = (usual, usual.upper(), "all_proxy", "ALL_PROXY")
    return next((name for name in names if os.environ.get(name) == text), usual.upper())


def basic(user: str) -> str:
    """NAME:PASSWORD as a header."""
    return "Basic " + base64.b64encode(user.encode()).decode()
