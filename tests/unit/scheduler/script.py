"""
Transcripts of the machine: things happen at times, and short lines say what it wants done.

    s = Script("a", "b", groups=[swap("a", "b")])
    assert s.ask(1, "a") == ["start a"]
    assert s.ready("a") == ["grant 1 a"]

Lines: `fetch a`, `end fetch a`, `survey a`, `start a`, `stop a (why)`, `stop a (why, force)`, `check a`, `grant 1 a`,
`refuse 1 code`, `finished`. Notices are kept in `told`, the last Wake in `wake`. `wait` moves the clock and sends the
Ticks that the machine asked for.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence

from corral.domain import commands, events
from corral.domain.errors import CorralError, StartFailed
from corral.domain.fetching import Progress
from corral.domain.fleet import Fleet, GroupSpec, Limits, ModelSpec, OptionValue
from corral.domain.instance import InstanceState, InstanceView
from corral.domain.launch import Endpoint, ExitKind, ExitStatus, Footprint, LoadWish, Remembered, Variant
from corral.domain.serving import Caller
from corral.domain.units import FOREVER
from corral.scheduler.machine import Machine

from .consistency import check_books

Size = int | Mapping[str, int]
LONG = 1e9
CRASH = ExitStatus(ExitKind.SIGNALLED, signal=9)


def spec(
    name: str,
    *,
    slots: int = 1,
    ttl: float = FOREVER,
    pin: bool = False,
    preload: bool = False,
    priority: int = 0,
    queue: int = 0,
    keep: tuple[float, float] = (0.0, FOREVER),
) -> ModelSpec:
    """A Model that lives for ever unless said otherwise, so that tests see only the wakes they are about."""
    return ModelSpec(
        name, slots=slots, ttl_s=ttl, keep_min_s=keep[0], keep_max_s=keep[1], pin=pin, preload=preload,
        priority=priority, queue_limit=queue,
    )  # fmt: skip


def swap(*members: str, name: str = "", exclusive: bool = False, persistent: bool = False) -> GroupSpec:
    """A group of which one member runs at a time."""
    return GroupSpec(name or "+".join(members), members, swap=True, exclusive=exclusive, persistent=persistent)


def together(*members: str, name: str = "", exclusive: bool = False, persistent: bool = False) -> GroupSpec:
    """A group whose members run side by side."""
    return GroupSpec(name or "+".join(members), members, swap=False, exclusive=exclusive, persistent=persistent)


def budgets(ram: Size | None) -> dict[str, int]:
    """A number is RAM; None is no limit."""
    return {} if ram is None else {"ram": ram} if isinstance(ram, int) else dict(ram)


def footprint(size: Size) -> Footprint:
    """A number is RAM."""
    if isinstance(size, int):
        return Footprint(size)
    return Footprint(size.get("ram", 0), {name: count for name, count in size.items() if name != "ram"})


class Script:
    """A machine, a clock, and the instances as the loop would know them."""

    def __init__(
        self,
        *models: str | ModelSpec,
        groups: Sequence[GroupSpec] = (),
        ram: Size | None = None,
        sizes: Mapping[str, Size] | None = None,
        limits: Limits | None = None,
        configured: bool = True,
        min_loaded: float = 0.0,
    ) -> None:
        self.machine = Machine(id_prefix="i")
        self.min_loaded = min_loaded  # none, so that tests see only the waits they are about
        self.now = 0.0
        self.wake: float | None = None
        self.told: list[events.Notice] = []
        self.errors: dict[int, CorralError] = {}
        self.granted: dict[int, commands.Grant] = {}
        self.starts: dict[str, commands.Start] = {}  # by Model, the last
        self.names: dict[str, str] = {}  # instance -> Model
        self.asked_about: dict[str, ModelSpec] = {}
        self.fetches: dict[str, str] = {}  # Model -> its fetch, also one that was ended
        self.pending: dict[str, str] = {}  # instance -> starting | stopping | ready
        self.fleet = Fleet()
        self.sizes = dict(sizes or {})
        self.digests: dict[str, str] = {}
        if configured:
            self.first = self.configure(*models, groups=groups, ram=ram, limits=limits or Limits())

    # --- events ---------------------------------------------------------------------------------------------------

    def configure(
        self,
        *models: str | ModelSpec,
        groups: Sequence[GroupSpec] = (),
        ram: Size | None = None,
        limits: Limits | None = None,
        digests: dict[str, str] | None = None,
        variants: Mapping[str, tuple[Variant, ...]] | None = None,
        load_s: Mapping[str, float] | None = None,
        remembered: Mapping[str, Remembered] | None = None,
        unsurveyed: Collection[str] = (),
    ) -> list[str]:
        """A Fleet; every Model has the digest `d` and 1 byte unless `digests` and `sizes` say otherwise."""
        limits = dataclasses.replace(limits or Limits(), min_loaded_s=self.min_loaded)
        specs = [spec(model) if isinstance(model, str) else model for model in models]
        self.fleet = Fleet({s.name: s for s in specs}, {g.name: g for g in groups}, budgets(ram), limits)
        self.digests = {s.name: (digests or {}).get(s.name, "d") for s in specs}
        known = {name: digest for name, digest in self.digests.items() if name not in unsurveyed}
        footprints = {name: footprint(self.sizes.get(name, 1)) for name in known}
        changed = events.FleetChanged(self.fleet, known, footprints, load_s or {}, variants or {}, remembered or {})
        return self.step(changed)

    def surveyed(
        self,
        *models: str | ModelSpec,
        digest: str = "d",
        variants: Mapping[str, tuple[Variant, ...]] | None = None,
        remembered: Mapping[str, Remembered] | None = None,
    ) -> list[str]:
        """They have been looked at; a spec is one that may have been replaced since."""
        specs = [self._known(model) if isinstance(model, str) else model for model in models]
        footprints = {s.name: footprint(self.sizes.get(self.label(s), 1)) for s in specs}
        found = {s.name: s for s in specs}
        digests = dict.fromkeys(found, digest)
        return self.step(events.ModelsSurveyed(found, digests, footprints, {}, variants or {}, remembered or {}))

    def ask(
        self,
        request: int,
        model: str,
        *,
        caller: str | Caller = "caller",
        timeout: float = LONG,
        weight: int = 1,
        operator: bool = False,
        keep_s: float | None = None,
        wish: LoadWish | None = None,
    ) -> list[str]:
        who = Caller(caller) if isinstance(caller, str) else caller
        return self.step(events.Requested(request, model, who, self.now + timeout, weight, operator, keep_s, wish))

    def leave(self, request: int) -> list[str]:
        return self.step(events.RequestsLeft((request,)))

    def release(self, *requests: int, broken: bool = False) -> list[str]:
        return [line for request in requests for line in self.step(events.LeaseReleased(request, broken))]

    def fetching(self, model: str, done: int, total: int | None, per_s: float = 0.0) -> list[str]:
        """So much of its files is here."""
        return self.step(events.FetchProgressed(self.fetches[model], Progress(done, total, per_s)))

    def came(self, model: str, *, fetched: int = 100) -> list[str]:
        """Its files are here."""
        source = dataclasses.replace(self.fleet.models[model].source, path=f"/store/{model}.gguf")
        return self.step(events.FilesCame(self.fetches[model], source, fetched, 1.0))

    def fetch_failed(self, model: str, error: CorralError) -> list[str]:
        return self.step(events.FilesFailed(self.fetches[model], error))

    def ready(
        self, model: str, *, slots: int = 99, load_s: float = 1.0, options: Mapping[str, OptionValue] | None = None
    ) -> list[str]:
        """Its instance that is starting answers now; the engine has plenty of slots unless said otherwise."""
        instance = self.instance(model, "starting")
        self.pending[instance] = "ready"
        return self.step(events.InstanceReady(instance, Endpoint(socket=instance), slots, load_s, options or {}))

    def load(self, *models: str) -> None:
        """Each is loaded, used once and idle."""
        for number, model in enumerate(models):
            request = 9000 + number
            self.ask(request, model)
            self.ready(model)
            self.release(request)

    def fail(self, model: str, error: CorralError | None = None) -> list[str]:
        instance = self.instance(model, "starting")
        del self.pending[instance]
        return self.step(events.InstanceFailed(instance, error or StartFailed("It broke.")))

    def exit(self, model: str, status: ExitStatus = CRASH) -> list[str]:
        instance = self.instance(model, "ready")
        del self.pending[instance]
        return self.step(events.InstanceExited(instance, status))

    def stopped(self, model: str, error: str = "") -> list[str]:
        """Its instance that was asked to stop first is gone."""
        instance = self.instance(model, "stopping")
        if not error:  # else it is still there, and this comes again
            del self.pending[instance]
        return self.step(events.InstanceStopped(instance, error))

    def checked(self, model: str) -> list[str]:
        return self.step(events.InstanceChecked(self.instance(model, "ready")))

    def adopt(self, instance: str, model: str, *, digest: str = "d", slots: int = 99) -> list[str]:
        self.names[instance] = model
        self.pending[instance] = "ready"
        return self.step(events.InstanceAdopted(instance, model, digest, Endpoint(socket=instance), slots))

    def unload(self, model: str = "", *, force: bool = False) -> list[str]:
        return self.step(events.UnloadWanted(model, force))

    def keep(self, model: str, keep_s: float) -> list[str]:
        return self.step(events.KeepWanted(model, keep_s))

    def memory(self, ram: Size | None) -> list[str]:
        return self.step(events.MemoryChanged(budgets(ram)))

    def measured(self, model: str, size: Size, *, at: float = 0.0) -> list[str]:
        """Its instance that is ready holds so much."""
        return self.step(events.InstanceMeasured(self.instance(model, "ready"), footprint(size), at))

    def shut_down(self, within: float = 30.0) -> list[str]:
        return self.step(events.ShutdownWanted(self.now + within))

    def wait(self, seconds: float) -> list[str]:
        """Let time pass; Ticks come when the machine asked for them."""
        end, lines = self.now + seconds, []
        while self.wake is not None and self.wake <= end:
            self.now = max(self.now, self.wake)
            self.wake = None
            lines += self.step(events.Tick())
        self.now = end
        return lines

    # --- what comes of it -----------------------------------------------------------------------------------------

    def step(self, event: events.SchedulerEvent) -> list[str]:
        lines = [line for command in self.machine.step(event, self.now) if (line := self._line(command))]
        check_books(self.machine)
        return lines

    def _line(self, command: commands.Command) -> str:
        match command:
            case commands.Fetch():
                assert command.model.source.wanting, "what is here needs no fetch"
                self.fetches[command.model.name] = command.fetch
                return f"fetch {command.model.name}"
            case commands.EndFetch():
                ended = next(name for name, fetch in self.fetches.items() if fetch == command.fetch)
                return f"end fetch {ended}"
            case commands.Survey():
                label = self.label(command.model)
                self.asked_about[label] = command.model
                return f"survey {label}"
            case commands.Start():
                label = command.model.name if command.note else self.label(command.model)  # smaller is no other way
                self.names[command.instance] = label
                self.pending[command.instance] = "starting"
                self.starts[label] = command
                return f"start {label}"
            case commands.Stop():
                self.pending[command.instance] = "stopping"
                return f"stop {self.names[command.instance]} ({command.reason}{', force' if command.force else ''})"
            case commands.Check():
                return f"check {self.names[command.instance]}"
            case commands.Grant():
                self.granted[command.request] = command
                return f"grant {command.request} {self.names[command.instance]}"
            case commands.Refuse():
                self.errors[command.request] = command.error
                return f"refuse {command.request} {command.error.code}"
            case commands.Wake():
                self.wake = command.at
                assert command.at is None or not math.isinf(command.at)
            case commands.Tell():
                self.told.append(command.notice)
            case commands.Finished():
                return "finished"
        return ""

    def label(self, model: ModelSpec) -> str:
        """Its name, with the options in which it is another way to load what the Fleet has: `a ctx_size=512`."""
        known = self.fleet.models.get(model.name)
        own = dict(known.options) if known is not None else dict(model.options)
        words = [f"{name}={value}" for name, value in model.options.items() if value != own.get(name)]
        return " ".join([model.name, *words])

    def _known(self, label: str) -> ModelSpec:
        return self.fleet.models[label] if label in self.fleet.models else self.asked_about[label]

    def instance(self, model: str, doing: str) -> str:
        found = [i for i, what in self.pending.items() if what == doing and self.names[i] == model]
        assert found, f"no instance of {model} is {doing}: {self.pending}"
        return found[0]

    def view(self, model: str) -> InstanceView:
        view = self.machine.view(model)
        assert view is not None
        return view

    def state(self, model: str) -> InstanceState:
        return self.view(model).state

    def states_told(self, model: str) -> list[str]:
        """All states that were told of a Model, in order."""
        return [n.new.value for n in self.told if isinstance(n, events.StateChanged) and n.model == model]

    def fetches_told(self) -> list[tuple[str, str, int]]:
        return [(n.model, n.outcome, n.fetched_bytes) for n in self.told if isinstance(n, events.FetchFinished)]

    def loads_told(self) -> list[tuple[str, str, int]]:
        return [(n.model, n.outcome, n.waiters) for n in self.told if isinstance(n, events.LoadFinished)]

    def evictions_told(self) -> list[tuple[str, str, str]]:
        return [(n.model, n.why, n.for_model) for n in self.told if isinstance(n, events.Evicted)]
