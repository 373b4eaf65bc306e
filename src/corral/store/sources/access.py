"""
Whom to ask, and with which tokens: the config's settings, and what people who use the hub already have set.

`HF_ENDPOINT`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HOME` and `HF_HUB_OFFLINE` mean what they mean to the hub's own client.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from corral.domain.storage import StoreSpec
from corral.store.fetch.rules import WebRules, origin_of, target_of
from corral.store.shelf.caches.finding import Caches

HUB: Final = "https://huggingface.co"
_TRUE: Final = ("1", "true", "yes", "on")
_LONGEST_TOKEN: Final = 4096


@dataclass(frozen=True, slots=True)
class Access:
    """
    What it takes to ask. `endpoint` is the hub's address, without a slash at its end; `caches` are what is looked at
    where nobody can be asked.
    """

    endpoint: str
    rules: WebRules
    caches: Caches | None = None


def access(
    spec: StoreSpec, env: Mapping[str, str], *, insecure: bool = False, private: bool = False, offline: bool = False
) -> Access:
    """The access that these settings give. Reads the hub's token file. Raises FetchRefused for a bad `HF_ENDPOINT`."""
    endpoint = (spec.endpoint or env.get("HF_ENDPOINT", "").strip() or HUB).rstrip("/")
    trusted = set(spec.trusted)
    if endpoint != HUB:
        trusted.add(origin_of(endpoint))
    host = target_of(endpoint).authority
    tokens = dict(spec.tokens)
    found = hub_token(env, own=endpoint == HUB)
    if found:
        tokens.setdefault(host, found)
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
    )


def is_offline(spec: StoreSpec, env: Mapping[str, str]) -> bool:
    """Whether nobody is to be asked."""
    return spec.offline or env.get("HF_HUB_OFFLINE", "").lower() in _TRUE


def hub_token(env: Mapping[str, str], *, own: bool) -> str:
    """
    The token of the environment, else the one that `hf auth login` has left.

    The latter was given for the hub's `own` address and goes to no mirror.
    """
    named = env.get("HF_TOKEN", "").strip() or env.get("HUGGING_FACE_HUB_TOKEN", "").strip()
    if named or not own:
        return _clean(named)
    home = env.get("HOME") or os.path.expanduser("~")
    cache = env.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    folder = env.get("HF_HOME") or os.path.join(cache, "huggingface")
    path = Path(env.get("HF_TOKEN_PATH") or os.path.join(folder, "token")).expanduser()
    try:
        with path.open("rb") as file:
            return _clean(file.read(_LONGEST_TOKEN + 1).decode("ascii", "replace").strip())
    except OSError:
        return ""


def _clean(token: str) -> str:
    """What cannot be sent is no token."""
    return token if len(token) <= _LONGEST_TOKEN and all(33 <= ord(char) <= 126 for char in token) else ""
