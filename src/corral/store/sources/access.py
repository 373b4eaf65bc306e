"""
Whom to ask, and with which tokens: the config's settings, and what people who use the hub already have set.

`HF_ENDPOINT`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HOME` and `HF_HUB_OFFLINE` mean what they mean to the hub's own client.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from corral.domain.errors import FetchRefused
from corral.domain.storage import StoreSpec
from corral.kit.homes import expanded
from corral.store.fetch.rules import WebRules, origin_of, target_of
from corral.store.shelf.caches.finding import Caches

HUB: Final = "https://huggingface.co"
_TRUE: Final = ("1", "true", "yes", "on")
_LONGEST_TOKEN: Final = 4096


@dataclass(frozen=True, slots=True)
class Access:
    """
    What it takes to ask. `endpoint` is the hub's address, without a slash at its end; `caches` are what is looked at
    where nobody can be asked. `fault` is a sentence about a token for the hub that cannot be sent.
    """

    endpoint: str
    rules: WebRules
    caches: Caches | None = None
    fault: str = ""


def access(
    spec: StoreSpec, env: Mapping[str, str], *, insecure: bool = False, private: bool = False, offline: bool = False
) -> Access:
    """The access that these settings give. Reads the hub's token file. Raises FetchRefused for a bad `HF_ENDPOINT`."""
    endpoint = (spec.endpoint or env.get("HF_ENDPOINT", "").strip() or HUB).rstrip("/")
    trusted = set(spec.trusted)
    try:
        host = target_of(endpoint).authority
        if endpoint != HUB:
            trusted.add(origin_of(endpoint))
    except FetchRefused as error:
        named = "store.endpoint" if spec.endpoint else "HF_ENDPOINT"
        raise FetchRefused(f"{named}: {error.message}", hint=f"Set {named} to https://HOST.") from None
    tokens, fault = dict(spec.tokens), ""
    found, where = hub_token(env, own=endpoint == HUB)
    if found and host not in tokens:
        if _can_be_sent(found):
            tokens[host] = found
        else:
            fault = f"{where} is no token that can be sent: it has spaces, other signs than ASCII has, or no end."
    return Access(
        endpoint,
        WebRules(
            insecure=insecure,
            private=private,
            offline=offline or is_offline(spec, env),
            tokens=tokens,
            trusted=frozenset(trusted),
        ),
        Caches(env),
        fault,
    )


def is_offline(spec: StoreSpec, env: Mapping[str, str]) -> bool:
    """Whether nobody is to be asked."""
    return spec.offline or env.get("HF_HUB_OFFLINE", "").lower() in _TRUE


def hub_token(env: Mapping[str, str], *, own: bool) -> tuple[str, str]:
    """
    The token of the environment, else the one that `hf auth login` has left, and where it stands; "" where none is.

    The latter was given for the hub's `own` address and goes to no mirror.
    """
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if named := env.get(name, "").strip():
            return named, name
    if not own:
        return "", ""
    home = env.get("HOME") or os.path.expanduser("~")
    cache = env.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    folder = env.get("HF_HOME") or os.path.join(cache, "huggingface")
    path = expanded(env.get("HF_TOKEN_PATH") or os.path.join(folder, "token"))
    try:
        with path.open("rb") as file:
            return file.read(_LONGEST_TOKEN + 1).decode("ascii", "replace").strip(), f"What stands in {path}"
    except OSError:
        return "", ""


def _can_be_sent(token: str) -> bool:
    return len(token) <= _LONGEST_TOKEN and all(33 <= ord(char) <= 126 for char in token)
