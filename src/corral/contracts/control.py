"""What the control routes (`/api/corral/*`) ask of the running Corral. `app` provides it, the gateway calls it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from corral.domain.events import Notice
from corral.domain.instance import InstanceView


@dataclass(frozen=True, slots=True)
class Unloading:
    """What an unload has ended: the Models that were loaded, and those whose files were on their way."""

    models: tuple[str, ...]
    fetches: tuple[str, ...]


class Control(Protocol):
    """The operator's verbs. Model names are Models' own names (aliases already resolved)."""

    async def load(self, model: str, *, timeout_s: float) -> InstanceView:
        """Load it now and return when it is ready. Raises why not (StartFailed, QueueTimeout, NoMemory, ...)."""
        ...

    async def unload(self, model: str, *, force: bool, timeout_s: float) -> Unloading:
        """
        Unload a Model, or all of them for "", and return when they are gone. Fetches end too; what has come is kept.

        Without `force` running answers end first. Raises Conflict when they take longer than `timeout_s`.
        """
        ...

    def logs(self, model: str, *, tail: int | None, follow: bool) -> AsyncIterator[str]:
        """
        The output of a Model's present or last engine, line by line without newlines.

        Raises Conflict at the first step when it has never been started.
        """
        ...

    def events(self) -> AsyncIterator[Notice]:
        """What happens from now on; a slow reader loses the oldest."""
        ...

    async def status(self) -> Mapping[str, object]:
        """
        JSON-ready: version, pid, started_at, address, config_file, memory {budget_bytes, used_bytes} of RAM,
        queue, `devices`: one object each, and `models`: one object each as `/running` shows them, plus rss_bytes, pids,
        context_tokens where known; its aliases, the `reference` and `path` of its source (no address, which may be a
        secret), and all `files` that a loaded one was given.
        """
        ...
