"""
The introducer: builds the rooms from Settings, wires them, starts and ends them in the right order. No logic.

Start: state folder, runtime, gateway (an occupied port is known before anything is loaded), engines of an earlier
Corral, the Fleet. End: no new requests, answers end, engines stop, sockets close, the keeper is let go.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import secrets
import signal
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from corral.config.paths import cache_dir, control_socket
from corral.config.settings import Settings
from corral.contracts.engine import Engine
from corral.contracts.runtime import Runtime
from corral.domain.errors import CorralError, StoreFailed
from corral.domain.events import FleetChanged
from corral.domain.fleet import Fleet, ModelSpec
from corral.domain.launch import Footprint, load_digest
from corral.engines.llamacpp import LlamaCppEngine
from corral.engines.remote import RemoteEngine
from corral.gateway.auth import KeyRing
from corral.gateway.directory import ModelDirectory
from corral.gateway.server import Gateway
from corral.kit.clock import SystemClock
from corral.kit.memory import memory_limit
from corral.kit.systemd import notify
from corral.kit.tasks import Tasks
from corral.observability.bus import Bus
from corral.observability.metrics import Metrics
from corral.runtimes.process.driver import ProcessRuntime
from corral.scheduler.control import SchedulerControl
from corral.scheduler.instances import Instances
from corral.scheduler.loop import Scheduler
from corral.scheduler.machine import Machine
from corral.store.gguf.memory import FileFootprints
from corral.version import __version__

logger = logging.getLogger(__name__)

CLOSE_S: Final = 2.0  # after the last lease: for clients to take the rest of their answers


def engines() -> dict[str, Engine]:
    """Every engine by the name that configs use. The one place that knows them."""
    probed = Path(cache_dir(os.environ)) / "probe"  # what binaries can do, remembered over restarts
    return {"llamacpp": LlamaCppEngine(cache=probed), "remote": RemoteEngine()}


@dataclass(frozen=True, slots=True)
class AppInfo:
    """What a started Corral tells whoever started it."""

    address: str  # http://127.0.0.1:11435
    control_socket: str
    settings: Settings


class Corral:
    """One Corral: `async with Corral(settings).running() as info`."""

    def __init__(self, settings: Settings, *, extra_engines: Mapping[str, Engine] | None = None) -> None:
        self.settings = settings
        self._clock = SystemClock()
        self._started_at = self._clock.wall()
        self._tasks = Tasks("corral")
        self._engines = {**engines(), **(extra_engines or {})}
        keep_s = settings.keep_engines_s
        self._process = ProcessRuntime(
            settings.state_dir, on_exit="stop" if keep_s is None else "keep", keep_s=keep_s or 0.0
        )
        self._runtimes: dict[str, Runtime] = {"process": self._process}
        self._footprints = FileFootprints()
        self._fleet = Fleet()
        self.bus = Bus()
        self.metrics = Metrics(__version__, self._engine_of)
        self.bus.subscribe(self.metrics)
        self._instances = Instances(self._engines, self._runtimes, clock=self._clock)
        machine = Machine(id_prefix=secrets.token_hex(3))
        self.scheduler = Scheduler(machine, self._instances, clock=self._clock, publisher=self.bus)
        self.metrics.watch(self.scheduler.views)
        self.directory = ModelDirectory()
        self.control = SchedulerControl(
            self.scheduler, self._instances, clock=self._clock, feed=self.bus.feed, facts=self._facts
        )
        self.gateway = Gateway(
            settings.server,
            self.scheduler,
            self.directory,
            KeyRing(settings.server),
            self.bus,
            self._clock,
            control=self.control,
            metrics=self.metrics.render,
        )
        self.bus.subscribe(self.gateway.notice)
        self._bound = ("", 0)
        self.control_socket = control_socket(settings.state_dir, os.environ)

    def _engine_of(self, model: str) -> str:
        spec = self._fleet.models.get(model)
        return spec.engine if spec else "unknown"

    def _facts(self) -> Mapping[str, object]:
        used = sum(view.ram_bytes for view in self.scheduler.views())
        return {
            "version": __version__,
            "pid": os.getpid(),
            "started_at": self._started_at,
            "address": self.address,
            "config_file": self.settings.config_file,
            "state_dir": self.settings.state_dir,
            "memory": {"budget_bytes": self._fleet.ram_budget_bytes, "used_bytes": used},
        }

    @property
    def address(self) -> str:
        """The gateway's own URL."""
        host, port = self._bound
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[AppInfo, None]:
        """Started inside, ended outside, whatever happens between."""
        try:
            yield await self.start()
        finally:
            await self.stop()

    async def start(self) -> AppInfo:
        """Raises PlaceFailed for an occupied port, a state folder in use or no place for engines."""
        os.makedirs(self.settings.state_dir, mode=0o700, exist_ok=True)
        fleet = self._with_budget(self.settings.fleet)
        survey = await self._survey(fleet)
        self._bound = await self.gateway.start()
        os.makedirs(os.path.dirname(self.control_socket), mode=0o700, exist_ok=True)
        await self.gateway.serve_unix(self.control_socket)
        # What an earlier Corral left is told first: a pinned Model that runs already is taken over, not started again.
        await self._instances.adopt(fleet.models)
        self._announce(survey)
        self._tasks.start(self._warn(fleet), name="warn of what this host has")
        return AppInfo(self.address, self.control_socket, self.settings)

    async def _warn(self, fleet: Fleet) -> None:
        """Once for each program: asking one what it can use takes as long as starting it."""
        for model in {(each.engine, each.binary): each for each in fleet.models.values()}.values():
            sentence = await self._engines[model.engine].host_warning(model)
            if sentence:
                logger.warning(sentence)

    async def reload(self, settings: Settings) -> None:
        """Take the Models, groups and limits of new Settings; what is unchanged keeps running."""
        fleet = self._with_budget(settings.fleet)
        survey = await self._survey(fleet)
        self.settings = dataclasses.replace(settings, server=self.settings.server, state_dir=self.settings.state_dir)
        self._announce(survey)

    def _announce(self, survey: FleetChanged) -> None:
        self._fleet = survey.fleet
        self.scheduler.submit(survey)
        self.directory.replace(survey.fleet.models.values())

    def _with_budget(self, fleet: Fleet) -> Fleet:
        if not self.settings.ram_auto:
            return fleet
        return dataclasses.replace(fleet, ram_budget_bytes=max(0, memory_limit() - self.settings.ram_reserve_bytes))

    async def _survey(self, fleet: Fleet) -> FleetChanged:
        digests = {name: await self._digest(model) for name, model in fleet.models.items()}
        footprints = await asyncio.to_thread(self._measure, fleet)
        return FleetChanged(fleet, digests, footprints)

    async def _digest(self, model: ModelSpec) -> str:
        parts: dict[str, Any] = {
            "source": model.source.path, "engine": model.engine, "runtime": model.runtime, "binary": model.binary,
            "options": dict(model.options), "args": model.args, "env": model.env,
        }  # fmt: skip
        return load_digest({**parts, "found": await self._engines[model.engine].digest_parts(model)})

    def _measure(self, fleet: Fleet) -> dict[str, Footprint]:
        found = {}
        for name, model in fleet.models.items():
            try:
                found[name] = self._footprints.footprint(self._engines[model.engine].resolved(model))
            except StoreFailed as error:  # its start will fail with the same sentence; the others can be served
                logger.warning("%s cannot be served: %s", name, error.sentence())
                found[name] = Footprint()
        return found

    async def stop(self) -> None:
        """End everything; harmless when called again."""
        keep_s = self.settings.keep_engines_s
        drain_s = self.settings.server.drain_s
        self.gateway.drain()
        if keep_s is None:
            try:
                await self.scheduler.shutdown(drain_s=drain_s)
            except TimeoutError:
                logger.error("engines did not stop in time; the keeper ends them")
        await self.gateway.close(drain_s if keep_s is not None else CLOSE_S)
        await self.scheduler.aclose()
        await self._process.close(keep_s=keep_s)
        await self._tasks.aclose()


async def serve(
    settings: Settings,
    *,
    ready: Callable[[AppInfo], None] | None = None,
    reload: Callable[[], Settings] | None = None,
    until: asyncio.Event | None = None,
) -> int:
    """
    Run until SIGTERM, SIGINT or `until`; SIGHUP reloads through `reload`, which raises ConfigError for a bad file.

    Returns the exit code: 0.
    """
    loop = asyncio.get_running_loop()
    ended = until or asyncio.Event()
    corral = Corral(settings)
    reloading = Tasks("reload")
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    if reload is not None:

        def again() -> None:
            reloading.start(_reload(corral, reload), name="SIGHUP")

        loop.add_signal_handler(signal.SIGHUP, again)
    try:
        async with corral.running() as info:
            notify("READY=1")
            if ready is not None:
                ready(info)
            await ended.wait()
            notify("STOPPING=1")
    finally:
        await reloading.aclose()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)
    return 0


async def _reload(corral: Corral, read: Callable[[], Settings]) -> None:
    """A bad config never replaces a good one."""
    try:
        settings = await asyncio.to_thread(read)
        await corral.reload(settings)
    except CorralError as error:
        logger.error("the config was not reloaded: %s", error.sentence())
    else:
        logger.info("reloaded %s", settings.config_file or "the settings")


def run(
    settings: Settings,
    *,
    ready: Callable[[AppInfo], None] | None = None,
    reload: Callable[[], Settings] | None = None,
) -> int:
    """`serve` on uvloop, or on asyncio's own loop where uvloop is not to be had."""
    try:
        import uvloop
    except ImportError:
        factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(serve(settings, ready=ready, reload=reload))
