"""The operator's verbs over the scheduler: load, unload, logs, events, status."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final

from corral.contracts.clock import Clock
from corral.contracts.control import Unloading
from corral.domain import events
from corral.domain.errors import Conflict, CorralError, UnknownModel
from corral.domain.fleet import ModelSpec, Source
from corral.domain.instance import ALIVE, InstanceState, InstanceView
from corral.domain.references import BadReference, HubReference, OllamaReference, parse
from corral.domain.serving import Caller
from corral.scheduler.instances import Instances, Running
from corral.scheduler.loop import LeaseWaiter, Scheduler


class SchedulerControl:
    """Implements `contracts.control.Control`. `facts` gives what only the app knows (version, address, ...)."""

    def __init__(
        self,
        scheduler: Scheduler,
        instances: Instances,
        *,
        clock: Clock,
        feed: Callable[[], AsyncIterator[events.Notice]],
        facts: Callable[[], Mapping[str, object]],
        spec: Callable[[str], ModelSpec | None] = lambda model: None,
    ) -> None:
        """`spec` is a Model as it is wanted now."""
        self._scheduler = scheduler
        self._instances = instances
        self._clock = clock
        self._feed = feed
        self._facts = facts
        self._spec = spec

    async def load(self, model: str, *, timeout_s: float) -> InstanceView:
        """A lease without a slot, asked by hand and given back at once."""
        waiter = LeaseWaiter()
        ticket = self._scheduler.ask(waiter, model=model, caller=OPERATOR, timeout_s=timeout_s, weight=0, operator=True)
        try:
            lease = await waiter.result()
        finally:
            ticket.leave()
        lease.release()
        view = self._scheduler.view(model)
        if view is None:
            raise UnknownModel(model)
        return view

    async def unload(self, model: str, *, force: bool, timeout_s: float) -> Unloading:
        """Returns when they are gone."""
        if model and self._scheduler.view(model) is None:
            raise UnknownModel(model)
        leaving = self._instances.named(model)
        views = self._scheduler.views()
        fetches = tuple(view.model for view in views if view.fetching is not None and model in ("", view.model))
        self._scheduler.submit(events.UnloadWanted(model, force))
        deadline = self._clock.now() + timeout_s
        # By instance: a request that comes meanwhile may start a successor, and that is none of ours.
        while left := [instance for instance in leaving if self._instances.alive(instance)]:
            if self._clock.now() > deadline:
                busy = ", ".join(
                    f"{leaving[instance]} ({self._leases(leaving[instance])} running)" for instance in left
                )
                raise Conflict(f"Still busy: {busy}.", hint="They stop when their answers end; use force to cut them.")
            await asyncio.sleep(POLL_S)
        return Unloading(tuple(leaving.values()), fetches)

    def _leases(self, model: str) -> int:
        view = self._scheduler.view(model)
        return view.leases if view else 0

    async def logs(self, model: str, *, tail: int | None, follow: bool) -> AsyncIterator[str]:
        """Lines of the present or last engine."""
        found = self._instances.last_handle(model)
        if found is None:
            raise Conflict(f"{model} has not been started since Corral began, so it has no log.")
        runtime, handle = found
        async for line in runtime.logs(handle, tail=tail, follow=follow):
            if not self._instances.tells(model, line.text):
                yield line.text

    def events(self) -> AsyncIterator[events.Notice]:
        """What happens from now on."""
        return self._feed()

    async def status(self) -> Mapping[str, object]:
        """See `contracts.control.Control.status`."""
        views = self._scheduler.views()
        expected = self._scheduler.newcomers_wait_s(view.model for view in views)
        models = await asyncio.gather(*(self._model_status(view, expected.get(view.model)) for view in views))
        return {
            **self._facts(),
            "queue": sum(view.waiting for view in views),
            "models": models,
        }

    async def _model_status(self, view: InstanceView, expected_wait_s: float | None) -> dict[str, object]:
        row = view.row(self._clock.now(), expected_wait_s)
        spec = self._spec(view.model)
        if spec is not None:
            row["aliases"] = list(spec.aliases)
            row["reference"], row["path"] = _reference(spec.source), spec.source.path
        running = self._instances.get(view.instance) if view.state in ALIVE else None
        if running is not None:
            row["engine"] = running.model.engine
            row["path"] = running.model.source.path
            row["projector"] = running.model.source.projector
            row["adapters"] = list(running.model.source.adapters)
            row["files"] = sorted(running.model.files)
            if running.info is not None and view.state is not InstanceState.STARTING:
                row["context_tokens"] = running.info.context_tokens
                row["build"] = running.info.build
            row.update(await self._usage(running))
        return row

    @staticmethod
    async def _usage(running: Running) -> dict[str, object]:
        if running.handle is None:
            return {}
        runtime = running.handle.runtime
        try:
            usage = await running.runtime.usage(running.handle)
        except CorralError:
            return {}
        return {} if usage is None else {"rss_bytes": usage.rss_bytes, "pids": list(usage.pids), "runtime": runtime}


def _reference(source: Source) -> str:
    """Where it comes from; of an address, which may be a secret, nothing."""
    try:
        found = parse(source.reference) if source.reference else None
    except BadReference:
        return ""
    return str(found) if isinstance(found, HubReference | OllamaReference) else ""


OPERATOR: Final = Caller("operator")
"""Who asks when a load is wanted by hand."""

POLL_S: Final = 0.02
"""How often `unload` looks whether they are gone; a person waits for the answer."""
