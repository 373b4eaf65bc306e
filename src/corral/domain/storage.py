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
    api_pull: bool = True  # clients with the scope `admin` may have models fetched


@dataclass(frozen=True, slots=True)
class StoredModel:
    """
    A model in the store that may be served without an entry in the config, by its name and its aliases.

    `pulled` is the one of them that Ollama's clients call it by, "" where none of them could have pulled it. `model` is
    the Model of the config that serves it anyway, which only gets its aliases.
    """

    name: str
    path: str
    aliases: tuple[str, ...] = ()
    projector: str = ""
    pulled: str = ""
    model: str = ""
    adapters: tuple[str, ...] = ()
