"""
Fair: whose request gets the slot of a Model that is free.

Start-time fair queueing between callers (Goyal, Vin and Cheng, "Start-time Fair Queueing", 1996), on slot-seconds. Each
caller has a clock of its own that runs with the slots it uses; the caller whose clock is furthest behind goes next.
Whoever comes after a pause starts at the clock of those who are being served, so a pause earns nothing, and what a
caller used while nobody else waited is not held against it.

How long a request will keep its slot is not known when it gets it. So the caller is charged an estimate at once (else
all free slots would go to the same caller), what exceeds it while it lasts, and what it really was at its end.

There is one account for each Model, and it begins when requests begin to wait for that Model. One account over all
Models would be no fairer: a slot serves one Model only, so what a caller uses elsewhere takes nothing from those who
wait here. And it could not be bounded: with one clock for all, the callers of a Model with one slot fall behind those
of a Model with ten for as long as both are busy, and whoever came over from there would wait for hours. The memory that
Models do share is divided by the line (`policy.queue`), where a caller's Models take turns with those of others.

A level of a key's priority is a head start of `LEVEL_SLOT_S` slot-seconds. It is an advance, not a rate: once it is
used up both callers go equally fast, so nothing starves, and how far one can be passed is known.

Within a caller: first come, first served.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

from corral.domain.serving import Caller

LEVEL_SLOT_S: Final = 30.0
"""Slot-seconds that one level of a key's priority is worth."""

MIN_COST_S: Final = 0.001
"""The least that a request is charged: where answers take no time (or clocks stand still), callers take turns."""

UNKNOWN_COST_S: Final = 1.0
"""The estimate before anything was measured. Any number does: it is the same for all, and corrected at the end."""

IDLE_FLOWS: Final = 1000
"""Callers without requests whose clock is still ahead that are remembered; beyond that the oldest are forgiven."""


class Waiting(Protocol):
    """What is queued. `arrival` numbers everything that is queued, `request` what was asked."""

    @property
    def request(self) -> int: ...
    @property
    def caller(self) -> Caller: ...
    @property
    def arrival(self) -> int: ...


W = TypeVar("W", bound=Waiting)


@dataclass(slots=True, eq=False)
class Flow(Generic[W]):
    """One caller in the queue of one Model."""

    name: str
    clock: float  # slot-seconds charged
    head_start: float = 0.0
    waiting: OrderedDict[int, W] = field(default_factory=OrderedDict)
    open: dict[int, tuple[float, float]] = field(default_factory=dict)  # its leases: counted since, charged
    entry: int = 0  # number of its valid entry in the heap

    def start(self, now: float) -> float:
        """Its clock now, with what its open leases have used beyond what they were charged."""
        clock = self.clock
        for since, charged in self.open.values():
            beyond = now - since - charged
            if beyond > 0:
                clock += beyond
        return clock

    def key(self, now: float) -> float:
        """What decides; the smallest is next."""
        return self.start(now) - self.head_start

    def charge(self, request: int, now: float, cost_s: float) -> None:
        """A lease of its own begins."""
        self.clock += cost_s
        self.open[request] = (now, cost_s)


class FairQueue(Generic[W]):
    """
    The waiters of one Model by caller. Adding, removing and taking cost O(log callers), however many wait.

    While time goes by keys only grow, so an entry of the heap is a lower bound: it is looked at again when it comes up.
    What lowers a key enters its caller anew.
    """

    def __init__(self) -> None:
        self.virtual = 0.0  # the clock of whoever was served last: where newcomers start
        self._flows: dict[str, Flow[W]] = {}
        self._waiting: dict[str, Flow[W]] = {}
        self._idle: OrderedDict[str, Flow[W]] = OrderedDict()
        self._heap: list[tuple[float, int, int, Flow[W]]] = []
        self._entries = itertools.count(1)
        self._holders_known = False

    def __len__(self) -> int:
        """How many callers wait."""
        return len(self._waiting)

    @property
    def wants_holders(self) -> bool:
        """True once two callers wait, until `hold_all`: it matters now who has the slots already."""
        return len(self._waiting) > 1 and not self._holders_known

    def add(self, item: W, now: float) -> None:
        """Put it behind its caller's others."""
        caller = item.caller
        flow = self._flow(caller.name)
        flow.head_start = caller.priority * LEVEL_SLOT_S
        flow.waiting[item.arrival] = item
        if len(flow.waiting) == 1:
            self._waiting[flow.name] = flow
            flow.clock += max(self.virtual - flow.start(now), 0.0)  # having been idle earns nothing
            # One caller alone needs no order; the second brings the first into the heap as well.
            for each in self._waiting.values() if len(self._waiting) == 2 else (flow,):
                self._enter(each, now)

    def remove(self, item: W) -> None:
        """It waits no longer, and was not taken."""
        flow = self._flows[item.caller.name]
        del flow.waiting[item.arrival]
        if not flow.waiting:
            self._caller_served(flow)

    def take(self, now: float, cost_s: float) -> W:
        """The next one; its caller is charged `cost_s` until its lease comes back. The queue is not empty."""
        cost_s = max(cost_s, MIN_COST_S)
        flow = self._next(now)
        _, item = flow.waiting.popitem(last=False)
        # It moves on with every request, by a share of it: else ever new callers would pass the others for ever.
        self.virtual = max(flow.start(now), self.virtual + cost_s / (len(self._waiting) + 1))
        flow.charge(item.request, now, cost_s)
        if flow.waiting:
            self._enter(flow, now)
        else:
            self._caller_served(flow)
        return item

    def hold_all(self, leases: Iterable[tuple[str, int]], now: float, cost_s: float) -> None:
        """These (caller, request) had their leases before there was a queue: from now on they count like all others."""
        self._holders_known = True
        cost_s = max(cost_s, MIN_COST_S)
        for caller, request in leases:
            flow = self._flow(caller)
            if request not in flow.open:
                flow.charge(request, now, cost_s)

    def settle(self, caller: str, request: int, now: float) -> None:
        """A lease has come back: what it was charged becomes what it was."""
        flow = self._flows.get(caller)
        if flow is None or request not in flow.open:
            return  # given and returned while nobody waited: that is held against nobody
        since, charged = flow.open.pop(request)
        flow.clock += max(now - since, MIN_COST_S) - charged
        if flow.waiting:
            self._enter(flow, now)
        elif not flow.open:
            self._rest(flow)

    def order(self, now: float, cost_s: float) -> Iterator[W]:
        """Everyone in the order in which they would be served if nobody came or left and each took `cost_s`."""
        step = max(cost_s, MIN_COST_S)
        flows = list(self._waiting.values())
        walks = [iter(flow.waiting.values()) for flow in flows]
        firsts = [next(walk) for walk in walks]
        heads = enumerate(zip(flows, firsts, strict=True))
        front = [(flow.key(now), item.arrival, n, item) for n, (flow, item) in heads]
        heapq.heapify(front)
        while front:
            key, _, index, item = front[0]
            yield item
            following = next(walks[index], None)
            if following is None:
                heapq.heappop(front)
            else:
                heapq.heapreplace(front, (key + step, following.arrival, index, following))

    # --- inside ---

    def _flow(self, name: str) -> Flow[W]:
        flow = self._flows.get(name)
        if flow is None:
            flow = self._flows[name] = Flow(name, self.virtual)
        else:
            self._idle.pop(name, None)
        return flow

    def _enter(self, flow: Flow[W], now: float) -> None:
        """Give it its place in the heap; an earlier entry counts no more."""
        if not flow.waiting or len(self._waiting) == 1:
            return
        flow.entry = next(self._entries)
        heapq.heappush(self._heap, (flow.key(now), next(iter(flow.waiting)), flow.entry, flow))
        if len(self._heap) > 64 + 2 * len(self._waiting):  # mostly entries that count no more
            self._heap = [entry for entry in self._heap if entry[2] == entry[3].entry and entry[3].waiting]
            heapq.heapify(self._heap)

    def _next(self, now: float) -> Flow[W]:
        if len(self._waiting) == 1:
            return next(iter(self._waiting.values()))
        while True:
            key, _, entry, flow = self._heap[0]
            if entry == flow.entry and flow.waiting and flow.key(now) <= key:
                return flow
            heapq.heappop(self._heap)
            if entry == flow.entry:  # its leases have lasted longer since it was entered
                self._enter(flow, now)

    def _caller_served(self, flow: Flow[W]) -> None:
        """None of its requests waits any more. With the last caller that waits the account is closed."""
        del self._waiting[flow.name]
        if len(self._waiting) < 2:
            self._heap.clear()
        if not self._waiting:
            self.virtual = 0.0
            self._flows, self._idle = {}, OrderedDict()
            self._holders_known = False
        elif not flow.open:
            self._rest(flow)

    def _rest(self, flow: Flow[W]) -> None:
        """A caller that neither waits nor has a lease is remembered only where its clock is ahead."""
        if flow.clock <= self.virtual:
            del self._flows[flow.name]
            return
        self._idle[flow.name] = flow
        if len(self._idle) > IDLE_FLOWS:
            name, _ = self._idle.popitem(last=False)
            del self._flows[name]
