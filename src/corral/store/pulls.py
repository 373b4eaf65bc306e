"""
Pulls for clients (`contracts.pulling`): one fetch for all who want the same, for as long as somebody follows it.

What blocks runs in threads of their own. A fetch that nobody follows is told to stop; who asks again meanwhile begins
another, which waits for the first to let go of its files and goes on with what it has left.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from corral.contracts.clock import Clock
from corral.contracts.events import Publisher
from corral.contracts.fetching import Plan, Role
from corral.contracts.pulling import Coming, ComingFile, PullWanted
from corral.domain.errors import (
    Conflict,
    CorralError,
    FetchRefused,
    FetchStopped,
    Forbidden,
    NotThere,
    PlaceFailed,
    ShuttingDown,
    StoreFailed,
)
from corral.domain.events import FetchFinished
from corral.domain.fetching import Progress, Traffic
from corral.domain.fleet import ModelSpec, Source
from corral.domain.references import (
    OLLAMA_REGISTRY,
    BadReference,
    HubReference,
    OllamaReference,
    Reference,
    folded,
    parse,
)
from corral.domain.storage import StoreSpec
from corral.kit.daemons import in_daemon
from corral.kit.tasks import Tasks
from corral.kit.turns import Turn, Turns
from corral.store.fetch.denial import TooBusy
from corral.store.fetch.wire import Interrupted
from corral.store.fetches import StoreFetches
from corral.store.shelf import origin
from corral.store.supply import StoreSupply

logger = logging.getLogger(__name__)

T = TypeVar("T")

AT_ONCE: Final = 4
"""Pulls that fetch at the same time; who only waits for its server or another process does not count."""

MOST: Final = 32
"""Threads. With so many who all look or wait, the next pull waits too."""

LOOK_S: Final = 0.1
"""How often a follower hears of what has come."""

QUIET_S: Final = 5.0
"""After which it hears even of nothing, so that whatever is in between does not take it for dead."""

TakenUp = Callable[[], Awaitable[object]]
Came = Callable[[ModelSpec, Source], Awaitable[None]]


@dataclass(eq=False, slots=True)
class _Pull:
    """One fetch. `coming` is replaced by its thread and read on the loop."""

    wanted: PullWanted
    label: str
    followers: int = 0
    stop: threading.Event = field(default_factory=threading.Event)
    coming: Coming = ()
    error: CorralError | None = None
    traffic: Traffic = field(default_factory=Traffic)
    task: asyncio.Task[object] | None = None
    turn: Turn | None = None

    def planned(self, plan: Plan) -> None:
        """What will come."""
        self.coming = tuple(ComingFile(each.path, each.sha256, each.size_bytes) for each in plan.files)

    def told(self, progress: Progress) -> None:
        """How far one of the files is."""
        self.traffic.count(progress)
        size, done = progress.file_bytes, progress.file_done_bytes
        self.coming = tuple(
            dataclasses.replace(each, done_bytes=done, size_bytes=each.size_bytes if size is None else size)
            if each.path == progress.path
            else each
            for each in self.coming
        )
        if self.turn is not None:
            begins = progress.doing == "queued"
            self.turn.follow(begins=begins, waits=progress.waits, stop=self.stop.is_set)


class StorePulls:
    """
    Over the store of the settings that are in force. Models of the config get their files from `supply`, and then
    `came` is awaited; after any other pull `taken_up` is, None where nothing can be taken up.
    """

    def __init__(
        self,
        spec: Callable[[], StoreSpec],
        supply: StoreSupply,
        env: Mapping[str, str],
        *,
        came: Came,
        taken_up: TakenUp | None,
        publisher: Publisher,
        clock: Clock,
    ) -> None:
        self._spec, self._supply, self._env = spec, supply, env
        self._came, self._taken_up = came, taken_up
        self._publisher, self._clock = publisher, clock
        self._tasks = Tasks("pulls")
        self._most = asyncio.Semaphore(MOST)
        self._turns = Turns(AT_ONCE)
        self._running: dict[Hashable, _Pull] = {}
        self._closed = False

    def refusal(self, wanted: PullWanted) -> CorralError | None:
        """See `contracts.pulling.Pulls.refusal`."""
        spec = self._spec()
        if not spec.api_pull:
            return Forbidden(
                "Clients may not have models fetched here: store.api_pull is off.",
                hint="`corral models pull` fetches them on the server.",
            )
        if wanted.reference is not None and (self._taken_up is None or not spec.serve):
            return Conflict(
                f"{wanted.reference} would not be served: store.serve is off, and no Model of the config has the name.",
                hint="Set store.serve: true, or add a Model with this source to the config.",
            )
        return _insecure(wanted, spec)

    async def follow(self, wanted: PullWanted) -> AsyncGenerator[Coming, None]:
        """See `contracts.pulling.Pulls.follow`."""
        pull = self._joined(wanted)
        assert pull.task is not None
        pull.followers += 1
        try:
            said: Coming | None = None
            quiet_s = 0.0
            while not pull.task.done():
                if pull.coming is not said or quiet_s >= QUIET_S:
                    said, quiet_s = pull.coming, 0.0
                    yield said
                await asyncio.wait({pull.task}, timeout=LOOK_S)
                quiet_s += LOOK_S
            if pull.coming is not said and pull.error is None:
                yield pull.coming
        finally:
            pull.followers -= 1
            if not pull.followers:
                pull.stop.set()
        if pull.error is not None:
            raise pull.error

    async def aclose(self) -> None:
        """End all; nobody waits for a server that says nothing."""
        self._closed = True
        for pull in self._running.values():
            pull.error = ShuttingDown()
            pull.stop.set()
        await self._tasks.aclose()

    # --- inside ---------------------------------------------------------------------------------------------------

    def _joined(self, wanted: PullWanted) -> _Pull:
        if self._closed:
            raise ShuttingDown()
        key = _key(wanted)
        pull = self._running.get(key)
        if pull is None or pull.stop.is_set():
            pull = self._running[key] = _Pull(wanted, _label(wanted))
            pull.task = self._tasks.start(
                self._run(key, pull), name=f"pull {pull.label}", failed=lambda error: _broke(pull, error)
            )
        return pull

    async def _run(self, key: Hashable, pull: _Pull) -> None:
        wanted, began = pull.wanted, self._clock.now()
        outcome = "ended"
        try:
            if wanted.reference is None and wanted.model is not None:
                source = await self._in_turn(pull, partial(self._bring, pull, wanted.model.source))
                await self._came(wanted.model, source)
            else:
                fetched = await self._in_turn(pull, partial(self._fetch, pull))
                if fetched and self._taken_up is not None:
                    await self._taken_up()
            outcome = "fetched" if pull.traffic.fetched_bytes else "there"
        except FetchStopped as error:
            pull.error = pull.error or error
            logger.info("[%s] Stopped: nobody follows it. What has come is kept.", pull.label)
        except CorralError as error:
            pull.error, outcome = error, "failed"
            logger.error("[%s] Failed to pull it for a client: %s", pull.label, error.sentence())
        finally:
            if self._running.get(key) is pull:
                del self._running[key]
            seconds = self._clock.now() - began
            self._publisher.publish(FetchFinished(_counted(pull), outcome, pull.traffic.fetched_bytes, seconds))

    async def _in_turn(self, pull: _Pull, work: Callable[[], T]) -> T:
        async with self._most:
            turn = pull.turn = self._turns.turn()
            try:
                return await in_daemon(work, name=f"pull {pull.label}")
            finally:
                turn.end()

    def _bring(self, pull: _Pull, source: Source) -> Source:
        """What a Model of the config is served from. Who asks for it by hand may, whatever `auto_download` says."""
        asked = dataclasses.replace(source, path="", projector="", adapters=(), auto_download=True)
        brought = self._supply.bring(asked, pull.told, pull.stop.is_set, planned=self._planned(pull))
        return dataclasses.replace(brought, auto_download=source.auto_download)

    def _fetch(self, pull: _Pull) -> bool:
        """Whether there was something to look for."""
        reference = self._place(pull.wanted)
        if reference is None:
            return False
        fetches = StoreFetches(self._spec(), self._env)
        try:
            plan, unasked = fetches.plan_or_kept(reference, stop=pull.stop.is_set)
        except (FetchRefused, Interrupted, TooBusy) as error:
            if pull.wanted.model is None or pull.wanted.model.source.wanting:
                raise
            logger.info("[%s] %s What is here is served.", pull.label, error.message)
            return False
        if unasked:
            logger.info("[%s] %s", pull.label, unasked)
        _check_model(plan)
        self._planned(pull)(plan)
        fetches.fetch(plan, pull.told, stop=pull.stop.is_set)
        logger.info("[%s] Model pulled to %s", pull.label, fetches.places(plan)[0])
        return True

    def _planned(self, pull: _Pull) -> Callable[[Plan], None]:
        def planned(plan: Plan) -> None:
            if pull.stop.is_set():
                raise FetchStopped()
            logger.info("[%s] Pulling model from %s for a client", pull.label, plan.reference)
            pull.planned(plan)

        return planned

    def _place(self, wanted: PullWanted) -> Reference | None:
        """
        Where to look; None for a Model that never came from where its name seems to say.

        As it was written when it came: the name that a client writes may differ in upper and lower case.
        """
        reference = wanted.reference
        if wanted.model is None or reference is None:
            return reference
        came_from = self._came_from(Path(wanted.model.source.path))
        if came_from is not None and str(came_from).casefold() == str(reference).casefold():
            return came_from
        if isinstance(reference, HubReference) and isinstance(came_from, HubReference):
            return reference if came_from.repo.casefold() == reference.repo.casefold() else None
        return None

    def _came_from(self, path: Path) -> Reference | None:
        try:
            root = os.path.abspath(self._spec().path)
            said = origin.read(Path(root), path.relative_to(root).as_posix())
            return parse(said.reference) if said is not None else None
        except (ValueError, StoreFailed, BadReference):  # not in the store, or not fetched into it
            return None


def _check_model(plan: Plan) -> None:
    """Whoever pulls means to run it. Raises NotThere."""
    role = plan.files[0].role
    if role is not Role.MODEL:
        what = {Role.PROJECTOR: "a projector", Role.ADAPTER: "an adapter"}.get(role, "no model")
        raise NotThere(
            f"{plan.reference} is {what}, and nothing that could be served by its name.",
            hint="Name a model of that repository.",
        )


def _insecure(wanted: PullWanted, spec: StoreSpec) -> CorralError | None:
    reference = wanted.reference
    if not wanted.insecure or not isinstance(reference, OllamaReference) or reference.host == OLLAMA_REGISTRY:
        return None
    origin_ = f"http://{reference.host.lower()}"
    if origin_ in spec.trusted:
        return None
    return Forbidden(
        f"Plain http to {reference.host} is not for clients to allow.",
        hint=f"Put {origin_} into store.trusted, or ask without `insecure`.",
    )


def _broke(pull: _Pull, error: Exception) -> None:
    pull.error = PlaceFailed(f"The pull broke: {error!r}.")


def _key(wanted: PullWanted) -> Hashable:
    """The same for those who want the same."""
    if wanted.reference is not None:
        return folded(wanted.reference)
    if wanted.model is None:
        return None
    return wanted.model.source


def _counted(pull: _Pull) -> str:
    """By what name it counts: of what nobody has found the name is a client's, who could make up any number of them."""
    return pull.label if pull.wanted.model is not None or pull.coming else ""


def _label(wanted: PullWanted) -> str:
    return wanted.model.name if wanted.model is not None else str(wanted.reference)
