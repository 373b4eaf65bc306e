"""Where model files are kept and whom they may come from, as the operator says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StoreSpec:
    """
    The store's settings. `endpoint` "" is the hub's own address, or what the environment names.

    `tokens` by host, each for that host alone. Origins in `trusted` (`http://10.0.0.5:8000`) may be plain http and have
    addresses that the internet does not route.
    """

    path: str = ""
    endpoint: str = ""
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)
    trusted: frozenset[str] = frozenset()
    connections: int = 4  # for one file
    auto_download: bool = True
    offline: bool = False
    serve: bool = False  # models in the store that no Model of the config names


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model in the store that may be served without an entry in the config, by its name and its aliases."""

    name: str
    path: str
    aliases: tuple[str, ...] = ()
    projector: str = ""
