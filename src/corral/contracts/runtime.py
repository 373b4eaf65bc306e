"""
Runtime: a place where engines run. The conformance suite `tests/contracts/test_runtime.py` holds every one to this.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from corral.domain.launch import ExitStatus, Handle, LaunchPlan, Place


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What this host can do for a runtime. `available` False comes with a `reason` that says what to install."""

    name: str
    available: bool
    reason: str = ""
    attributes: Mapping[str, str | int | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of an engine's output: no newline, at most 16 KiB, bad UTF-8 replaced."""

    at: float  # seconds since the epoch
    stream: str  # stdout or stderr
    text: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What an instance takes now, all its processes together."""

    rss_bytes: int
    cpu_s: float
    pids: tuple[int, ...]


class Runtime(Protocol):
    """
    Start, find again, wait for, stop and clean up.

    Life of a handle: `start` -> running -> ended (by itself or by `stop`) -> `destroy`. `stop` ends, `destroy` forgets;
    they are different words. All methods may be called again: a second `stop` or `destroy` is harmless.
    """

    name: str

    async def fingerprint(self) -> Fingerprint:
        """What this host can do. Never raises."""
        ...

    async def place(self, instance: str) -> Place:
        """A fresh scratch folder and socket path (or port) for an instance. Raises PlaceFailed."""
        ...

    async def start(self, plan: LaunchPlan, *, instance: str, model: str, digest: str) -> Handle:
        """Start it and write its handle file. Returns once the process exists. Raises PlaceFailed."""
        ...

    async def handles(self) -> list[Handle]:
        """Handles that an earlier Corral left in this state directory, readable ones only."""
        ...

    async def recover(self, handle: Handle) -> ExitStatus | None:
        """
        Take a handle of an earlier Corral over: None = it runs and is ours again, else how it ended.

        Never touches a process that is not the one the handle names (start time and boot id are compared).
        """
        ...

    async def wait(self, handle: Handle) -> ExitStatus:
        """Return when it has ended, with how; at once if it has ended already. Cancelling the wait changes nothing."""
        ...

    async def stop(self, handle: Handle, *, grace_s: float) -> ExitStatus:
        """Ask it to end, after `grace_s` kill it and everything it started; return when all of it is gone."""
        ...

    async def destroy(self, handle: Handle) -> None:
        """Kill what is left, remove scratch folder, socket and handle file. The log file stays for `logs`."""
        ...

    def logs(self, handle: Handle, *, tail: int | None = None, follow: bool = False) -> AsyncIterator[LogLine]:
        """
        Its output from the beginning (or the last `tail` lines), then with `follow` as it comes until it has ended.

        A slow reader never blocks the engine: it may miss lines, and then gets one line that says how many.
        """
        ...

    async def usage(self, handle: Handle) -> Usage | None:
        """What it takes now; None when it is gone."""
        ...

    async def listening(self, handle: Handle) -> tuple[str, ...]:
        """
        Where its processes listen now, as `127.0.0.1:8080`, `[::]:8080` or `unix:/path`; () where nobody can tell.

        Programs that it runs elsewhere (in a container) are not seen.
        """
        ...

    async def close(self, *, keep_s: float | None = None) -> None:
        """Let go of the runtime: everything still running is stopped, or kept for `keep_s` seconds."""
        ...
