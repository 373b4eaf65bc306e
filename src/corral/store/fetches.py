"""Fetching as the rest of Corral knows it (`contracts.fetching`): references are planned, and plans carried out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from corral.contracts.fetching import Fetched, Plan, Progress, RemoteFile, Told
from corral.domain.errors import FetchRefused, FetchStopped, WrongContent
from corral.domain.references import BadReference, FileReference, OllamaReference, Reference, narrowed
from corral.domain.storage import StoreSpec
from corral.store.borrowing import borrow
from corral.store.fetch import linked
from corral.store.fetch.denial import TooBusy
from corral.store.fetch.disk import disk_errors, sha256_of
from corral.store.fetch.patience import never
from corral.store.fetch.pulling import Pulling, quiet
from corral.store.fetch.standing import Standing, standing
from corral.store.fetch.web import Web
from corral.store.fetch.wire import Interrupted
from corral.store.holding import kept
from corral.store.housing import housed
from corral.store.noting import note
from corral.store.shelf import origin
from corral.store.shelf.caches.finding import Caches
from corral.store.sources import ollama
from corral.store.sources.access import access
from corral.store.sources.cached import local_path
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

    def plan(
        self,
        reference: Reference,
        *,
        quant: str = "",
        file: str = "",
        sha256: str = "",
        name: str = "",
        stop: Callable[[], bool] = never,
    ) -> Plan:
        """See `contracts.fetching.Fetches.plan`; `name` is the file's in the store, for an https:// address."""
        sources = Sources(self.sources.access, Web(self.sources.web.rules, stop=stop))
        return housed(self.root, sources.plan(reference, quant=quant, file=file, sha256=sha256, name=name))

    def plan_or_kept(
        self,
        reference: Reference,
        *,
        quant: str = "",
        file: str = "",
        sha256: str = "",
        name: str = "",
        stop: Callable[[], bool] = never,
    ) -> tuple[Plan, str]:
        """
        The same; where nobody can be asked, what is here of it already, else what other programs have.

        Then a sentence says so; else it is empty.
        """
        look = partial(self._kept, reference, quant=quant, file=file, sha256=sha256, name=name)
        try:
            plan = self.plan(reference, quant=quant, file=file, sha256=sha256, name=name, stop=stop)
        except (FetchRefused, Interrupted, TooBusy) as error:
            here = look()
            if here is None:
                raise
            return here, f"{error.message} What is here is taken."
        if not plan.unasked:
            return plan, ""
        here = look()
        where = "here" if here is not None else "in another program's cache"
        return here or plan, f"{plan.unasked} What is {where} is taken."

    def _kept(self, reference: Reference, *, quant: str, file: str, sha256: str, name: str) -> Plan | None:
        try:
            return None if name else kept(self.root, narrowed(reference, quant=quant, file=file), sha256=sha256)
        except BadReference:
            return None

    def fetch(self, plan: Plan, told: Told = quiet, *, stop: Callable[[], bool] = never) -> Fetched:
        """
        See `contracts.fetching.Fetches.fetch`. Files of this machine stay where they are, and are hashed where a hash
        is wanted; what another program has fetched already is used from there and not fetched again.
        """
        if isinstance(plan.reference, FileReference):
            for file, path in zip(plan.files, self.places(plan), strict=True):
                _check_hash(file, path, told, stop)
            return Fetched(plan, self.places(plan))
        borrow(self.root, plan, self._caches.found, told, stop)
        if plan.unasked and not self.here(plan):
            raise FetchRefused(
                f"{plan.unasked} In its place the store has another file, or one that is just coming.",
                hint="Remove what is there (`corral models remove`), or go online.",
            )
        web, reference = self.sources.web, plan.reference
        if isinstance(reference, OllamaReference) and not self.here(plan):
            admit = partial(ollama.admitted, web.rules, reference, stop)
            web = Web(admit(), admit=admit)  # a token is good for some minutes, and a fetch may take hours
        fetched = Pulling(self.root, web, self._connections).fetch(plan, told, stop=stop)
        note(self.root, plan)
        return fetched

    def here(self, plan: Plan) -> bool:
        """Whether all of it is here, as far as that can be told without hashing."""
        return all(
            linked.is_there(path) and self._right(plan, file, path.stat().st_size)
            for file, path in zip(plan.files, self.places(plan), strict=True)
        )

    def _right(self, plan: Plan, file: RemoteFile, size: int) -> bool:
        if isinstance(plan.reference, FileReference):
            return file.size_bytes in (None, size)
        return standing(origin.read(self.root, file.path), plan.reference, file, size) is Standing.RIGHT

    def places(self, plan: Plan) -> tuple[Path, ...]:
        """Where the files of a plan are, or will be."""
        if isinstance(plan.reference, FileReference):
            return tuple(local_path(each) or self.root / each.path for each in plan.files)
        return tuple(self.root / each.path for each in plan.files)


def _check_hash(file: RemoteFile, path: Path, told: Told, stop: Callable[[], bool]) -> None:
    if not file.sha256:
        return
    done = 0

    def hashed(more: int) -> None:
        nonlocal done
        done += more
        told(Progress(done, file.size_bytes, file=path.name, doing="verifying"))

    with disk_errors(f"{path} cannot be read"), path.open("rb") as opened:
        digest = sha256_of(opened.fileno(), stop, hashed)
    if not digest:
        raise FetchStopped()
    if digest != file.sha256:
        raise WrongContent(
            f"{path} is not what you want: its SHA-256 is {digest}, not {file.sha256}.",
            hint="Somebody has changed it, or the hash is of another file.",
        )
