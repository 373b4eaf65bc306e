"""
Prometheus metrics: a subscriber of notices plus gauges read from the scheduler at scrape time.

Labels are bounded: `model` is a Model's own name (never what a client sent), `route` a route template, `status` a code,
`caller` the name of a key.
Seconds everywhere; buckets reach 600 s because loads and long prompts do.
"""

from __future__ import annotations

import asyncio
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from corral.domain.events import Evicted, FetchFinished, LoadFinished, Notice, RequestFinished, StateChanged
from corral.domain.instance import ALIVE, InstanceState, InstanceView
from corral.domain.queue import CallerView
from corral.observability.series import Cell, Count, Spread, Taken, enter

OWN_CALLERS: Final = ("local", "owner", "operator")
"""Callers that are no keys: loopback without keys, the control socket, loads by hand."""

OTHERS: Final = "(address)"
"""All callers without a key that are told apart by their addresses: one label, there are any number of them."""

LATENCY: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
PER_TOKEN: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5)
LOADING: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)


class Metrics:
    """Subscribe it to the bus; `render` gives the text for `/metrics`."""

    def __init__(self, version: str, engine_of: Callable[[str], str], callers: Iterable[str] = ()) -> None:
        self._version = version
        self._engine_of = engine_of
        self._named = frozenset((*callers, *OWN_CALLERS))
        self._views: Callable[[], Sequence[InstanceView]] = lambda: ()
        self._states: Callable[[], Sequence[tuple[str, InstanceState]]] = lambda: ()
        self._callers: Callable[[], Sequence[CallerView]] = lambda: ()
        by_model = ("model",)
        self.requests = Count(
            "corral_requests", "Requests on Model routes, by how they ended.", ("model", "route", "status", "outcome")
        )
        self.tokens = Count("corral_tokens", "Tokens as the engines reported them.", ("model", "kind"))
        self.duration = Spread(
            "corral_request_duration_seconds", "From arrival to the end of the answer.", ("model", "route"), LATENCY
        )
        self.ttft = Spread(
            "corral_time_to_first_token_seconds", "From arrival to the first non-empty delta.", by_model, LATENCY
        )
        self.per_token = Spread(
            "corral_time_per_output_token_seconds", "Streams: seconds per token after the first.", by_model, PER_TOKEN
        )
        self.queue = Spread("corral_queue_seconds", "From arrival to a lease.", by_model, LATENCY)
        self.loads = Count("corral_loads", "Starts of engines, by how they ended.", ("model", "outcome"))
        self.load_seconds = Spread("corral_load_seconds", "From the start to ready.", by_model, LOADING)
        self.fetches = Count("corral_fetches", "Fetches of Models' files, by how they ended.", ("model", "outcome"))
        self.fetched = Count("corral_fetched_bytes", "Bytes of Models' files that came over the network.", ("model",))
        self.evictions = Count("corral_evictions", "Instances that had to leave, by why.", ("model", "why"))
        self.swaps = Count(
            "corral_swaps", "Instances that left so that another Model could load.", ("model", "for_model")
        )
        self.engines = Count("corral_engine_selections", "Starts, by the engine chosen.", ("model", "engine"))
        self.targets = Count(
            "corral_target_selections", "Requests that got a lease, by the Model that served them.", ("model", "target")
        )
        by_caller = ("caller",)
        self.caller_slots = Count("corral_caller_slot_seconds", "Slot time that callers have used.", by_caller)
        self.caller_queue = Spread("corral_caller_queue_seconds", "From arrival to a lease.", by_caller, LATENCY)
        self._labels: set[str] = set()  # callers that have been served: at rest they show 0
        self._by_caller: dict[str, tuple[Cell, Cell]] = {}
        self._kinds: dict[tuple[str, str, int, str], _Rows] = {}
        self._others: list[Collector] = []
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def also(self, *collectors: Collector) -> None:
        """Render what these collect as well."""
        for collector in collectors:
            self._registry.register(collector)
            self._others.append(collector)

    def watch(
        self,
        views: Callable[[], Sequence[InstanceView]],
        states: Callable[[], Sequence[tuple[str, InstanceState]]] = lambda: (),
        callers: Callable[[], Sequence[CallerView]] = lambda: (),
    ) -> None:
        """
        Where gauges are read at scrape time.

        `states` are those of all Models, `views` of the few that have an engine or waiters: the loop stands still
        meanwhile, and a view costs ten times what a state does.
        """
        self._views, self._states, self._callers = views, states, callers

    def __call__(self, notice: Notice) -> None:
        """Take one notice."""
        if isinstance(notice, RequestFinished):
            self._finished(notice)
        elif isinstance(notice, LoadFinished):
            self.loads.add((notice.model, notice.outcome))
            if notice.outcome == "ready":
                self.load_seconds.observe((notice.model,), notice.seconds)
        elif isinstance(notice, FetchFinished):
            self.fetches.add((notice.model, notice.outcome))
            if notice.fetched_bytes:
                self.fetched.add((notice.model,), notice.fetched_bytes)
        elif isinstance(notice, Evicted):
            self.evictions.add((notice.model, notice.why))
            if notice.for_model:
                self.swaps.add((notice.model, notice.for_model))
        elif isinstance(notice, StateChanged) and notice.new is InstanceState.STARTING:
            self.engines.add((notice.model, self._engine_of(notice.model)))

    def _finished(self, done: RequestFinished) -> None:
        kind = (done.model, done.route, done.status, done.outcome)
        rows = self._kinds.get(kind)
        if rows is None:
            rows = self._kinds[kind] = _Rows(self, done)
        rows.requests[0] += 1
        enter(rows.duration, LATENCY, done.duration_s)
        if done.instance:
            by_model = rows.queue or rows.leased(self, done)
            rows.targets[0] += 1
            slots, by_caller = self._by_caller.get(done.caller) or self._of_caller(done.caller)
            slots[0] += done.slot_s
            if done.queue_s:
                enter(by_model, LATENCY, done.queue_s)
                enter(by_caller, LATENCY, done.queue_s)
            else:  # most do not wait
                by_model[0] += 1
                by_caller[0] += 1
        if done.ttft_s is not None:
            self._streamed(done, done.ttft_s)
        if done.prompt_tokens is not None:
            (rows.prompt or rows.tokens(self, done, "prompt"))[0] += done.prompt_tokens
        if done.cached_tokens is not None:
            (rows.cached or rows.tokens(self, done, "cached"))[0] += done.cached_tokens
        if done.completion_tokens is not None:
            (rows.completion or rows.tokens(self, done, "completion"))[0] += done.completion_tokens

    def _of_caller(self, caller: str) -> tuple[Cell, Cell]:
        label = self._caller_label(caller)
        self._labels.add(label)
        cells = self.caller_slots.cell((label,)), self.caller_queue.row((label,))
        if label == caller:
            self._by_caller[caller] = cells
        return cells

    def _caller_label(self, caller: str) -> str:
        return caller if caller in self._named else OTHERS

    def _streamed(self, done: RequestFinished, ttft_s: float) -> None:
        by_model = (done.model,)
        self.ttft.observe(by_model, ttft_s)
        if done.completion_tokens is not None and done.completion_tokens > 1:
            seconds = (done.duration_s - ttft_s) / (done.completion_tokens - 1)
            self.per_token.observe(by_model, seconds)

    def collect(self) -> Iterable[Metric]:
        """For prometheus-client's registry."""
        for taken in self.taken():
            yield taken()

    def taken(self) -> Iterable[Taken]:
        """Our families one after the other, each as it is at that moment: what has to be done where numbers change."""
        build = InfoMetricFamily(
            "corral_build", "This Corral.", {"version": self._version, "python": platform.python_version()}
        )
        yield lambda: build
        counts: tuple[Count | Spread, ...] = (
            self.requests, self.tokens, self.duration, self.ttft, self.per_token, self.queue,
            self.loads, self.load_seconds, self.fetches, self.fetched, self.evictions, self.swaps, self.engines,
            self.targets, self.caller_slots, self.caller_queue,
        )  # fmt: skip
        for family in counts:
            yield family.taken()
        yield partial(_states, self._states())
        yield from (partial(_itself, gauge) for gauge in self._gauges())

    def _gauges(self) -> Iterable[Metric]:
        leases = GaugeMetricFamily("corral_leases", "Slots in use.", labels=("model",))
        slots = GaugeMetricFamily("corral_slots", "Slots offered by the running instance.", labels=("model",))
        depth = GaugeMetricFamily("corral_queue_depth", "Requests that wait for a lease.", labels=("model",))
        sums: dict[str, tuple[int, int, int]] = {}  # a Model may run with several choices of options
        for view in self._views():
            if view.state in ALIVE or view.waiting:  # of thousands of Models a few run, and zeros cost a line each
                used, offered, waiting = sums.get(view.model, (0, 0, 0))
                sums[view.model] = used + view.leases, offered + view.slots, waiting + view.waiting
        for model, found in sums.items():
            for family, value in zip((leases, slots, depth), found, strict=True):
                family.add_metric((model,), value)
        yield from (leases, slots, depth)
        yield from self._caller_gauges()

    def _caller_gauges(self) -> Iterable[Metric]:
        in_use, waiting = Counter(dict.fromkeys(self._labels, 0)), Counter[str]()
        for view in self._callers():
            label = self._caller_label(view.caller)
            in_use[label] += view.leases
            waiting[label] += view.waiting
        leases = GaugeMetricFamily("corral_caller_leases", "Slots in use, by whose they are.", labels=("caller",))
        depth = GaugeMetricFamily("corral_caller_queue_depth", "Requests that wait, by whose.", labels=("caller",))
        for caller in in_use:
            leases.add_metric((caller,), in_use[caller])
            depth.add_metric((caller,), waiting[caller])
        yield from (leases, depth)

    def render(self) -> bytes:
        """The whole exposition, text format 0.0.4."""
        return generate_latest(self._registry)

    async def rendered(self) -> bytes:
        """
        The same without holding up the loop, where the numbers change: copied here, made and written in a thread.

        That takes twenty times as long: 0.05 s for 10,000 Models. Others have their turn between two families.
        """
        families: list[Taken] = []
        for taken in self.taken():
            families.append(taken)
            await asyncio.sleep(0)
        for collector in self._others:
            for family in collector.collect():
                families.append(partial(_itself, family))
                await asyncio.sleep(0)
        return await asyncio.to_thread(generate_latest, _Collected(families))


def _states(states: Sequence[tuple[str, InstanceState]]) -> Metric:
    state = GaugeMetricFamily("corral_instance_state", "1 for the state that holds now.", labels=("model", "state"))
    for model, holds in states:
        state.add_metric((model, holds.value), 1)
    return state


def _itself(metric: Metric) -> Metric:
    return metric


class _Collected(Collector):
    """What was copied already."""

    def __init__(self, families: list[Taken]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return (taken() for taken in self._families)


class _Rows:
    """
    Where one kind of ended request is counted: looked up once for all, not once for each family.

    A series begins with its first value, so what a kind may lack stays empty until then.
    """

    __slots__ = ("cached", "completion", "duration", "prompt", "queue", "requests", "targets")

    def __init__(self, metrics: Metrics, done: RequestFinished) -> None:
        self.requests = metrics.requests.cell((done.model, done.route, str(done.status), done.outcome))
        self.duration = metrics.duration.row((done.model, done.route))
        self.queue: Cell = []
        self.targets: Cell = []
        self.prompt: Cell = []
        self.cached: Cell = []
        self.completion: Cell = []

    def leased(self, metrics: Metrics, done: RequestFinished) -> Cell:
        """The first that had a lease."""
        self.queue = metrics.queue.row((done.model,))
        self.targets = metrics.targets.cell((done.model, done.model))
        return self.queue

    def tokens(self, metrics: Metrics, done: RequestFinished, kind: str) -> Cell:
        """The first with tokens of this kind."""
        cell = metrics.tokens.cell((done.model, kind))
        setattr(self, kind, cell)
        return cell
