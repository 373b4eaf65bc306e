"""
Changes to the config of a Corral that serves, asked for by its clients: names of Models come and go.

The file is changed as `corral config set` does it (comments stay, a bad config is never written), then read again as
with SIGHUP. If that fails the file gets back what it had. Implements `contracts.changes.Changes`.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from corral.config import editing, files, write
from corral.config.base import EngineRules
from corral.config.document import Document
from corral.config.editing import UNSET, Change, EditPlan
from corral.config.load import load_document
from corral.config.problems import ConfigErrors, Keys
from corral.config.settings import Settings
from corral.domain.errors import ConfigError, Conflict, CorralError
from corral.kit.tasks import Tasks

logger = logging.getLogger(__name__)

DEADLINE_S: Final = 60.0
Read = Callable[[], Settings]
Decide = Callable[[Mapping[str, Any]], list[Change]]
"""From what the file says to the changes, each of which must leave a good config."""


class ConfigChanges:
    """`file` "" and `read` None: there is no config to change. `reload` takes what `read` gives into service."""

    def __init__(
        self,
        file: str,
        engines: Mapping[str, EngineRules],
        read: Read | None,
        reload: Callable[[Read], Awaitable[object]],
    ) -> None:
        self._file, self._engines, self._read, self._reload = file, engines, read, reload
        self._lock = asyncio.Lock()
        self._tasks = Tasks("config changes")

    async def add_alias(self, model: str, alias: str) -> None:
        """At the end of the Model's aliases."""
        await self._make(lambda data: [Change((*_entry(data, model), "aliases"), alias, append=True)])

    async def remove_alias(self, model: str, alias: str) -> None:
        """The last one takes the key with it."""
        await self._make(lambda data: [_without(data, (*_entry(data, model), "aliases"), alias)])

    async def remove_model(self, model: str) -> None:
        """Groups let it go first, so that each step leaves a good config."""

        def decide(data: Mapping[str, Any]) -> list[Change]:
            entry = _entry(data, model)
            groups = data.get("groups")
            members: list[Keys] = [("groups", name, "members") for name in groups] if isinstance(groups, dict) else []
            return [*(_without(data, keys, model) for keys in members if _has(data, keys, model)), Change(entry, UNSET)]

        await self._make(decide)

    async def aclose(self) -> None:
        """End what is under way: the file is whole at every moment."""
        await self._tasks.aclose()

    async def _make(self, decide: Decide) -> None:
        """A client that leaves must not leave a file behind that is changed but not in force, so it is a task."""
        if not self._file or self._read is None:
            raise Conflict(
                "This Corral has no config file that could be changed.", hint="`corral config init` writes one."
            )
        task = self._tasks.start(self._change(decide, self._read), name="change")
        done, _ = await asyncio.wait({task}, timeout=DEADLINE_S)
        if not done:
            raise Conflict("The config takes long to change.", hint="/api/tags shows when it is done.")
        outcome = task.result()
        if outcome is not True:
            raise outcome if isinstance(outcome, CorralError) else CorralError("The config could not be changed.")

    async def _change(self, decide: Decide, read: Read) -> CorralError | bool:
        async with self._lock:
            plans: list[EditPlan] = []
            try:
                await asyncio.to_thread(self._write, decide, plans)
                await self._reload(read)
            except CorralError as error:
                await asyncio.to_thread(_undo, plans)
                return _told(error)
        for plan in plans:
            logger.info("changed %s for a client", plan.file)
        return True

    def _write(self, decide: Decide, plans: list[EditPlan]) -> None:
        for change in decide(files.read_file(self._file).data):
            plan = editing.plan_change(self._file, change, check=self._check)
            if plan.remaining:
                raise ConfigErrors(plan.remaining)
            write.replace(plan.file, plan.before, plan.after)
            plans.append(plan)

    def _check(self, document: Document) -> None:
        load_document(document, engines=self._engines, env=os.environ, cwd=os.getcwd())


def _undo(plans: list[EditPlan]) -> None:
    for plan in reversed(plans):
        try:
            write.replace(plan.file, plan.after, plan.before)
        except CorralError as error:
            logger.error("a change to the config could not be taken back: %s", error.sentence())


def _told(error: CorralError) -> CorralError:
    if not isinstance(error, ConfigError):
        return error
    return Conflict(f"The config was not changed: {error.message}", hint=error.hint)


def _entry(data: Mapping[str, Any], model: str) -> Keys:
    """Where the Model stands. Raises Conflict for one that came with the command line."""
    if model not in (data.get("models") or {}):
        raise Conflict(
            f"The Model {model!r} is not in the config file.", hint="It came with the command line, or from the store."
        )
    return ("models", model)


def _listed(data: Mapping[str, Any], keys: Keys) -> Any:
    found: Any = data
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def _has(data: Mapping[str, Any], keys: Keys, value: str) -> bool:
    found = _listed(data, keys)
    return found == value or (isinstance(found, list) and value in found)


def _without(data: Mapping[str, Any], keys: Keys, value: str) -> Change:
    """Take one value out of a list, or out of the place where a single one stands for a list."""
    found = _listed(data, keys)
    if not _has(data, keys, value):
        raise Conflict(f"{value!r} is not written as such in the config file.", hint="Change it there by hand.")
    alone = not isinstance(found, list) or len(found) == 1
    return Change(keys if alone else (*keys, found.index(value)), UNSET)
