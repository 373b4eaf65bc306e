"""
The machine in a world without machines: engines that load and answer in simulated time, and a referee.

Only events and commands pass between the two, as between the machine and its loop. A whole day takes seconds.
"""

from __future__ import annotations

import functools
import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from corral.domain import commands, events
from corral.domain.fleet import Fleet, Limits, ModelSpec
from corral.domain.launch import Endpoint, Footprint
from corral.domain.serving import Caller
from corral.domain.units import FOREVER
from corral.scheduler.machine import Machine

from .workload import Arrival, DayModel

STOP_S = 0.3


@dataclass(slots=True)
class Served:
    """What became of one request. Times are seconds of the day."""

    arrival: Arrival
    granted_at: float | None = None
    ended_at: float | None = None
    refused: str = ""


@dataclass(slots=True)
class Engine:
    """A running engine, what it holds, and who uses it."""

    id: str
    model: DayModel
    ready: bool = False
    leaves: bool = False
    leases: int = 0


@dataclass(slots=True)
class Cold:
    """A Model that someone wanted and that did not run, until it did. `ahead`: other Models with older waiters."""

    model: str
    since: float
    ahead: int
    until: float | None = None


@dataclass
class Day:
    """Runs arrivals through a Machine. After `run`: what became of each request, the loads and the cold waits."""

    fleet: Sequence[DayModel]
    budget_bytes: int
    limits: Limits = field(default_factory=lambda: Limits(queue_per_model=10_000, queue_total=10_000))
    served: dict[int, Served] = field(default_factory=dict)
    loads: Counter[str] = field(default_factory=Counter)
    colds: list[Cold] = field(default_factory=list)
    most_bytes: int = 0

    def __post_init__(self) -> None:
        self._machine = Machine(id_prefix="d")
        self._models = {each.name: each for each in self.fleet}
        self._engines: dict[str, Engine] = {}
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._wake: float | None = None
        self._waiting: Counter[str] = Counter()
        self._cold: dict[str, Cold] = {}
        self._now = 0.0

    def run(self, arrivals: Sequence[Arrival]) -> None:
        """Until everybody has been answered."""
        self._step(
            events.FleetChanged(
                Fleet(
                    {each.name: ModelSpec(each.name, slots=each.slots, ttl_s=FOREVER) for each in self.fleet},
                    budgets={"ram": self.budget_bytes},
                    limits=self.limits,
                ),
                {each.name: each.name for each in self.fleet},
                {each.name: Footprint(ram_bytes=each.size_bytes) for each in self.fleet},
            )
        )
        for number, arrival in enumerate(arrivals, 1):
            self._later(arrival.at, functools.partial(self._arrive, number, arrival))
        while self._agenda or self._wake is not None:
            at = self._agenda[0][0] if self._agenda else float("inf")
            if self._wake is not None and self._wake <= at:
                self._now, self._wake = max(self._now, self._wake), None
                self._step(events.Tick())
            elif self._agenda:
                self._now, _, act = heapq.heappop(self._agenda)
                act()

    def longest_cold_share(self) -> float:
        """
        The longest wait for a load as a share of its bound (promise 5); at most 1 when the promise is kept.

        Each Model whose waiters are older may take the place first, for its load, a fair while and its longest answer.
        """
        turn_s = (
            self.limits.max_wait_hot_s
            + max(each.arrival.service_s for each in self.served.values())
            + max(each.load_s for each in self.fleet)
            + STOP_S
        )
        return max((_waited(cold) / (turn_s * (1 + cold.ahead)) for cold in self.colds), default=0.0)

    # --- the world ------------------------------------------------------------------------------------------------

    def _later(self, at: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (at, next(self._order), act))

    def _arrive(self, number: int, arrival: Arrival) -> None:
        self.served[number] = Served(arrival)
        self._waiting[arrival.model] += 1
        self._step(events.Requested(number, arrival.model, Caller(arrival.caller), self._now + 1e6))
        if self._waiting[arrival.model] and not self._ready(arrival.model) and arrival.model not in self._cold:
            ahead = sum(
                count > 0 and not self._ready(model) for model, count in self._waiting.items() if model != arrival.model
            )
            self._cold[arrival.model] = Cold(arrival.model, self._now, ahead)

    def _ready(self, model: str) -> bool:
        view = self._machine.view(model)
        return view is not None and view.state == "ready"

    def _step(self, event: events.SchedulerEvent) -> None:
        for command in self._machine.step(event, self._now):
            self._act(command)

    def _act(self, command: commands.Command) -> None:
        match command:
            case commands.Start(instance, model):
                self._start(instance, self._models[model.name])
            case commands.Stop(instance):
                assert not self._engines[instance].leases, "it is in use"
                self._engines[instance].leaves = True
                self._later(self._now + STOP_S, lambda: self._stopped(instance))
            case commands.Grant(request):
                self._grant(request)
            case commands.Refuse(request, error):
                self._waiting[self.served[request].arrival.model] -= 1
                self.served[request].refused = error.code
            case commands.Wake(at):
                self._wake = at

    def _start(self, instance: str, model: DayModel) -> None:
        self._engines[instance] = Engine(instance, model)
        self.loads[model.name] += 1
        self.most_bytes = max(self.most_bytes, sum(each.model.size_bytes for each in self._engines.values()))
        self._later(self._now + model.load_s, lambda: self._started(instance, model))

    def _started(self, instance: str, model: DayModel) -> None:
        engine = self._engines.get(instance)
        if engine is not None and not engine.leaves:
            engine.ready = True
            cold = self._cold.pop(model.name, None)
            if cold is not None:
                cold.until = self._now
                self.colds.append(cold)
            self._step(events.InstanceReady(instance, Endpoint(), model.slots, model.load_s))

    def _stopped(self, instance: str) -> None:
        if self._engines.pop(instance, None) is not None:
            self._step(events.InstanceStopped(instance))

    def _grant(self, number: int) -> None:
        served = self.served[number]
        self._waiting[served.arrival.model] -= 1
        assert served.granted_at is None and not served.refused, "answered twice"
        engine = next(
            (each for each in self._engines.values() if each.model.name == served.arrival.model and not each.leaves),
            None,
        )
        assert engine is not None and engine.ready, "there is no engine to use"
        engine.leases += 1
        assert engine.leases <= engine.model.slots, "more leases than slots"
        served.granted_at = self._now
        self._later(self._now + served.arrival.service_s, lambda: self._end(number, engine))

    def _end(self, number: int, engine: Engine) -> None:
        assert engine.id in self._engines, "an engine was stopped under a request"
        engine.leases -= 1
        self.served[number].ended_at = self._now
        self._step(events.LeaseReleased(number))


def _waited(cold: Cold) -> float:
    assert cold.until is not None
    return cold.until - cold.since
