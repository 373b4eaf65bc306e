"""
The introducer: builds the rooms from Settings, wires them, starts and ends them in the right order. No logic.

Start: state folder, runtime, gateway (an occupied port is known before anything is loaded), engines of an earlier
Corral, the Fleet. End: no new requests, answers end, engines stop, sockets close, the keeper is let go.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import logging
import os
import secrets
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from corral.config.live import ConfigChanges
from corral.config.paths import cache_dir, control_socket
from corral.config.settings import Settings, taken_up
from corral.contracts.devices import Devices
from corral.contracts.engine import Engine, Wished
from corral.contracts.runtime import Runtime
from corral.devices import HostBudgets, HostDevices, charged, this_host
from corral.devices.cpu import CpuReader
from corral.devices.report import rows as device_rows
from corral.devices.watch import DeviceWatch
from corral.domain.devices import RAM, Snapshot
from corral.domain.errors import CorralError, PlaceFailed
from corral.domain.events import MemoryChanged, ShutdownWanted, StateChanged
from corral.domain.facts import ModelFacts
from corral.domain.fleet import Fleet, ModelSpec, OptionValue, Source
from corral.engines.llamacpp.requests import OWN_FIELDS
from corral.gateway.auth import KeyRing
from corral.gateway.directory import ModelDirectory
from corral.gateway.server import Gateway
from corral.kit.clock import SystemClock
from corral.kit.file_limit import raise_file_limit
from corral.kit.garbage import settle_memory
from corral.kit.systemd import notify
from corral.kit.tasks import Tasks
from corral.observability.bus import Bus
from corral.observability.engines import EngineMetrics, EngineScrape
from corral.observability.host import HostMetrics
from corral.observability.metrics import Metrics
from corral.observability.waiting import WaitingMetrics
from corral.registry import engines
from corral.runtimes.process.driver import ProcessRuntime
from corral.scheduler.control import SchedulerControl
from corral.scheduler.fetching import Fetching
from corral.scheduler.instances import Instances
from corral.scheduler.loop import Scheduler
from corral.scheduler.machine import Machine
from corral.scheduler.memory import HostMemory
from corral.scheduler.survey import Survey
from corral.scheduler.surveying import Surveying
from corral.store.details import ShownFiles
from corral.store.facts import FileFacts
from corral.store.fit.measured import RamBandwidth
from corral.store.fit.service import Fitting
from corral.store.footprints import LoadFootprints
from corral.store.gguf.memory import FileFootprints
from corral.store.known import KnownFiles
from corral.store.pulls import StorePulls
from corral.store.shelf.serving import StoreServing
from corral.store.sources.access import access
from corral.store.supply import resolved, store_supply
from corral.store.variants import smaller_ways
from corral.version import __version__

logger = logging.getLogger(__name__)

FILES_BESIDE: Final = 500  # logs, pipes, sockets of our own
SWITCH_S: Final = 0.001  # a thread that computes gives way to the loop after this; Python's own 5 ms are felt
CLOSE_S: Final = 2.0  # after the last lease: for clients to take the rest of their answers


@dataclass(frozen=True, slots=True)
class AppInfo:
    """What a started Corral tells whoever started it."""

    address: str  # http://127.0.0.1:11435
    control_socket: str
    settings: Settings
    ollama_address: str = ""  # of the second port, where there is one


class Corral:
    """One Corral: `async with Corral(settings).running() as info`."""

    def __init__(
        self,
        settings: Settings,
        *,
        extra_engines: Mapping[str, Engine] | None = None,
        devices: Devices | None = None,
        reread: Callable[[], Settings] | None = None,
    ) -> None:
        """`reread` gives what the config says now: without it clients cannot change it."""
        self.settings = settings
        self._clock = SystemClock()
        self._started_at = self._clock.wall()
        self._tasks = Tasks("corral")
        self._engines = {**engines(settings.hidden_env), **(extra_engines or {})}
        keep_s = settings.keep_engines_s
        self._process = ProcessRuntime(
            settings.state_dir,
            on_exit="stop" if keep_s is None else "keep",
            keep_s=keep_s or 0.0,
            hidden_env=settings.hidden_env,
        )
        self._runtimes: dict[str, Runtime] = {"process": self._process}
        self.devices = devices or this_host()
        self._files = KnownFiles(Path(cache_dir(os.environ)) / "headers")
        self._file_facts = FileFacts(self._files)
        files = FileFootprints(self._files)
        self._footprints = LoadFootprints(Path(settings.state_dir) / "loads.json", files=files)
        self._budgets = HostBudgets(settings.memory, lambda: self.watch.last)
        self._survey = Survey(
            self._engines,
            self._footprints,
            smaller=partial(smaller_ways, files),
            charged=self._budgets.charged,
            wall=self._clock.wall,
        )
        self._fleet = Fleet()
        self._changing = asyncio.Lock()  # one Fleet at a time: the start's, then reloads
        self.bus = Bus()
        self.metrics = Metrics(__version__, self._engine_of, (key.name for key in settings.server.keys))
        self.bus.subscribe(self.metrics)
        memory = HostMemory(
            self.devices,
            self._survey.remember,
            clock=self._clock,
            estimate=self._survey.estimate,
            charged=self._budgets.charged,
        )
        self._instances = Instances(self._engines, self._runtimes, clock=self._clock, memory=memory)
        machine = Machine(id_prefix=secrets.token_hex(3))
        self.scheduler = Scheduler(machine, self._instances, clock=self._clock, publisher=self.bus)
        self.watch = DeviceWatch(
            self.devices,
            self._memory_changed,
            pids=self._instances.pids,
            counted=self.scheduler.used,
            cpu=CpuReader().read,
        )
        self.scrape = EngineScrape(self._engine_metrics, now=self._clock.now)
        self.metrics.watch(self.scheduler.present, self.scheduler.states, self.scheduler.callers)
        self.metrics.also(
            self.scrape,
            WaitingMetrics(self.scheduler.waiters),
            HostMetrics(
                lambda: self.watch.last,
                lambda: self._budgets.in_force,
                self.scheduler.present,
                self.scheduler.held,
                now=self._clock.now,
                seen=self._footprints.seen,
            ),
        )
        self.directory = ModelDirectory(context_of=self._context_of)
        self._surveying = Surveying(
            self._survey,
            self._read_facts,
            submit=self.scheduler.submit,
            told=self.directory.learn,
            save=self._files.save,
        )
        self.scheduler.survey = self._surveying.ask
        self._supply = store_supply(settings.store, os.environ)
        self._fetching = Fetching(self._supply, report=self.scheduler.submit, came=self._files_came, clock=self._clock)
        self.scheduler.fetch, self.scheduler.end_fetch = self._fetching.begin, self._fetching.end
        self.control = SchedulerControl(
            self.scheduler,
            self._instances,
            clock=self._clock,
            feed=self.bus.feed,
            facts=self._facts,
            spec=self._spec_of,
        )
        self._details = ShownFiles(self._files, lambda model: self._engines[model.engine].resolved(model))
        self.fits = Fitting(
            self._files,
            self._engines,
            host=lambda: (self.watch.last.devices, self._budgets.in_force),
            charges=charged,
            ram=RamBandwidth(Path(cache_dir(os.environ)) / "bandwidth"),
            access=lambda: access(self.settings.store, os.environ),
            supply=self._supply,
        )
        self._changes = ConfigChanges(settings.config_file, self._engines, reread, self.reload)
        again = partial(self.reload, reread) if reread is not None else None
        self._serving = StoreServing(again) if again is not None else None
        self._pulls = StorePulls(
            lambda: self.settings.store,
            self._supply,
            os.environ,
            came=self._files_came,
            taken_up=again,
            publisher=self.bus,
            clock=self._clock,
        )
        self.gateway = Gateway(
            settings.server,
            self.scheduler,
            self.directory,
            KeyRing(settings.server),
            self.bus,
            self._clock,
            control=self.control,
            metrics=self._exposition,
            own_fields=OWN_FIELDS,
            details=self._details,
            changes=self._changes,
            fits=self.fits,
            pulls=self._pulls,
            wished=self._wished,
        )
        self.bus.subscribe(self.gateway.notice, StateChanged)
        self.control_socket = control_socket(settings.state_dir)

    def _spec_of(self, model: str) -> ModelSpec | None:
        return self._fleet.models.get(model)

    def _engine_of(self, model: str) -> str:
        spec = self._spec_of(model)
        return spec.engine if spec else "unknown"

    def _wished(self, model: ModelSpec, wanted: Mapping[str, OptionValue]) -> Wished:
        facts = self.directory.facts_of(model.name)
        return self._engines[model.engine].wished(model, wanted, facts.trained_context_tokens)

    def _context_of(self, model: str, instance: str = "") -> int | None:
        view = self.scheduler.view(model, instance)
        running = self._instances.get(view.instance) if view is not None else None
        return running.info.context_tokens if running is not None and running.info is not None else None

    def _engine_metrics(self) -> list[EngineMetrics]:
        return [
            EngineMetrics(each.model.name, each.instance, each.endpoint, each.info.metrics_path)
            for each in self._instances.ready()
            if each.endpoint is not None and each.info is not None and each.info.metrics_path
        ]

    async def _exposition(self) -> bytes:
        engines = await self.scrape.text()  # first, so that a failure is counted in this very answer
        return await self.metrics.rendered() + engines.encode()

    def _memory_changed(self, seen: Snapshot) -> None:
        """The poll found the host changed: a neighbour came, a limit fell, a GPU went."""
        self.scheduler.submit(MemoryChanged(self._budgets.renew()))

    def _facts(self) -> Mapping[str, object]:
        counted, budgets = self.scheduler.used(), self._budgets.in_force
        return {
            "version": __version__,
            "pid": os.getpid(),
            "started_at": self._started_at,
            "address": self.address,
            "ollama_address": self.ollama_address,
            "config_file": self.settings.config_file,
            "state_dir": self.settings.state_dir,
            "memory": {"budget_bytes": budgets.get(RAM), "used_bytes": counted.get(RAM, 0)},
            "devices": device_rows(self.watch.last, budgets, counted),
        }

    @property
    def address(self) -> str:
        """The gateway's own URL."""
        return self._url(self.gateway.port)

    @property
    def ollama_address(self) -> str:
        """That of its second port, "" where there is none."""
        return self._url(self.gateway.ollama_port) if self.gateway.ollama_port is not None else ""

    def _url(self, port: int) -> str:
        host = self.gateway.host
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
        _private_folder(self.settings.state_dir)
        async with self._changing:
            await self.gateway.bind()  # who connects from here on waits until all is wired
            await self.watch.look()
            # What an earlier Corral left is told first: a pinned Model that runs already is taken over.
            await self._instances.adopt(self.settings.fleet.models)
            await self._announce(self.settings)
            await self.gateway.serve_unix(self.control_socket)
            await self.gateway.start()
        self._tasks.start(self.watch.run(), name="watch the devices")
        self._tasks.start(self._warn(self.settings.fleet), name="warn of what this host has")
        return AppInfo(self.address, self.control_socket, self.settings, self.ollama_address)

    async def _warn(self, fleet: Fleet) -> None:
        """Once for each program: asking one what it can use takes as long as starting it."""
        for model in {(each.engine, each.binary): each for each in fleet.models.values()}.values():
            sentence = await self._engines[model.engine].host_warning(model)
            if sentence:
                logger.warning(sentence)

    async def reload(self, read: Callable[[], Settings]) -> Settings:
        """
        Take the Models, groups, limits and memory of what `read` gives; what is unchanged keeps running.

        One after the other, each reading for itself, so that the newest file wins. Raises what `read` raises.
        """
        async with self._changing:
            settings, said = await asyncio.to_thread(read), self.settings.warnings
            wanted, waiting = taken_up(self.settings, settings)
            await self._announce(wanted)
        if waiting:
            logger.warning("changed, but in force only after a restart: %s", ", ".join(waiting))
        for sentence in settings.warnings:
            if sentence not in said:
                logger.warning(sentence)
        return settings

    async def _files_came(self, model: ModelSpec, source: Source) -> None:
        """A Model has its files now: what is shown of it is what they say. A reload that goes on has its end first."""
        async with self._changing:
            known = self._fleet.models.get(model.name)
            if known is None or known.source != model.source:
                return  # it is another meanwhile
            spec = dataclasses.replace(known, source=source)
            facts = await asyncio.to_thread(self._read_facts, [spec])
            self._fleet = dataclasses.replace(self._fleet, models={**self._fleet.models, spec.name: spec})
            self.directory.replace(
                self._fleet.models.values(), {**self.directory.facts, **facts}, self._fleet.default_models
            )

    async def _announce(self, settings: Settings) -> None:
        """Serve from this Fleet now. What its Models take that nobody asks for may follow a little later."""
        wanted = await asyncio.to_thread(resolved, settings.fleet, self._supply)
        listed = await self._survey.devices(wanted)
        if listed and isinstance(self.devices, HostDevices):
            self.devices.engine_says(listed)
            await self.watch.look()
        survey, facts = await self._surveying.of(wanted, self._instances.models())
        self.settings, self._budgets.spec = settings, settings.memory
        fleet = dataclasses.replace(wanted, budgets=self._budgets.renew())
        old, new = self._fleet.models, fleet.models
        self._fleet = fleet
        self.scheduler.submit(msgspec.structs.replace(survey, fleet=fleet))
        known = {name: each for name, each in self.directory.facts.items() if new.get(name) == old.get(name)}
        self.directory.replace(new.values(), {**known, **facts}, fleet.default_models)
        self._surveying.go_on()
        if self._serving is not None:
            self._serving.follow(settings.store, new.values())

    def _read_facts(self, models: Sequence[ModelSpec]) -> Mapping[str, ModelFacts]:
        return self._file_facts.of({model.name: self._engines[model.engine].resolved(model) for model in models})

    async def surveyed(self) -> None:
        """Return when every Model of the Fleet that is served now has been looked at."""
        await self._surveying.over()

    async def stop(self) -> None:
        """End everything; harmless when called again."""
        keep_s = self.settings.keep_engines_s
        drain_s = self.settings.server.drain_s
        self.gateway.drain()
        if keep_s is None:
            running = sum(view.leases for view in self.scheduler.views())
            if running:
                logger.info("ending: %d answers run and have %g s; a second signal cuts them", running, drain_s)
            try:
                await self.scheduler.shutdown(drain_s=drain_s)
            except TimeoutError:
                logger.error("engines did not stop in time; the keeper ends them")
        if self._serving is not None:
            await self._serving.aclose()
        await self._changes.aclose()
        await self._fetching.aclose()
        await self._pulls.aclose()
        await self._surveying.aclose()
        await self._details.aclose()
        await self.gateway.close(drain_s if keep_s is not None else CLOSE_S)
        await self.scheduler.aclose()
        await self.scrape.aclose()
        await self._process.close(keep_s=keep_s)
        await self._tasks.aclose()

    def hurry(self) -> None:
        """Cut what still runs: the second signal."""
        self.scheduler.submit(ShutdownWanted(self._clock.now()))


def _private_folder(path: str) -> None:
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except OSError as error:
        raise PlaceFailed(
            f"{path} cannot be made a folder: {error.strerror}.", hint="Choose another with --state-dir or `state_dir`."
        ) from error


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
    corral = Corral(settings, reread=reload)
    others = Tasks("serve")

    def end() -> None:
        if ended.is_set():
            corral.hurry()
        ended.set()

    def again() -> None:
        assert reload is not None
        others.start(_reload(corral, reload), name="SIGHUP")

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    if reload is not None:
        loop.add_signal_handler(signal.SIGHUP, again)
    try:
        async with corral.running() as info:
            settle_memory()
            logger.info("Corral %s serves %d Models at %s", __version__, len(settings.fleet.models), info.address)
            notify("READY=1")
            if ready is not None:
                ready(info)
            others.start(_settle_again(corral), name="settle memory")
            await ended.wait()
            notify("STOPPING=1")
            await others.aclose()
    finally:
        await others.aclose()
        # All is stopped: a signal that comes now has nothing left to end, and must not turn the exit into a traceback.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
    logger.info("Corral has ended")
    return 0


async def _settle_again(corral: Corral) -> None:
    """What the rest of a large Fleet has left lives long too. Corral serves meanwhile, so nothing is walked now."""
    await corral.surveyed()
    gc.freeze()


async def _reload(corral: Corral, read: Callable[[], Settings]) -> None:
    """A bad config never replaces a good one."""
    try:
        settings = await corral.reload(read)
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
    raise_file_limit(FILES_BESIDE + 2 * settings.server.max_connections)  # a stream has a client and an engine
    try:
        import uvloop
    except ImportError:
        factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    else:
        factory = uvloop.new_event_loop
    sys.setswitchinterval(SWITCH_S)
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(serve(settings, ready=ready, reload=reload))
