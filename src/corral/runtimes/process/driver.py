"""
ProcessRuntime: engines as plain processes, under a keeper.

The driver holds no process itself: it asks the keeper through its link and looks after the files. See `keeper` for how
nothing outlives Corral.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import stat
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Literal

from corral.contracts.runtime import Fingerprint, LogLine, Usage
from corral.domain.errors import PlaceFailed
from corral.domain.launch import ExitStatus, Handle, LaunchPlan, Place
from corral.kit.environment import inherited
from corral.kit.ports import free_port
from corral.runtimes.process import fingerprint, logs, sweep, usage
from corral.runtimes.process.client import REQUEST_TIMEOUT_S, KeeperGone, KeeperRefused
from corral.runtimes.process.farewell import Farewells, farewell_of
from corral.runtimes.process.handle import HandleFiles
from corral.runtimes.process.keeper import procs
from corral.runtimes.process.link import KILL_WAIT_S, KeeperLink, Life
from corral.runtimes.process.places import Places, slug, write_private


class ProcessRuntime:
    """
    Runs plans as processes of this host.

    One Corral owns `state_dir` from its first use to `close`; another one on it gets PlaceFailed. `on_exit` "keep":
    engines live on for `keep_s` after Corral is gone, however it went. `oom_counter` names another file to read the
    kernel's `oom_kill N` line from. `hidden_env` names variables of our environment that no engine may inherit, besides
    those that look like secrets.
    """

    name = "process"

    def __init__(
        self,
        state_dir: Path | str,
        *,
        runtime_dir: Path | str | None = None,
        on_exit: Literal["stop", "keep"] = "stop",
        keep_s: float = 600.0,
        oom_counter: str = "",
        hidden_env: frozenset[str] = frozenset(),
    ) -> None:
        self._places = Places(Path(state_dir), Path(runtime_dir) if runtime_dir else None)
        self._files = HandleFiles(self._places.handles)
        self._mine: set[str] = set()  # started or recovered by this Corral
        self._keep_s = keep_s if on_exit == "keep" else 0.0
        self._hidden_env = hidden_env
        self._link = KeeperLink(self._places, self._files, keep_s=self._keep_s, oom_counter=oom_counter)
        self._farewells = Farewells(hidden_env)
        self._pruner = sweep.LogPruner(self._places, lambda work: self._link.background(work, name="prune logs"))

    async def fingerprint(self) -> Fingerprint:
        """See contracts.runtime."""
        return fingerprint.fingerprint()

    async def place(self, instance: str) -> Place:
        """See contracts.runtime."""
        self._places.prepare()
        try:
            scratch = str(self._places.fresh_scratch(slug(instance)))
            path = self._places.socket(instance)
            return Place(instance, scratch, socket=path) if path else Place(instance, scratch, port=free_port())
        except OSError as error:
            raise PlaceFailed(f"There is no place for {instance}: {error}.", hint="Is the disk full?") from error

    async def start(self, plan: LaunchPlan, *, instance: str, model: str, digest: str) -> Handle:
        """See contracts.runtime."""
        self._places.prepare()
        keeper_pid = (await self._link.keeper()).pid
        if instance in self._link.lives:
            raise PlaceFailed(f"An instance {instance} exists already.", hint="Destroy it first.")
        life = self._link.lives[instance] = Life(grace_s=plan.stop_grace_s)
        started = False
        try:
            answer = await self._link.ask("start", **self._prepare_start(plan, instance))
            life.pid = answer["pid"]
            handle = self._handle(plan, instance, model, digest, answer, keeper_pid)
            self._files.write(handle)
            self._mine.add(instance)
            started = True
        except KeeperGone:
            raise PlaceFailed(f"The keeper died while {instance} was started.", hint="Try again.") from None
        except (OSError, KeeperRefused) as error:
            hint = f"Is {plan.argv[0]} installed and executable?" if isinstance(error, KeeperRefused) else ""
            raise PlaceFailed(f"{plan.argv[0]} could not be started: {error}.", hint=hint) from error
        finally:
            if not started:  # also when the caller has left meanwhile: it may be running by now
                await asyncio.shield(self._link.background(self._undo(instance, plan), name=f"undo {instance}"))
        return handle

    async def handles(self) -> list[Handle]:
        """See contracts.runtime."""
        self._places.prepare()
        with _disk("The state directory cannot be read"):
            found = self._files.all()
            # What belongs to none was placed and never started, or its start was cut off.
            known = {handle.instance for handle in found} | set(self._link.lives)
            sweep.clear_files(self._places, known)
        self._pruner.soon(known)
        return [handle for handle in found if handle.instance not in self._mine]

    async def recover(self, handle: Handle) -> ExitStatus | None:
        """See contracts.runtime."""
        self._places.prepare()
        end = await self._link.end_of(handle)
        self._mine.add(handle.instance)
        return end.result() if end.done() else None

    async def wait(self, handle: Handle) -> ExitStatus:
        """See contracts.runtime."""
        return await asyncio.shield(await self._link.end_of(handle))

    async def stop(self, handle: Handle, *, grace_s: float) -> ExitStatus:
        """See contracts.runtime. Raises PlaceFailed when the kernel does not let a process go."""
        end = await self._link.end_of(handle)
        if not end.done():
            grace_s = await self._farewells.before(handle, end, grace_s)
        if not end.done():
            # Without a keeper, or one that just forgot it, its end is being found out.
            with contextlib.suppress(KeeperGone, KeeperRefused):
                await self._link.ask("stop", instance=handle.instance, number=None, grace_s=grace_s)
        try:
            async with asyncio.timeout(grace_s + KILL_WAIT_S):
                return await asyncio.shield(end)
        except TimeoutError:
            raise PlaceFailed(
                f"{handle.instance} (pid {handle.data.get('pid')}) does not die, not even by SIGKILL.",
                hint="A device driver may hold it: look for state D in `ps`.",
            ) from None

    async def destroy(self, handle: Handle) -> None:
        """See contracts.runtime."""
        await self.stop(handle, grace_s=0.0)
        await self._farewells.after(handle)
        life = self._link.lives.get(handle.instance)
        if life is None or life.pid == handle.data.get("pid"):  # else the files are those of its successor
            if life is not None:
                await self._link.discard(handle.instance)
            self._mine.discard(handle.instance)
            with _disk(f"The files of {handle.instance} cannot be removed"):
                await self._remove_files(handle.instance, handle.endpoint.socket)
            if not self._link.closed:
                self._pruner.soon(self._link.lives)

    async def logs(self, handle: Handle, *, tail: int | None = None, follow: bool = False) -> AsyncIterator[LogLine]:
        """See contracts.runtime."""

        async def ask(after: int, *, now: bool) -> dict[str, Any] | None:
            timeout_s = REQUEST_TIMEOUT_S if now else None  # a silent engine may be followed for days
            try:
                answer: dict[str, Any] = await self._link.ask(
                    "logs", timeout_s=timeout_s, instance=handle.instance, after=after, now=now
                )
            except (KeeperGone, KeeperRefused):
                return None
            return answer

        with _disk(f"The log of {handle.instance} cannot be read"):
            async for line in logs.read(self._places.logs / slug(handle.instance), ask, tail=tail, follow=follow):
                yield line

    async def usage(self, handle: Handle) -> Usage | None:
        """See contracts.runtime."""
        try:
            with _disk(f"What {handle.instance} uses cannot be read"):
                return usage.of(await self._link.ask("tree", instance=handle.instance))
        except (KeeperGone, KeeperRefused):
            return None

    async def listening(self, handle: Handle) -> tuple[str, ...]:
        """See contracts.runtime."""
        try:
            pids = await self._link.ask("tree", instance=handle.instance)
        except (KeeperGone, KeeperRefused):
            return ()
        return await asyncio.to_thread(usage.listening, pids)

    async def close(self, *, keep_s: float | None = None) -> None:
        """See contracts.runtime. Without `keep_s` the `on_exit` of this runtime decides."""
        await self._link.close(self._keep_s if keep_s is None else keep_s)
        self._places.release()

    def _prepare_start(self, plan: LaunchPlan, instance: str) -> dict[str, Any]:
        """Write what the plan needs and give the request. Raises OSError, PlaceFailed."""
        number = getattr(signal, plan.stop_signal, None)
        if not isinstance(number, signal.Signals):
            raise PlaceFailed(f"{plan.stop_signal!r} is not a signal.", hint="Write it like SIGTERM.")
        name = slug(instance)
        scratch = self._places.scratch / name
        scratch.mkdir(mode=0o700, exist_ok=True)
        for relative, text in plan.files.items():
            path = scratch / relative
            if not path.resolve().is_relative_to(scratch.resolve()):
                raise PlaceFailed(f"The plan's file {relative!r} lies outside the scratch folder.")
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(path, text)
        _unlink_socket(plan.endpoint.socket)
        self._files.remove(instance)
        logs.remove(self._places.logs / name)
        return {
            "instance": instance,
            "argv": list(plan.argv),
            "env": self._environment(plan, instance),
            "cwd": plan.cwd or str(scratch),
            "stop_signal": int(number),
            "stop_grace_s": plan.stop_grace_s,
            "logs": str(self._places.logs),
            "log_name": name,
            "exit_file": str(self._files.exit_path(instance)),
        }

    def _environment(self, plan: LaunchPlan, instance: str) -> dict[str, str]:
        kept = inherited(os.environ, scrub=plan.env_scrub, hidden=self._hidden_env)
        return {**kept, **plan.env, **plan.secret_env, procs.MARKER: self._marker(instance)}

    def _marker(self, instance: str) -> str:
        return f"{instance}@{self._places.state_id}"

    def _handle(
        self, plan: LaunchPlan, instance: str, model: str, digest: str, answer: dict[str, Any], keeper_pid: int
    ) -> Handle:
        data = {
            "pid": answer["pid"],
            "start_ticks": answer["start"],
            "boot_id": procs.boot_id(),
            "marker": self._marker(instance),
            "keeper_pid": keeper_pid,
            "scratch": str(self._places.scratch / slug(instance)),
            "log": str(self._places.logs / slug(instance)),
            **farewell_of(plan, str(self._places.scratch / slug(instance))),
        }
        return Handle(self.name, instance, model, digest, plan.endpoint, time.time(), data)

    async def _undo(self, instance: str, plan: LaunchPlan) -> None:
        await self._link.discard(instance)
        await self._remove_files(instance, plan.endpoint.socket)

    async def _remove_files(self, instance: str, socket_path: str) -> None:
        self._files.remove(instance)
        _unlink_socket(socket_path)
        # An engine may have saved gigabytes there, and unlinking them takes its time.
        await asyncio.to_thread(shutil.rmtree, self._places.scratch / slug(instance), ignore_errors=True)


@contextlib.contextmanager
def _disk(what: str) -> Iterator[None]:
    """Foreign errors are translated where they enter."""
    try:
        yield
    except OSError as error:
        raise PlaceFailed(f"{what}: {error}.", hint="Is the disk full, or the state directory gone?") from error


def _unlink_socket(path: str) -> None:
    """A stale socket makes the next bind fail. Anything that is not a socket is left alone."""
    with contextlib.suppress(OSError):
        if path and stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)
