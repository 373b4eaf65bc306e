"""
Stop commands: what is run to make an engine end, before the stop signal and beside it.

The command has the grace but for its last quarter (a second at most), which is the stop signal's; after the grace the
process tree is killed as always. A command that fails gives way to the signal at once. One that names neither the
process nor the port is also run once everything of the engine is dead and it had no turn before: what it ends may lie
elsewhere, as a container does whose client was killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from typing import Any, Final

import psutil

from corral.domain.launch import PID, ExitStatus, Handle, LaunchPlan
from corral.kit import guarded
from corral.kit.environment import inherited
from corral.runtimes.process.keeper import procs

logger = logging.getLogger(__name__)

SIGNAL_S: Final = 1.0  # the last part of the grace, at most
AFTER_S: Final = 12.0  # `docker stop` waits 10 s before it kills


def farewell_of(plan: LaunchPlan, scratch: str) -> dict[str, Any]:
    """What a handle keeps of a plan's stop command; its secrets are in the process alone."""
    if not plan.stop_command:
        return {}
    tied = PID in "".join(plan.stop_command) or (
        bool(plan.endpoint.port) and str(plan.endpoint.port) in "".join(plan.stop_command)
    )
    return {
        "stop_command": list(plan.stop_command),
        "stop_env": dict(plan.env),
        "stop_scrub": list(plan.env_scrub),
        "stop_cwd": plan.cwd or scratch,
        "stop_tied": tied,  # to numbers that may be somebody else's once the process is dead
    }


class Farewells:
    """The stop commands of one runtime; each has one turn for each instance."""

    def __init__(self, hidden_env: frozenset[str]) -> None:
        self._hidden_env = hidden_env
        self._had_turn: set[str] = set()

    async def before(self, handle: Handle, end: asyncio.Future[ExitStatus], grace_s: float) -> float:
        """Run the command of an engine that still runs; what is left of the grace for the stop signal."""
        argv = handle.data.get("stop_command")
        if not argv or grace_s <= 0 or handle.instance in self._had_turn:
            return grace_s
        self._had_turn.add(handle.instance)
        loop = asyncio.get_running_loop()
        began = loop.time()
        turn_s = grace_s - min(SIGNAL_S, grace_s / 4)
        if await self._run(handle, turn_s):
            # It may have asked only: the engine has the rest of the turn to follow.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, began + turn_s - loop.time())):
                    await asyncio.shield(end)
        return max(0.0, began + grace_s - loop.time())

    async def after(self, handle: Handle) -> None:
        """Run the command of an engine that is dead, if it had no turn and can do no harm."""
        data = handle.data
        if data.get("stop_command") and not data.get("stop_tied") and handle.instance not in self._had_turn:
            await self._run(handle, AFTER_S)
        self._had_turn.discard(handle.instance)

    async def _run(self, handle: Handle, deadline_s: float) -> bool:
        """True when it ended with 0. Everything else is told in the log."""
        data = handle.data
        argv = [word.replace(PID, str(data["pid"])) for word in data["stop_command"]]
        try:
            env = await asyncio.to_thread(self._environment, handle)
            code, text = await guarded.output(argv, env=env, cwd=str(data["stop_cwd"]), deadline_s=deadline_s)
        except TimeoutError:
            why = f"did not end within {deadline_s:.1f} s"
        except OSError as error:
            why = f"cannot be run: {error.strerror or error}"
        else:
            if code == 0:
                return True
            last = text.strip().splitlines()[-1:]
            why = f"ended with code {code}{f': {last[0][:300]}' if last else ''}"
        logger.warning("%s (%s): the stop command %s %s", handle.model, handle.instance, argv[0], why)
        return False

    def _environment(self, handle: Handle) -> dict[str, str]:
        """The engine's own, as long as it is there to be asked."""
        data = handle.data
        try:
            process = psutil.Process(int(data["pid"]))
            if procs.start_ticks(process.pid) == data["start_ticks"]:
                env = process.environ()
                env.pop(procs.MARKER, None)
                if env:
                    return env
        except psutil.Error:
            pass
        kept = inherited(os.environ, scrub=tuple(data["stop_scrub"]), hidden=self._hidden_env)
        return {**kept, **data["stop_env"]}
