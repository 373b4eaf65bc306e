"""
A Runtime without processes: instances are entries in a dict, and their failures are options.

It passes the same conformance suite as the real ones. A plan whose argv[0] is in `programs` runs that coroutine
function, so that an engine can live inside the test's own process.

    FakeRuntime(folder, scripts={"small": Script(lines=("loading",), exit_after_s=3, exit_code=1)})
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from corral.contracts.clock import Clock
from corral.contracts.runtime import Fingerprint, LogLine, Usage
from corral.domain.errors import PlaceFailed
from corral.domain.launch import ExitKind, ExitStatus, Handle, LaunchPlan, Place
from corral.kit.clock import SystemClock
from corral.kit.tasks import Tasks

Sleep = Callable[[float], Coroutine[None, None, None]]
Program = Callable[[LaunchPlan], Coroutine[None, None, int]]
_LINES = 4096


@dataclass(frozen=True, slots=True)
class Script:
    """What one instance does. By default it runs until it is stopped, and stops at once."""

    lines: tuple[str, ...] = ()  # written as it starts
    start_error: str = ""  # it does not start: PlaceFailed with this sentence
    start_takes_s: float = 0.0
    exit_after_s: float | None = None
    exit_code: int = 0
    exit_signal: int | None = None  # instead of a code
    oom: bool = False  # the exit is an OOM kill
    stop_takes_s: float = 0.0  # longer than the grace: it is killed when the grace ends
    rss_bytes: int = 0
    listens: tuple[str, ...] = ()


@dataclass(eq=False)
class FakeInstance:
    """An entry of the world."""

    script: Script
    handle: Handle
    end: asyncio.Future[ExitStatus]
    log: deque[LogLine] = field(default_factory=lambda: deque(maxlen=_LINES))
    written: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)  # replaced at each piece of news
    life: asyncio.Task[None] | None = None


class FakeRuntime:
    """
    See contracts.runtime.

    `scripts` are looked up by Model, then by argv[0]; `programs` by argv[0]. `sleep` and `clock` are the time it lives
    in. Two FakeRuntimes with the same `world` are two lives of one Corral: the second finds what the first kept.
    """

    def __init__(
        self,
        state_dir: Path | str,
        *,
        name: str = "process",
        scripts: Mapping[str, Script] | None = None,
        programs: Mapping[str, Program] | None = None,
        clock: Clock | None = None,
        sleep: Sleep = asyncio.sleep,
        world: dict[str, FakeInstance] | None = None,
    ) -> None:
        self.name = name
        self.scripts = dict(scripts or {})
        self.programs = dict(programs or {})
        self.world: dict[str, FakeInstance] = {} if world is None else world
        self.started: list[LaunchPlan] = []  # every plan, in order
        self._state_dir = Path(state_dir)
        self._clock: Clock = clock or SystemClock()
        self._sleep = sleep
        self._tasks = Tasks("fake runtime")
        self._mine: set[str] = set()
        self._gone: dict[str, FakeInstance] = {}  # destroyed ones, for their logs

    # --- what tests do to it

    def write(self, instance: str, text: str, stream: str = "stdout") -> None:
        """The instance writes a line."""
        self._write(self.world[instance], text, stream)

    def crash(self, instance: str, *, code: int | None = None, number: int = signal.SIGKILL, oom: bool = False) -> None:
        """The instance ends by itself, now."""
        entry = self.world[instance]
        if oom:
            self._finish(entry, ExitStatus(ExitKind.OOM_KILLED, signal=signal.SIGKILL))
        elif code is not None:
            self._finish(entry, ExitStatus(ExitKind.EXITED, code=code))
        else:
            self._finish(entry, ExitStatus(ExitKind.SIGNALLED, signal=number))

    def running(self) -> list[str]:
        """Instances that have not ended."""
        return [instance for instance, entry in self.world.items() if not entry.end.done()]

    # --- the contract

    async def fingerprint(self) -> Fingerprint:
        """Always available."""
        return Fingerprint(self.name, True, attributes={"fake": True})

    async def place(self, instance: str) -> Place:
        """A scratch folder and a socket path in the state directory."""
        scratch = self._scratch(instance)
        try:
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(mode=0o700, parents=True)
        except OSError as error:
            raise PlaceFailed(f"There is no place for {instance}: {error}.") from error
        return Place(instance, str(scratch), socket=str(self._state_dir / f"{instance}.sock"))

    async def start(self, plan: LaunchPlan, *, instance: str, model: str, digest: str) -> Handle:
        """As the script says."""
        script = self.scripts.get(model) or self.scripts.get(plan.argv[0]) or Script()
        if script.start_takes_s:
            await self._sleep(script.start_takes_s)
        if script.start_error or instance in self.world:
            shutil.rmtree(self._scratch(instance), ignore_errors=True)
            raise PlaceFailed(script.start_error or f"An instance {instance} exists already.")
        for name, text in plan.files.items():
            _write_private(self._scratch(instance) / name, text)
        pid = 1_000_000_000 + len(self.started)  # no process can have such a pid
        handle = Handle(self.name, instance, model, digest, plan.endpoint, self._clock.wall(), {"pid": pid})
        entry = FakeInstance(script, handle, asyncio.get_running_loop().create_future())
        self.world[instance] = entry
        self._mine.add(instance)
        self.started.append(plan)
        for line in script.lines:
            self._write(entry, line, "stdout")
        entry.life = self._tasks.start(self._live(entry, plan), name=instance)
        return handle

    async def handles(self) -> list[Handle]:
        """Those of the world that another life started."""
        return [entry.handle for instance, entry in self.world.items() if instance not in self._mine]

    async def recover(self, handle: Handle) -> ExitStatus | None:
        """Take it over."""
        entry = self._entry(handle)
        if entry is None:
            return ExitStatus(ExitKind.LOST, detail="nobody saw how it ended")
        self._mine.add(handle.instance)
        return entry.end.result() if entry.end.done() else None

    async def wait(self, handle: Handle) -> ExitStatus:
        """See contracts.runtime."""
        entry = self._entry(handle)
        if entry is None:
            return ExitStatus(ExitKind.LOST, detail="nobody saw how it ended")
        return await asyncio.shield(entry.end)

    async def stop(self, handle: Handle, *, grace_s: float) -> ExitStatus:
        """After `stop_takes_s`, or the grace if that is less."""
        entry = self._entry(handle)
        if entry is not None and not entry.end.done():
            patience_s = min(entry.script.stop_takes_s, grace_s)
            if patience_s:
                await self._sleep(patience_s)
            number = signal.SIGKILL if entry.script.stop_takes_s > grace_s else signal.SIGTERM
            self._finish(entry, ExitStatus(ExitKind.STOPPED, signal=number))
        return await self.wait(handle)

    async def destroy(self, handle: Handle) -> None:
        """Forget it; the log stays."""
        await self.stop(handle, grace_s=0.0)
        if (entry := self._entry(handle)) is not None:
            del self.world[handle.instance]
            self._gone[handle.instance] = entry
        if handle.instance not in self.world:
            shutil.rmtree(self._scratch(handle.instance), ignore_errors=True)

    async def logs(self, handle: Handle, *, tail: int | None = None, follow: bool = False) -> AsyncIterator[LogLine]:
        """Lines in memory, the newest 4096."""
        entry = self._entry(handle) or self._gone.get(handle.instance)
        if entry is None:
            return
        number = 0 if tail is None else max(0, entry.written - tail)
        while True:
            first = entry.written - len(entry.log)
            if first > number:
                yield LogLine(self._clock.wall(), "stderr", f"[corral: {first - number} lines missed]")
                number = first
            if number < entry.written:
                yield entry.log[number - first]
                number += 1
            elif not follow or entry.end.done():
                return
            else:
                await entry.news.wait()

    async def usage(self, handle: Handle) -> Usage | None:
        """What the script says."""
        entry = self._entry(handle)
        if entry is None or entry.end.done():
            return None
        return Usage(rss_bytes=entry.script.rss_bytes, cpu_s=0.0, pids=(handle.data["pid"],))

    async def listening(self, handle: Handle) -> tuple[str, ...]:
        """What the script says."""
        entry = self._entry(handle)
        return entry.script.listens if entry is not None and not entry.end.done() else ()

    async def close(self, *, keep_s: float | None = None) -> None:
        """End the lives, or leave them to the world."""
        for instance in self._mine if not keep_s else ():
            if (entry := self.world.get(instance)) is not None:
                self._finish(entry, ExitStatus(ExitKind.STOPPED, signal=signal.SIGTERM))
        if not keep_s:
            await self._tasks.aclose()

    # --- inside

    def _scratch(self, instance: str) -> Path:
        return self._state_dir / "scratch" / instance

    def _entry(self, handle: Handle) -> FakeInstance | None:
        entry = self.world.get(handle.instance)
        return entry if entry is not None and entry.handle.data == handle.data else None

    async def _live(self, entry: FakeInstance, plan: LaunchPlan) -> None:
        script = entry.script
        if (program := self.programs.get(plan.argv[0])) is not None:
            code = 1
            try:
                code = await program(plan)
            finally:
                self._finish(entry, ExitStatus(ExitKind.EXITED, code=code))
        elif script.exit_after_s is not None:
            await self._sleep(script.exit_after_s)
            self.crash(
                entry.handle.instance,
                code=None if script.exit_signal else script.exit_code,
                number=script.exit_signal or 0,
                oom=script.oom,
            )

    def _write(self, entry: FakeInstance, text: str, stream: str) -> None:
        entry.log.append(LogLine(self._clock.wall(), stream, text))
        entry.written += 1
        self._tell(entry)

    def _finish(self, entry: FakeInstance, status: ExitStatus) -> None:
        if not entry.end.done():
            entry.end.set_result(status)
            self._tell(entry)
            if entry.life is not None:
                entry.life.cancel()

    def _tell(self, entry: FakeInstance) -> None:
        entry.news.set()
        entry.news = asyncio.Event()


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
