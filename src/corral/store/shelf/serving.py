"""The store as something to be served from: which of its models can be, and when that changes."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Final

from corral.contracts.fetching import Role
from corral.domain.errors import CorralError
from corral.domain.fleet import ModelSpec
from corral.domain.storage import StoredModel, StoreSpec
from corral.kit.tasks import Tasks
from corral.store.shelf.index import Index
from corral.store.shelf.items import STORE, Item
from corral.store.shelf.names import model_name
from corral.store.shelf.pulled import pulled_names
from corral.store.shelf.walk import Walked, walk
from corral.store.supply import store_supply, with_files
from corral.store.uses import Uses, by_content

logger = logging.getLogger(__name__)

POLL_S: Final = 2.0
COST_FACTOR: Final = 50.0  # a look that took long is not made often
SETTLED_S: Final = 2.0  # a folder that changed so lately may change again without another time of change

Stamp = tuple[int, int, int]
"""Size, and mtime and ctime in ns: a mode that is changed may make a file readable."""


def stored_models(spec: StoreSpec, models: Collection[ModelSpec]) -> list[StoredModel]:
    """
    Those that are whole and of which none of these Models uses a file, in the order of their names; and those that one
    of them serves, for the names by which Ollama's clients pull them.

    What a Model means by a reference is looked for in the store; nobody else is asked.
    """
    root = Path(spec.path)
    items = _servable(Index(root), walk(root))
    if not items:
        return []
    supply = store_supply(spec, os.environ)
    here = [with_files(model, supply) for model in models]
    uses, names = Uses(here, by_content), pulled_names(items)
    serves = {by_content(model.source.path): model.name for model in reversed(here) if model.source.path}
    found = []
    for item in items:
        pulled = names.get(item.key, ())
        server = next((serves[same] for path in item.paths if (same := by_content(str(path))) in serves), "")
        if server and pulled:
            found.append(StoredModel(item.name, str(item.path), pulled, model=server))
        elif not uses.of(item.paths):
            found.append(_stored(item, pulled))
    return found


def as_stored(item: Item, items: Sequence[Item]) -> StoredModel:
    """One of these items, with the names that it has among them; what another program keeps has no place of ours."""
    if item.place != STORE:
        adapters = tuple(map(str, item.adapters))
        return StoredModel(item.name, str(item.path), projector=str(item.projector or ""), adapters=adapters)
    return _stored(item, pulled_names(_usable(items)).get(item.key, ()))


def _servable(index: Index, walked: Walked) -> list[Item]:
    return _usable(index.items_of(walked))


def _usable(items: Iterable[Item]) -> list[Item]:
    found = [item for item in items if item.role is Role.MODEL and not item.problem]
    return sorted(found, key=lambda each: each.name)


def _stored(item: Item, pulled: tuple[str, ...]) -> StoredModel:
    aliases = tuple(dict.fromkeys(each for each in (model_name(item.key), *pulled) if each != item.name))
    return StoredModel(
        item.name,
        str(item.path),
        aliases,
        str(item.projector or ""),
        next(iter(pulled), ""),
        adapters=tuple(map(str, item.adapters)),
    )


class StoreWatch:
    """
    Calls `changed` when models have come or gone, whoever brought or took them.

    Only folders are looked at, and files that are not whole; the store is walked when one of them is another. `known`
    are the Models that are served to begin with.
    """

    def __init__(
        self,
        root: str,
        changed: Callable[[], Awaitable[object]],
        *,
        known: Collection[ModelSpec] = (),
        now: Callable[[], float] = time.time,
    ) -> None:
        self._root, self._changed, self._now = Path(root), changed, now
        self._known = known
        self._seen: list[StoredModel] | None = None
        self._paths: list[str] = []
        self._look: list[Stamp] = []
        self._cost_s = 0.0

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self.step()
            await asyncio.sleep(max(POLL_S, COST_FACTOR * self._cost_s))

    async def step(self) -> None:
        """Look once."""
        if not await asyncio.to_thread(self._differs):
            return
        try:
            await self._changed()
        except CorralError as error:
            logger.error("the store has changed, and its models were not taken up: %s", error.sentence())

    def _differs(self) -> bool:
        """Whether the models are others than at the look before."""
        began = time.perf_counter()
        try:
            if self._seen is not None and self._look == [self._stamp(path) for path in self._paths]:
                return False
            walked = walk(self._root)
            items = _servable(Index(self._root), walked)
            names, before = pulled_names(items), self._seen
            found = [_stored(item, names.get(item.key, ())) for item in items]
            self._seen, self._paths = found, _watched(walked, found, self._root)
            self._look = [self._stamp(path) for path in self._paths]
        finally:
            self._cost_s = time.perf_counter() - began
        if before is None:
            known, self._known = Uses(self._known, by_content), ()
            return not all(known.of(item.paths) for item in items)
        return found != before

    def _stamp(self, path: str) -> Stamp:
        """A folder that has just changed is no folder yet: it may change again at the same time of its clock."""
        try:
            status = (self._root / path).stat()
        except OSError:
            return -1, -1, -1
        fresh = 0 <= self._now() - status.st_mtime < SETTLED_S
        return status.st_size, -2 if fresh else status.st_mtime_ns, status.st_ctime_ns


def _watched(walked: Walked, found: Sequence[StoredModel], root: Path) -> list[str]:
    whole = {each.path for each in found}
    paths = ((seen.path, str(root / seen.path)) for seen in walked.models)
    parts = (path for path, full in paths if full not in whole or os.path.islink(full))
    return ["", *(folder for folder in walked.folders if folder), *parts]


class StoreServing:
    """The watch over a store, which a reload of the config turns on and off. `changed` as in StoreWatch."""

    def __init__(self, changed: Callable[[], Awaitable[object]]) -> None:
        self._changed = changed
        self._tasks = Tasks("store")
        self._watch: asyncio.Task[None] | None = None

    def follow(self, spec: StoreSpec, models: Collection[ModelSpec]) -> None:
        """Watch where `store.serve` says so; `models` are those that are served now."""
        if not spec.serve:
            if self._watch is not None:
                self._watch.cancel()
            self._watch = None
        elif self._watch is None or self._watch.done():
            watch = StoreWatch(spec.path, self._changed, known=models)
            self._watch = self._tasks.start(watch.run(), name="watch")

    async def aclose(self) -> None:
        """Look no more."""
        await self._tasks.aclose()
