"""
The link to the keeper: connected when needed, taken over from an earlier Corral, cleaned up after when the keeper dies.

It knows of every instance how it ended, or holds the future that will know.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from corral.domain.errors import PlaceFailed
from corral.domain.launch import ExitKind, ExitStatus, Handle
from corral.kit.tasks import Tasks
from corral.runtimes.process import client as keepers
from corral.runtimes.process import sweep
from corral.runtimes.process.client import KeeperClient, KeeperGone, KeeperRefused
from corral.runtimes.process.handle import HandleFiles, exit_status
from corral.runtimes.process.places import Places

logger = logging.getLogger(__name__)

KILL_WAIT_S = 10.0  # between SIGKILL and giving up on a process that the kernel does not let go
_LEAVE_S = 5.0  # from closing its connection to the keeper's end


def _future() -> asyncio.Future[ExitStatus]:
    return asyncio.get_running_loop().create_future()


@dataclass(slots=True)
class Life:
    """An instance that the keeper knows, or knew. `pid` 0: it is being started."""

    pid: int = 0
    grace_s: float = 0.0
    end: asyncio.Future[ExitStatus] = field(default_factory=_future)


class KeeperLink:
    """One Corral's way to its keeper."""

    def __init__(self, places: Places, files: HandleFiles, *, keep_s: float, oom_counter: str) -> None:
        self.lives: dict[str, Life] = {}
        self._early: dict[str, dict[str, Any]] = {}  # ends that came while an earlier Corral's engines are taken over
        self._places = places
        self._files = files
        self._keep_s = keep_s
        self._oom_counter = oom_counter
        self._client: KeeperClient | None = None
        self._connecting: asyncio.Task[KeeperClient | PlaceFailed] | None = None
        self._cleaning: asyncio.Task[None] | None = None
        self._tasks = Tasks("keeper link")
        self._closed = False

    async def keeper(self) -> KeeperClient:
        """The keeper of this state directory, started if there is none. Raises PlaceFailed."""
        if self._closed:
            raise PlaceFailed("The process runtime is closed.")
        if self._client is not None and not self._client.lost:
            return self._client
        if self._connecting is None or self._connecting.done():
            self._connecting = self._tasks.start(self._connect(), name="connect")
        # One for all who wait, and it goes on when they leave: half a connection would be a keeper without an owner.
        result = await asyncio.shield(self._connecting)
        if isinstance(result, PlaceFailed):
            raise result
        return result

    async def _connect(self) -> KeeperClient | PlaceFailed:
        try:
            await self.cleaned()
            try:
                client, hello = await keepers.connect(self._new_client, self._places, self._keep_s)
            except KeeperGone:
                client, hello = await self._spawn()
            if hello["version"] != keepers.VERSION:
                logger.warning("The keeper (pid %d) is of another version: its engines are stopped", client.pid)
                await _retire(client)
                client, hello = await self._spawn()
        except PlaceFailed as error:
            return error
        self._client = client
        try:
            await self._take_over(client, hello["engines"])
        except OSError as error:
            self._client = None
            await client.close()
            return PlaceFailed(f"The handles of an earlier Corral cannot be read or removed: {error}.")
        return client

    async def ask(self, op: str, *, timeout_s: float | None = keepers.REQUEST_TIMEOUT_S, **fields: Any) -> Any:
        """A request to the keeper that runs. Raises KeeperGone, KeeperRefused, PlaceFailed when it does not answer."""
        if self._client is None:
            raise KeeperGone
        try:
            return await self._client.request(op, timeout_s=timeout_s, **fields)
        except TimeoutError:
            raise PlaceFailed(
                f"The keeper (pid {self._client.pid}) did not answer within {timeout_s:g} s.",
                hint="The machine may be overloaded. Ending the keeper ends its engines.",
            ) from None

    async def end_of(self, handle: Handle) -> asyncio.Future[ExitStatus]:
        """The future of the handle's end; done when it has ended already."""
        pid = handle.data.get("pid")
        if pid is not None and handle.instance not in self.lives and not self._closed:
            await self.keeper()  # it may know; a new one has first killed what the last one left
        life = self.lives.get(handle.instance)
        if life is not None and life.pid == pid:
            return life.end
        end = _future()
        end.set_result(await self._end_of_stranger(handle, known=life is not None))
        return end

    async def _end_of_stranger(self, handle: Handle, *, known: bool) -> ExitStatus:
        """How a handle ended that no living keeper knows. One without a pid was placed and never started."""
        if handle.data.get("pid") is None:
            return ExitStatus(ExitKind.LOST, detail="it was never started")
        status = self._files.exit_status(handle.instance, handle.data.get("pid"))
        if status is not None:
            return status
        if not known:  # else the mark is that of its successor
            await sweep.kill_leftovers(self._places.state_id, instance=handle.instance, handle=handle)
        return ExitStatus(ExitKind.LOST, detail="nobody saw how it ended")

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def background(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[Any]:
        """Work that must be done even if whoever asked for it leaves; `close` waits for none of it."""
        return self._tasks.start(work, name=name)

    async def cleaned(self) -> None:
        """Wait until nothing is left of a keeper that died."""
        if self._cleaning is not None:
            await asyncio.shield(self._cleaning)
            self._cleaning = None

    async def close(self, keep_s: float) -> None:
        """End the link; engines are stopped, or kept by the keeper. A second call does nothing."""
        self._closed = True
        if self._connecting is not None:
            await asyncio.shield(self._connecting)
        await self.cleaned()
        if self._client is not None and not self._client.lost:
            await self._leave(self._client, keep_s)
        self._client = None
        await self._tasks.aclose()
        for life in self.lives.values():
            if not life.end.done():
                life.end.set_exception(PlaceFailed("The process runtime is closed."))
                life.end.exception()  # nobody may be waiting

    # --- inside

    def _new_client(self) -> KeeperClient:
        return KeeperClient(self._ended, self._lost)

    async def _spawn(self) -> tuple[KeeperClient, Any]:
        return await keepers.spawn(self._new_client, self._places, self._keep_s, self._oom_counter)

    async def _take_over(self, client: KeeperClient, engines: list[dict[str, Any]]) -> None:
        # Nothing is awaited before all are known: an end that comes later finds its instance.
        with_file = {handle.instance for handle in self._files.all()}
        for engine in engines:
            instance = engine["instance"]
            life = self.lives[instance] = Life(engine["pid"], engine["stop_grace_s"])
            status = engine["status"] or self._early.pop(instance, None)
            if status is not None:
                life.end.set_result(exit_status(status))
        self._early.clear()
        for instance in self.lives.keys() - with_file:
            # Its start was cut off before the handle was written: nobody will ever ask for it.
            await self.discard(instance)
            self._files.remove(instance)

    async def discard(self, instance: str) -> None:
        """End it, if it has not ended, and forget it."""
        life = self.lives[instance]
        try:
            if not life.end.done():
                await self.ask("stop", instance=instance, number=None, grace_s=0.0)
                async with asyncio.timeout(KILL_WAIT_S):
                    await asyncio.shield(life.end)
            await self.ask("forget", instance=instance)
        except KeeperGone:
            await self.cleaned()
        except (KeeperRefused, PlaceFailed, TimeoutError) as error:
            logger.debug("The keeper cannot forget %s: %s", instance, error)
        self.lives.pop(instance, None)

    def _ended(self, instance: str, status: dict[str, Any]) -> None:
        life = self.lives.get(instance)
        if life is None:
            self._early[instance] = status
        elif not life.end.done():
            life.end.set_result(exit_status(status))

    def _lost(self, client: KeeperClient) -> None:
        if client is self._client and not self._closed:
            self._cleaning = self._tasks.start(self._clean(client), name="clean up after the keeper")

    async def _clean(self, client: KeeperClient) -> None:
        """The keeper is gone: so are its engines (parent-death signal); what they started is killed here."""
        await client.reap(_LEAVE_S)
        alive = [instance for instance, life in self.lives.items() if not life.end.done()]
        logger.error("the keeper is gone (pid %d); its %d engines end with it", client.pid, len(alive))
        left = await sweep.kill_leftovers(self._places.state_id)
        if left:
            logger.error("%d processes of the dead keeper do not die", left)
        lost = ExitStatus(ExitKind.LOST, detail=f"its keeper (pid {client.pid}) died")
        for instance in alive:
            life = self.lives.get(instance)
            if life is not None and not life.end.done():
                life.end.set_result(self._files.exit_status(instance, life.pid) or lost)

    async def _leave(self, client: KeeperClient, keep_s: float) -> None:
        alive = [life for life in self.lives.values() if not life.end.done()]
        patience_s = KILL_WAIT_S + max((life.grace_s for life in alive), default=0.0)
        try:
            if keep_s > 0 and alive:
                await client.request("detach", keep_s=keep_s)
                client.let_go()
                await client.close()
                return
            await client.request("shutdown")
            await client.gone(patience_s)
        except (KeeperGone, KeeperRefused, TimeoutError) as error:
            logger.warning("The keeper (pid %d) did not end in order: %r", client.pid, error)
            await client.close()
            # One that was silent has had its time; its engines die with it.
            await self._clean_after_shutdown(client, 0.0 if isinstance(error, TimeoutError) else _LEAVE_S)
        else:
            await self._clean_after_shutdown(client, _LEAVE_S)

    async def _clean_after_shutdown(self, client: KeeperClient, timeout_s: float) -> None:
        await client.reap(timeout_s)
        if any(not life.end.done() for life in self.lives.values()):
            await self._clean(client)


async def _retire(client: KeeperClient) -> None:
    with contextlib.suppress(KeeperGone, KeeperRefused, TimeoutError):
        await client.request("shutdown")
        await client.gone(KILL_WAIT_S)
    await client.close()
    await client.reap(0.0 if client.silent else _LEAVE_S)
