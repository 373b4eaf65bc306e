"""Fetching as the rest of Corral knows it (`contracts.fetching`): references are planned, and plans carried out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from corral.contracts.fetching import Fetched, Plan, Told
from corral.domain.references import FileReference, OllamaReference, Reference
from corral.domain.storage import StoreSpec
from corral.store.borrowing import borrow
from corral.store.fetch.patience import never
from corral.store.fetch.pulling import Pulling, quiet
from corral.store.fetch.web import Web
from corral.store.shelf.caches.finding import Caches
from corral.store.sources import ollama
from corral.store.sources.access import access
from corral.store.sources.planning import Sources


class StoreFetches:
    """
    `contracts.fetching.Fetches` over these settings and this environment (the hub's token, its mirror, proxies).

    `insecure` and `private` are leave for plain http and for addresses that are not public.
    """

    def __init__(
        self, spec: StoreSpec, env: Mapping[str, str], *, insecure: bool = False, private: bool = False
    ) -> None:
        self.root = Path(spec.path)
        self.sources = Sources(access(spec, env, insecure=insecure, private=private))
        self._connections = spec.connections
        self._caches = Caches(env)

    def plan(self, reference: Reference, *, quant: str = "", file: str = "", sha256: str = "", name: str = "") -> Plan:
        """See `contracts.fetching.Fetches.plan`; `name` is the file's in the store, for an https:// address."""
        return self.sources.plan(reference, quant=quant, file=file, sha256=sha256, name=name)

    def fetch(self, plan: Plan, told: Told = quiet, *, stop: Callable[[], bool] = never) -> Fetched:
        """
        See `contracts.fetching.Fetches.fetch`. Files of this machine stay where they are; what another program has
        fetched already is linked and not fetched again.
        """
        if isinstance(plan.reference, FileReference):
            return Fetched(plan, tuple(Path(url2pathname(urlsplit(each.url).path)) for each in plan.files))
        borrow(self.root, plan, self._caches.found, told, stop)
        web = self.sources.web
        if isinstance(plan.reference, OllamaReference):
            web = Web(ollama.admitted(web.rules, plan.reference))
        return Pulling(self.root, web, self._connections).fetch(plan, told, stop=stop)

    def places(self, plan: Plan) -> tuple[Path, ...]:
        """Where the files of a plan are, or will be."""
        if isinstance(plan.reference, FileReference):
            return self.fetch(plan).paths
        return tuple(self.root / each.path for each in plan.files)
