"""
The acts: start, watch, check and stop instances, and take over those of an earlier Corral.

Each instance has one `Running` record and at most one task that changes it at a time (`starting`, then `watching`);
`stop` cancels that task and takes over. What happened is reported as a scheduler event, at least one a command: an act
that breaks in a way that nobody foresaw is cleaned up after and reported as well, or the machine would wait for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final

from corral.contracts.clock import Clock
from corral.contracts.engine import Engine, ReadyInfo
from corral.contracts.runtime import Runtime
from corral.domain import events
from corral.domain.commands import Start
from corral.domain.errors import CorralError, PlaceFailed, StartFailed
from corral.domain.fleet import ModelSpec
from corral.domain.launch import Attach, Endpoint, ExitKind, ExitStatus, Handle, LaunchPlan
from corral.kit.tasks import Tasks
from corral.scheduler import listening
from corral.scheduler.memory import HostMemory, Weighed

logger = logging.getLogger(__name__)

LOG_TAIL: Final = 200
"""Lines of engine output that a diagnosis reads."""

CHECK_S: Final = 2.0
"""How long a suspected engine may take to answer its health route."""

AGAIN_S: Final = 5.0
"""Between two tries to end what does not end."""

LATE_S: Final = 10.0
"""An engine that takes longer to be ready is looked at: it may listen somewhere else."""

DEATH_S: Final = 0.5
"""How long the keeper may take to notice that a silent engine is dead."""


@dataclass(slots=True)
class Running:
    """One instance as the acts know it."""

    instance: str
    model: ModelSpec
    digest: str
    engine: Engine
    runtime: Runtime
    handle: Handle | None = None  # None before the start and for attached engines
    endpoint: Endpoint | None = None
    info: ReadyInfo | None = None
    ready_at: float | None = None  # wall seconds
    start: Start | None = None  # None for one that was found again
    weighing: asyncio.Task[None] | None = None
    stopping: bool = False
    hung: bool = False  # it did not answer any more and is being ended for that
    task: asyncio.Task[Any] | None = None


class Instances:
    """Acts for the scheduler. `report` is where results go; the loop sets it."""

    def __init__(
        self,
        engines: Mapping[str, Engine],
        runtimes: Mapping[str, Runtime],
        *,
        clock: Clock,
        memory: HostMemory | None = None,  # None: nothing is checked and nothing measured
    ) -> None:
        self.report: Callable[[events.SchedulerEvent], None] = lambda event: None
        self._engines = engines
        self._runtimes = runtimes
        self._clock = clock
        self._memory = memory
        self._tasks = Tasks("instances")
        self._running: dict[str, Running] = {}
        self._last: dict[str, tuple[Engine, Handle]] = {}  # by Model: for logs after the end

    def of_model(self, model: str) -> Running | None:
        """The newest instance of a Model that has not ended."""
        found = [running for running in self._running.values() if running.model.name == model]
        return found[-1] if found else None

    def get(self, instance: str) -> Running | None:
        """One that has not ended."""
        return self._running.get(instance)

    def named(self, model: str) -> dict[str, str]:
        """Instances of a Model ("" = all) that have not ended, each with its Model."""
        return {each.instance: each.model.name for each in self._running.values() if model in ("", each.model.name)}

    def models(self) -> set[str]:
        """Whose instances have not ended."""
        return {running.model.name for running in self._running.values()}

    def alive(self, instance: str) -> bool:
        """True until everything of it is gone."""
        return instance in self._running

    def ready(self) -> list[Running]:
        """The newest instance of each Model that serves, those that are being stopped aside."""
        serving = (each for each in self._running.values() if each.ready_at is not None and not each.stopping)
        return list({each.model.name: each for each in serving}.values())

    async def pids(self) -> set[int]:
        """Processes of all instances, those that start or stop too. Raises CorralError when a runtime cannot say."""
        started = {each.instance: each for each in self._running.values() if each.handle is not None}
        asked = (each.runtime.usage(each.handle) for each in started.values() if each.handle is not None)
        found = dict(zip(started, await asyncio.gather(*asked), strict=True))
        if any(each.instance in found and found[each.instance] is None for each in self.ready()):
            raise PlaceFailed("A runtime does not say which processes are ours.")
        return {pid for usage in found.values() if usage is not None for pid in usage.pids}

    def last_handle(self, model: str) -> tuple[Runtime, Handle] | None:
        """The runtime and handle of a Model's present or last instance: where its logs are."""
        last = self._last.get(model)
        return (self._runtimes[last[1].runtime], last[1]) if last else None

    def tells(self, model: str, line: str) -> bool:
        """Whether this line of the log of a Model's present or last instance is for Corral alone."""
        last = self._last.get(model)
        return last is not None and last[0].progress(line) is not None

    # --- start ----------------------------------------------------------------------------------------------------

    def start(self, command: Start) -> None:
        """-> InstanceReady | InstanceFailed."""
        if command.note:
            logger.warning(
                "%s is started smaller, because the whole can never fit: %s", command.model.name, command.note
            )
        instance, model, digest = command.instance, command.model, command.digest
        engine, runtime = self._engines[model.engine], self._runtimes[model.runtime]
        running = Running(instance, model, digest, engine, runtime, start=command)
        self._running[instance] = running
        running.task = self._tasks.start(
            self._start(running),
            name=f"start {model.name} as {instance}",
            failed=lambda error: self._recover(self._abandon_start(running, error), running),
        )

    async def _start(self, running: Running) -> None:
        began = self._clock.now()
        try:
            info = await self._bring_up_again(running)
        except CorralError as error:
            await self._clean_up(running)
            self._forget(running)
            logger.warning("%s did not start: %s", running.model.name, error.sentence())
            self.report(events.InstanceFailed(running.instance, _named(error, running.model)))
            return
        running.info = info
        running.ready_at = self._clock.wall()
        load_s = self._clock.now() - began
        assert running.endpoint is not None
        logger.info("%s is ready after %.2f s (%s)", running.model.name, load_s, running.instance)
        # The machine may answer with a Stop at once: be in the watching state before it hears of it.
        self._begin_watch(running)
        self.report(events.InstanceReady(running.instance, running.endpoint, info.slots, load_s, info.options))
        self._begin_weighing(running, load_s)
        if running.endpoint.port and running.handle is not None:
            self._tasks.start(self._look_how_open(running), name=f"look at {running.instance}")

    async def _bring_up_again(self, running: Running) -> ReadyInfo:
        """`_bring_up`, a second time at another address where somebody else took the first one."""
        try:
            return await self._bring_up(running)
        except StartFailed as error:
            if not error.address_taken:
                raise
            logger.info("%s: its address was taken by another program; once more", running.model.name)
        await self._clean_up(running)
        running.handle = running.endpoint = None
        return await self._bring_up(running)

    async def _bring_up(self, running: Running) -> ReadyInfo:
        """Plan, start and wait until ready. Raises the diagnosis as a CorralError."""
        model, engine, runtime = running.model, running.engine, running.runtime
        if self._memory is not None and running.start is not None:
            await self._memory.until_free(model.name, running.start.footprint, running.start.limited)
        place = await runtime.place(running.instance)
        plan = await engine.plan(model, place)
        running.endpoint = plan.endpoint
        if isinstance(plan, LaunchPlan):
            running.handle = await self._launch(running, plan)
            self._last[model.name] = engine, running.handle
        try:
            async with asyncio.timeout(model.timeouts.load_s):
                return await self._ready_or_exit(running, plan)
        except TimeoutError:
            raise await self._diagnosis(running, None) from None

    async def _launch(self, running: Running, plan: LaunchPlan) -> Handle:
        """Start the process; a cancel in the middle still learns the handle, so that nothing is left behind."""
        task = self._tasks.start(
            _captured(
                running.runtime.start(plan, instance=running.instance, model=running.model.name, digest=running.digest)
            ),
            name=f"launch {running.instance}",
        )
        try:
            handle, error = await asyncio.shield(task)
        except asyncio.CancelledError:
            running.handle, _ = await task
            raise
        if error is not None:
            raise error
        assert isinstance(handle, Handle)
        return handle

    async def _ready_or_exit(self, running: Running, plan: LaunchPlan | Attach) -> ReadyInfo:
        ready = self._tasks.start(_captured(self._until_ready(running, plan)), name=f"ready {running.instance}")
        waits: set[asyncio.Task[Any]] = {ready}
        exited = hearing = None
        if running.handle is not None:
            if isinstance(plan, LaunchPlan) and plan.tells_progress:
                hearing = self._tasks.start(self._hear(running), name=f"progress {running.instance}")
            exited = self._tasks.start(running.runtime.wait(running.handle), name=f"exit {running.instance}")
            waits.add(exited)
        try:
            done, _ = await asyncio.wait(waits, timeout=LATE_S, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                await self._look_where(running)
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if exited is not None and exited.done():
                raise await self._diagnosis(running, exited.result())
            info, error = ready.result()
            if error is not None:
                raise error
            assert isinstance(info, ReadyInfo)
            return info
        finally:
            for task in (*waits, *((hearing,) if hearing is not None else ())):
                task.cancel()

    async def _until_ready(self, running: Running, plan: LaunchPlan | Attach) -> ReadyInfo:
        if isinstance(plan, LaunchPlan) and plan.ready_pattern and running.handle is not None:
            await listening.said(running.runtime, running.handle, plan.ready_pattern)
        return await running.engine.wait_ready(running.model, plan.endpoint)

    async def _hear(self, running: Running) -> None:
        """What it says of its progress. Where the log cannot be read nobody hears of it, and nothing else is lost."""
        assert running.handle is not None
        with contextlib.suppress(CorralError):
            async for progress in listening.progress(running.runtime, running.handle, running.engine):
                self.report(events.InstanceProgressed(running.instance, progress))

    async def _look_where(self, running: Running) -> None:
        """It takes its time: if it listens somewhere else than it should, waiting is in vain."""
        places = await listening.places(running.runtime, running.handle)
        sentence = listening.elsewhere(places, running.endpoint)
        if sentence:
            logger.warning("%s (%s) is not ready yet. %s", running.model.name, running.instance, sentence)

    async def _look_how_open(self, running: Running) -> None:
        places = await listening.places(running.runtime, running.handle)
        sentence = listening.too_open(places, running.endpoint)
        if sentence:
            logger.warning("%s (%s): %s", running.model.name, running.instance, sentence)

    async def _diagnosis(self, running: Running, exit: ExitStatus | None) -> StartFailed:
        log: list[str] = []
        places = await listening.places(running.runtime, running.handle) if exit is None else ()
        if running.handle is not None:
            with contextlib.suppress(CorralError, TimeoutError):
                async with asyncio.timeout(CHECK_S):
                    async for line in running.runtime.logs(running.handle, tail=LOG_TAIL):
                        if running.engine.progress(line.text) is None:
                            log.append(line.text)
        return running.engine.diagnose(running.model, exit, log, endpoint=running.endpoint, listens=places)

    def _recover(self, coroutine: Coroutine[Any, Any, None], running: Running) -> None:
        if not running.stopping:
            self._tasks.start(coroutine, name=f"recover {running.instance}")

    async def _abandon_start(self, running: Running, error: Exception) -> None:
        text = f"The start broke: {type(error).__name__}: {error}."
        await self._clean_up(running)
        self._forget(running)
        self.report(events.InstanceFailed(running.instance, PlaceFailed(text, hint="The log has the whole story.")))

    # --- watch and check ------------------------------------------------------------------------------------------

    def _begin_watch(self, running: Running) -> None:
        """An attached engine has no process to watch; its requests tell when it is gone."""
        running.task = None
        if running.handle is not None:
            running.task = self._tasks.start(
                self._watch(running),
                name=f"watch {running.instance}",
                failed=lambda error: self._recover(self._abandon_watch(running, error), running),
            )

    def _begin_weighing(self, running: Running, load_s: float | None) -> None:
        if self._memory is None or running.handle is None or running.stopping:
            return
        expected = running.start.footprint if running.start is not None else {}
        each = Weighed(
            running.instance, running.model, running.digest, running.engine, running.runtime, running.handle,
            expected, load_s,
        )  # fmt: skip
        follow = self._memory.follow(each, self.report)
        running.weighing = self._tasks.start(follow, name=f"weigh {running.instance}")

    async def _abandon_watch(self, running: Running, error: Exception) -> None:
        await self._clean_up(running)  # it ends what is left of it
        self._forget(running)
        self.report(events.InstanceExited(running.instance, ExitStatus(ExitKind.LOST, detail=str(error))))

    async def _watch(self, running: Running) -> None:
        """A ready instance ends only by `stop`; anything else is reported as its exit."""
        assert running.handle is not None
        status = await running.runtime.wait(running.handle)
        if running.hung:
            status = ExitStatus(ExitKind.STOPPED, detail="it did not answer any more")
        await self._clean_up(running)
        self._forget(running)
        logger.warning("%s (%s) %s", running.model.name, running.instance, status)
        self.report(events.InstanceExited(running.instance, status))

    def check(self, instance: str) -> None:
        """-> InstanceChecked, or the exit that the watch reports; a hung engine is stopped and counts as exited."""
        running = self._running.get(instance)
        if running is not None:
            self._tasks.start(
                self._check(running),
                name=f"check {instance}",
                failed=lambda error: self._recover(self._check_again(running), running),
            )

    async def _check_again(self, running: Running) -> None:
        await asyncio.sleep(AGAIN_S)
        self.check(running.instance)

    async def _check(self, running: Running) -> None:
        assert running.endpoint is not None
        alive = await running.engine.alive(running.endpoint, timeout_s=CHECK_S)
        if running.stopping or running.instance not in self._running:
            return
        if alive:
            self.report(events.InstanceChecked(running.instance))
        elif running.handle is not None:
            # Usually it is dead and the watch is about to say how; only one that hangs must be ended.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DEATH_S):
                    await running.runtime.wait(running.handle)
                return
            logger.warning("%s (%s) does not answer: it is stopped", running.model.name, running.instance)
            running.hung = True
            try:
                await running.runtime.stop(running.handle, grace_s=0.0)  # the watch sees the end and reports it
            except CorralError as error:
                logger.error("%s (%s): %s", running.model.name, running.instance, error.sentence())
                await self._check_again(running)
        else:
            self._forget(running)
            gone = ExitStatus(ExitKind.LOST, detail=f"{running.endpoint} does not answer")
            self.report(events.InstanceExited(running.instance, gone))

    # --- stop -----------------------------------------------------------------------------------------------------

    def stop(self, instance: str, *, force: bool) -> None:
        """-> InstanceStopped, when every process is gone; with an error each time that it could not be ended."""
        running = self._running.get(instance)
        if running is None:  # it ended by itself; its own event is on the way or was already handled
            return
        running.stopping = True
        grace_s = 0.0 if force else running.model.timeouts.stop_s
        self._begin_stop(running, grace_s, after_s=0.0)

    def _begin_stop(self, running: Running, grace_s: float, *, after_s: float) -> None:
        self._tasks.start(
            self._stop(running, grace_s, after_s),
            name=f"stop {running.instance}",
            failed=lambda error: self._stop_failed(running, f"{type(error).__name__}: {error}"),
        )

    async def _stop(self, running: Running, grace_s: float, after_s: float) -> None:
        await asyncio.sleep(after_s)
        if running.task is not None:
            running.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running.task
        if running.instance not in self._running:
            return  # it had ended in the meantime and said so
        if running.handle is not None:
            try:
                await running.runtime.stop(running.handle, grace_s=grace_s)
            except CorralError as error:
                self._stop_failed(running, error.sentence())
                return
        await self._clean_up(running)
        self._forget(running)
        self.report(events.InstanceStopped(running.instance))

    def _stop_failed(self, running: Running, error: str) -> None:
        """Its memory stays counted until it is seen to be gone: tell who waits for it, and try again."""
        logger.error("%s (%s) could not be stopped: %s", running.model.name, running.instance, error)
        self._begin_stop(running, 0.0, after_s=AGAIN_S)
        self.report(events.InstanceStopped(running.instance, error))

    async def _clean_up(self, running: Running) -> None:
        """Remove what the instance leaves: processes, scratch folder, socket, handle file."""
        handle = running.handle or self._blank_handle(running)
        try:
            await running.runtime.destroy(handle)
        except CorralError as error:
            logger.error("%s: clean-up failed: %s", running.instance, error.sentence())

    def _blank_handle(self, running: Running) -> Handle:
        """Names the instance for `destroy` when it has a place but was never started."""
        endpoint = running.endpoint or Endpoint()
        return Handle(running.runtime.name, running.instance, running.model.name, running.digest, endpoint, 0.0)

    def _forget(self, running: Running) -> None:
        self._running.pop(running.instance, None)
        if running.weighing is not None:
            running.weighing.cancel()

    # --- adoption -------------------------------------------------------------------------------------------------

    async def adopt(self, models: Mapping[str, ModelSpec]) -> int:
        """
        Find engines that an earlier Corral left running on purpose; report the usable ones, end the others.

        Call it before the Fleet's pinned Models start. Returns how many were reported.
        """
        found = [(runtime, handle) for runtime in self._runtimes.values() for handle in await runtime.handles()]
        taken = await asyncio.gather(*(self._adopt_one(place, each, models.get(each.model)) for place, each in found))
        return sum(taken)

    async def _adopt_one(self, runtime: Runtime, handle: Handle, model: ModelSpec | None) -> bool:
        if await runtime.recover(handle) is not None or model is None:
            await runtime.destroy(handle)
            return False
        engine = self._engines[model.engine]
        running = Running(handle.instance, model, handle.digest, engine, runtime, handle, handle.endpoint)
        try:
            async with asyncio.timeout(CHECK_S):
                running.info = await engine.wait_ready(model, handle.endpoint)
        except (TimeoutError, CorralError) as error:
            logger.warning("%s (%s) of an earlier run does not answer: %s", model.name, handle.instance, error)
            await runtime.stop(handle, grace_s=0.0)
            await runtime.destroy(handle)
            return False
        self._running[handle.instance] = running
        self._last[model.name] = engine, handle
        running.ready_at = self._clock.wall()
        self._begin_watch(running)
        slots, options = running.info.slots, running.info.options
        self.report(events.InstanceAdopted(handle.instance, model.name, handle.digest, handle.endpoint, slots, options))
        self._begin_weighing(running, None)
        return True

    async def aclose(self) -> None:
        """Cancel the tasks; processes are left to the runtimes."""
        await self._tasks.aclose()


def _named(error: CorralError, model: ModelSpec) -> CorralError:
    """A caller's log has many Models: the sentence of a failed start says whose it is."""
    if not isinstance(error, StartFailed):
        return error
    return StartFailed(
        f"{model.name!r} did not start: {error.message}",
        hint=error.hint,
        log_tail=error.log_tail,
        retry_after_s=error.retry_after_s,
        permanent=error.permanent,
        memory=error.memory,
        address_taken=error.address_taken,
    )


async def _captured(coroutine: Coroutine[Any, Any, Any]) -> tuple[Any, CorralError | OSError | None]:
    """The result or the error, as values: the task guard would log the error and lose it."""
    try:
        return await coroutine, None
    except (CorralError, OSError) as error:
        return None, error
