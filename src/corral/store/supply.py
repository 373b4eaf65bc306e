"""
Where Models get their files from (`contracts.fetching.Supply`): what is here already, and how the rest comes here.

What is here is found by looking, with nobody asked: a machine without a network serves what it has. A file is in its
place only when it is whole, and the one that an engine is given is put there last.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from corral.contracts.fetching import Fetches, Plan, Role, Supply, Told
from corral.domain.errors import FetchRefused, FileMissing, NotThere, StoreFailed
from corral.domain.fleet import Fleet, ModelSpec, Source
from corral.domain.references import BadReference, Reference, parse
from corral.domain.storage import StoreSpec
from corral.store.fetch.denial import TooBusy
from corral.store.fetch.wire import Interrupted
from corral.store.fetches import StoreFetches
from corral.store.holding import Held, held, held_at, insecure, vouched
from corral.store.placing import check_free, placed

logger = logging.getLogger(__name__)

FetchesInto = Callable[[Path], Fetches]
"""Fetches that put files below this folder."""


class StoreSupply:
    """Over the store in `root`. `into` is asked for when something has to come."""

    def __init__(self, root: Path, into: FetchesInto) -> None:
        self._root = root
        self._into = into

    def here(self, source: Source) -> Source | None:
        """See `contracts.fetching.Supply.here`."""
        found, _ = self._looked(source, _parsed(source))
        return None if found is None or (source.pictures and found.lost) else _with_paths(source, found)

    def _looked(self, source: Source, reference: Reference) -> tuple[Held | None, StoreFailed | None]:
        """What is here, and why that cannot be said."""
        try:
            if source.place:
                found = held_at(Path(source.place), reference)
            else:
                found = held(self._root, reference)
            if found is None:
                return None, None
            model, digest = found.model, source.sha256
            if (not vouched(model, digest)) if digest else insecure(model, reference):
                return None, None
        except FileMissing:  # it went while we looked
            return None, None
        except StoreFailed as error:
            return None, error
        return found, None

    def bring(
        self, source: Source, told: Told, stop: Callable[[], bool], *, planned: Callable[[Plan], None] | None = None
    ) -> Source:
        """See `contracts.fetching.Supply.bring`; `planned` hears what will come."""
        reference = _parsed(source)
        found, unseen = self._looked(source, reference)
        if found is not None and not (source.pictures and found.lost):
            return _with_paths(source, found)
        if found is not None and not source.auto_download:
            logger.info("The projector of %s is not here, and auto_download is off: it is used without.", reference)
            return _with_paths(source, found)
        if not source.auto_download:
            raise unseen or FetchRefused(
                f"{reference} is not here, and auto_download is off.", hint=_by_hand(source, reference)
            )
        try:
            return self._brought(source, reference, told, stop, planned)
        except (FetchRefused, Interrupted, TooBusy) as error:
            if unseen is not None:
                raise unseen from error
            if found is None:
                raise
            logger.info("%s %s is used without its projector.", error.message, reference)
            return _with_paths(source, found)

    def _brought(
        self,
        source: Source,
        reference: Reference,
        told: Told,
        stop: Callable[[], bool],
        planned: Callable[[Plan], None] | None,
    ) -> Source:
        fetches = self._into(Path(source.place).parent if source.place else self._root)
        plan = fetches.plan(reference, sha256=source.sha256, stop=stop)
        if plan.unasked:
            logger.info("%s %s is used from where another program has it.", plan.unasked, reference)
        if source.place:
            plan = placed(plan, Path(source.place).name)
        if not source.pictures:
            plan = plan.without_projector()
        if source.place:
            check_free(Path(source.place).parent, plan, stop)
        if planned is not None:
            planned(plan)
        fetched = fetches.fetch(plan, told, stop=stop)
        return dataclasses.replace(
            source,
            path=str(fetched.model),
            projector=next(iter(map(str, fetched.beside(Role.PROJECTOR))), ""),
            adapters=tuple(map(str, fetched.beside(Role.ADAPTER))),
        )


def store_supply(
    spec: StoreSpec, env: Mapping[str, str], *, insecure: bool = False, private: bool = False
) -> StoreSupply:
    """Over the store of these settings. `insecure` and `private`: see StoreFetches."""

    def into(root: Path) -> StoreFetches:
        return StoreFetches(dataclasses.replace(spec, path=str(root)), env, insecure=insecure, private=private)

    return StoreSupply(Path(spec.path), into)


def resolved(fleet: Fleet, supply: StoreSupply) -> Fleet:
    """The Fleet with the paths of all files that are here. Blocks on the disk, where a Model has a reference."""
    models = {name: with_files(model, supply) for name, model in fleet.models.items()}
    return dataclasses.replace(fleet, models=models)


def with_files(model: ModelSpec, supply: Supply) -> ModelSpec:
    """The Model with the paths of its files where all of them are here."""
    found = supply.here(model.source) if model.source.wanting else None
    return model if found is None else dataclasses.replace(model, source=found)


def _with_paths(source: Source, found: Held) -> Source:
    return dataclasses.replace(
        source,
        path=str(found.model),
        projector=str(found.projector or "") if source.pictures else "",
        adapters=tuple(map(str, found.adapters)),
    )


def _parsed(source: Source) -> Reference:
    try:
        return parse(source.reference)
    except BadReference as error:
        raise NotThere(str(error)) from None


def _by_hand(source: Source, reference: Reference) -> str:
    if source.place:
        return f"Put it at {source.place}, or set auto_download."
    return f"`corral models pull {reference}` fetches it."
