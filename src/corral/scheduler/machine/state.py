"""
What the machine knows: waiters, Models, instances, and the World that holds them with their indexes.

Only bookkeeping is here; every rule is in the modules that use it. All times are seconds of the scheduler's clock.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

from corral.domain import commands
from corral.domain.commands import Command, Survey, Tell, Wake
from corral.domain.errors import CorralError, Fetching
from corral.domain.events import InstanceAdopted, Notice, StateChanged
from corral.domain.fetching import Progress
from corral.domain.fleet import GroupSpec, Limits, ModelSpec, OptionValue
from corral.domain.instance import TRANSITIONS, InstanceState
from corral.domain.launch import Endpoint, LoadWish, Variant
from corral.domain.serving import Caller
from corral.scheduler.machine.callers import Accounts
from corral.scheduler.machine.doubt import Doubt
from corral.scheduler.machine.inline import InLine
from corral.scheduler.machine.measured import Measured
from corral.scheduler.machine.timers import Timers
from corral.scheduler.policy import memory
from corral.scheduler.policy.fair import FairQueue
from corral.scheduler.policy.groups import must_leave
from corral.scheduler.policy.queue import Line, Place, place
from corral.scheduler.policy.ttl import stays_s

if TYPE_CHECKING:
    from corral.scheduler.machine.room import Walk

READY, STARTING = InstanceState.READY, InstanceState.STARTING
DRAINING, STOPPING = InstanceState.DRAINING, InstanceState.STOPPING

NOWHERE: Final = Endpoint()
"""The endpoint of an instance that does not answer yet."""


ASK_AGAIN_S: Final = 30.0
"""`Retry-After` where nobody knows how long a fetch will take."""

ASK_AGAIN_MOST_S: Final = 3600.0
"""A client that is told more than this gives up."""


@dataclass(slots=True, eq=False)
class Waiter:
    """A request that has no lease yet. `arrival` numbers all waiters in the order in which they got in line."""

    request: int
    model: ModelState
    caller: Caller
    weight: int
    since: float  # in line; what its caller's own bound kept it out of line for gives it no rank
    deadline: float
    arrival: int
    asked_at: float
    keep_s: float | None = None  # as in Requested
    parked: bool = False  # in no line: its caller has no pass left


Held = tuple["Instance", Caller, float]
"""A lease with a slot: its instance, whose it is, and since when."""


@dataclass(slots=True, eq=False)
class Instance:
    """An engine that holds memory, from Start until it is seen to be gone."""

    id: str
    model: ModelState
    digest: str
    holds: Mapping[str, int]  # bytes by device
    state: InstanceState
    since: float  # when this state began
    endpoint: Endpoint = NOWHERE
    offered: int = 0  # slots that the engine has
    options: Mapping[str, OptionValue] = field(default_factory=dict)  # that its engine chose itself
    slots: int = 0  # slots that are leased out, at most `offered`
    used: int = 0  # leases with a slot
    light: int = 0  # leases without one
    ready_at: float = 0.0
    load_s: float | None = None
    progress: float | None = None  # of its load, from 0 to 1
    idle_since: float = 0.0  # means something only while there is no lease
    keep_s: float | None = None  # what the last request that said something of it wants of its TTL
    returned: int = 0  # leases with a slot that came back unbroken since the Model's pace was last brought up to date
    slot_s: float = 0.0  # what they used together
    served: bool = False  # a lease has come back unbroken; the fast path leaves that to `returned`
    suspect: bool = False  # a connection to it broke: no new lease until the Check is answered
    timed: bool = False  # its TTL needs no attention when it becomes idle: a timer is set early enough, or none is due
    why: str = ""  # why it leaves, once it does
    for_model: str = ""
    earlier_failures: int = 0  # failed starts in a row before this one became ready
    last_try: bool = False  # everything idle has left for it: if it fails for memory again, it has failed
    note: str = ""  # in what respect it is smaller than its Model was configured

    @property
    def leased(self) -> bool:
        """True while any request uses it."""
        return self.used + self.light > 0

    @property
    def stays_s(self) -> float | None:
        """How long it stays once it is idle; None = for ever."""
        return stays_s(self.model.spec, self.keep_s, pinned=self.model.pinned)

    @property
    def has_served(self) -> bool:
        """True once a lease has come back unbroken."""
        return self.served or self.returned > 0

    @property
    def busy(self) -> bool:
        """True while it is in use or about to be: evicting it would cost someone something."""
        return self.used + self.light > 0 or self.model.has_waiters


@dataclass(slots=True, eq=False)
class Fetch:
    """The files of a Model are on their way."""

    id: str
    since: float
    progress: Progress | None = None

    def unfinished(self, name: str) -> Fetching:
        """For those who have waited for it as long as they may."""
        far = self.progress.words() if self.progress is not None else ""
        left_s = self.progress.left_s if self.progress is not None else None
        return Fetching(
            f"The files of {name!r} are being fetched{f': {far}' if far else ''}.",
            hint="Try again when they are here.",
            retry_after_s=min(max(1.0, ASK_AGAIN_S if left_s is None else left_s), ASK_AGAIN_MOST_S),
        )


@dataclass(slots=True, eq=False)
class ModelState:
    """One Model at run time: its spec, who waits for it, its instance, its failures."""

    spec: ModelSpec
    wanted_arrival: int  # with `wanted_since`: its place in the line while no request waits for it
    wanted_since: float = 0.0
    surveyed: bool = False  # what its start takes is known; until then it is in no line
    asked_about: bool = False  # a Survey is under way
    digest: str = ""
    needs: Mapping[str, int] = field(default_factory=dict)  # bytes by device, of the way in which it would be started
    sizes: dict[str, Mapping[str, int]] = field(default_factory=dict)  # of every way, by load digest
    variants: tuple[Variant, ...] = ()  # smaller ways to start it, the largest first
    variant: Variant | None = None  # the one of them that would be taken; None = as it was configured
    doubts: dict[str, Doubt] = field(default_factory=dict)  # of sizes that are measured, by load digest
    doubted: bool = False  # an operator has asked before it was surveyed: what is measured is not believed
    cramped: bool = False  # its last start failed for memory: everything idle leaves before the next
    group: GroupSpec | None = None
    queue: OrderedDict[int, Waiter] = field(default_factory=OrderedDict)  # want a slot, in order of arrival
    fair: FairQueue[Waiter] = field(default_factory=FairQueue)  # the same: whose turn it is
    light: OrderedDict[int, Waiter] = field(default_factory=OrderedDict)  # want a lease without a slot
    callers: dict[str, OrderedDict[int, Waiter]] = field(default_factory=dict)  # `queue` and `light` by caller
    parked: OrderedDict[int, Waiter] = field(default_factory=OrderedDict)  # kept out of line by their callers' bounds
    deadlines: list[tuple[float, int]] = field(default_factory=list)  # a heap, of waiters and of some who were
    measured: Measured = field(default_factory=Measured)
    parent: ModelState | None = None  # the Model of which this is another way to load it: `wish` says which
    wish: LoadWish | None = None
    ways: OrderedDict[tuple[tuple[str, OptionValue], ...], ModelState] = field(default_factory=OrderedDict)
    """The ways to load it that requests asked for, by LoadWish.key, the one that was used last at the end."""
    fetch: Fetch | None = None  # of its files; a way to load it has its parent's
    current: Instance | None = None  # starting or ready: who serves, or will serve, new requests
    serving: Instance | None = None  # the same while it may take leases: ready and not suspect
    leaving: dict[str, Instance] = field(default_factory=dict)  # draining or stopping
    last: Instance | None = None  # the newest instance, alive or not
    preload: bool = False  # to be started once without a request, where that costs nobody anything
    held: bool = False  # pinned, but unloaded by hand: stays down until someone asks
    removed: bool = False  # not in the Fleet any more; serves those it has
    failures: int = 0
    refusals: int = 0  # to fetch its files, in a row
    load_s: float | None = None  # what its last load took, also one of an earlier Corral
    retry_at: float | None = None  # no start before this time
    alone_at: float | None = None  # the same for a start that nobody asks for; it counts while `retry_at` does
    error: CorralError | None = None  # why it failed

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def root(self) -> ModelState:
        """The Model itself, where this is another way to load it."""
        return self.parent or self

    @property
    def pinned(self) -> bool:
        return self.spec.pin and not self.removed

    @property
    def has_waiters(self) -> bool:
        return bool(self.queue) or bool(self.light)

    @property
    def head(self) -> Waiter | None:
        """Who has waited longest."""
        first, light = next(iter(self.queue.values()), None), next(iter(self.light.values()), None)
        if first is None or light is None:
            return first or light
        return first if first.arrival < light.arrival else light

    @property
    def since(self) -> float:
        """Since when someone has wanted it loaded."""
        head = self.head
        return head.since if head else self.wanted_since

    @property
    def removed_and_served(self) -> bool:
        """True when it is not in the Fleet any more and nobody waits for it either."""
        return self.removed and not self.has_waiters

    @property
    def waiting(self) -> int:
        """All that wait for it, in line or not."""
        return len(self.queue) + len(self.light) + len(self.parked)

    def service_s(self) -> float | None:
        """Slot-seconds that a request takes, as measured; None before the first has ended."""
        current = self.current
        if current is not None:
            self.measured.count(current)
        return self.measured.service_s(current.digest if current is not None else self.next_digest)

    @property
    def next_digest(self) -> str:
        """With which it would be started now."""
        return self.digest if self.variant is None else self.variant.digest

    def wants_start(self) -> bool:
        """True while it should be running, is not, and may be started."""
        if self.current is not None:
            return False
        alone = self.retry_at is None and ((self.pinned and not self.held) or self.preload)
        return alone or self.has_waiters

    def place_for(self, caller: str) -> Place | None:
        """Its place in the line for the sake of this caller; None where that waits for nothing."""
        waiters = self.callers.get(caller)
        if not waiters:
            return None
        head = next(iter(waiters.values()))
        return place(head.since, self.spec.priority + head.caller.priority, head.arrival)


class Alarm(Enum):
    """Timer keys that belong to no single Model or instance."""

    HOT = "a hot Model may have to give way"
    CLOSING = "leases that are still open at the end of a shutdown"


class World:
    """Everything the machine knows, and the commands of the present step."""

    def __init__(self, *, id_prefix: str) -> None:
        self.now = 0.0
        self.out: list[Command] = []
        self.limits = Limits()
        self.models: dict[str, ModelState] = {}
        self.order: list[str] = []  # the Fleet's own order
        self.instances: dict[str, Instance] = {}  # alive
        self.fetches: dict[str, ModelState] = {}  # whose files are on their way
        self.barred: list[ModelState] = []  # who wants files that could not be had a moment ago
        self.waiting: dict[int, Waiter] = {}
        self.leases: dict[int, Held] = {}
        self.light_leases: dict[int, Instance] = {}
        self.accounts = Accounts()
        # Loads: who wants one, and who has been promised one (with the bytes set aside for it).
        self.line: Line[ModelState] = Line()
        self.claims: dict[ModelState, Mapping[str, int]] = {}
        self.walk: Walk | None = None  # the last one; None = there is no line
        self.dirty = False  # something that the plan of loads depends on has changed
        self.joined: dict[ModelState, None] = {}  # have come into the line since the last walk
        self.thorough = True  # look at everyone in line: some may have to be told no
        self.in_line = InLine()
        self.watch_idle = False  # someone would like an instance to become idle
        # Memory by device: `used` is what is alive; `planned` is what stays: alive and not leaving, and the claims.
        self.budgets: Mapping[str, int] = {}
        self.used: dict[str, int] = {}
        self.planned: dict[str, int] = {}
        # Indexes, so that no decision looks at all Models.
        self.evictable: dict[Instance, None] = {}  # holds memory, is not leaving, its Model is not pinned
        self.kept: dict[Instance, None] = {}  # is not leaving, its Model is pinned
        self.grouped: dict[str, dict[str, Instance]] = {}  # alive, by group
        self.draining: dict[Instance, None] = {}
        self.retiring: dict[ModelState, str] = {}  # removed, not gone yet, and why
        self.timers: Timers[Instance | ModelState | Alarm] = Timers()
        self.armed: float | None = None  # the time of the last Wake
        self.closing: float | None = None  # shutting down; leases are cut at this time
        self.finished = False
        self.has_fleet = False
        self.found: list[InstanceAdopted] = []  # adopted before there was a Fleet
        self._ids = (f"{id_prefix}-{number}" for number in itertools.count(1))
        self._arrivals = itertools.count(1)

    def every(self) -> Iterator[ModelState]:
        """All Models, each followed by the other ways to load it, then those of them that are on their way out."""
        for model in self.models.values():
            yield model
            yield from model.ways.values()
        yield from (model for model in self.retiring if model.parent is not None)

    # --- the small steps ------------------------------------------------------------------------------------------

    def tell(self, notice: Notice) -> None:
        self.out.append(Tell(notice))

    def next_id(self) -> str:
        return next(self._ids)

    def next_arrival(self) -> int:
        return next(self._arrivals)

    def touch(self, model: ModelState) -> None:
        """Its wish for a load may have changed: put it in its place in the line, and plan again."""
        self._place(model)
        self.dirty = True

    def requeue(self, model: ModelState, caller: str) -> None:
        """
        One of this caller's requests joined its waiters or left them. Plan again only where that can change anything.

        It cannot for a Model that the last walk gave nothing and that goes down the line or out of it; who comes to
        its end is looked at alone.
        """
        line, walk = self.line, self.walk
        was_in, end, old = model in line, line.end, line.rank_of(model, caller)
        changed = self._place(model, caller)
        if walk is None or model.current is not None or model.leaving or model.removed:
            self.dirty = self.dirty or changed or not model.has_waiters
            return
        new = line.rank_of(model, caller)
        if new is not None and (old is None or new < old):
            nobody_behind = new > end and not was_in
            beyond = walk.ended is not None and new > walk.ended
            if beyond and walk.at_rest:  # with what is known of its other callers its true rank may be further in front
                beyond = not walk.would_serve(self, model)
            self.dirty = self.dirty or not (nobody_behind or beyond)
        elif changed and model in walk.counted:
            self.dirty = True

    def _place(self, model: ModelState, caller: str | None = None) -> bool:
        """Put it where it belongs in the line, for one caller or for all; True where that has changed."""
        was_in = model in self.line
        if not model.wants_start():
            changed = self.line.remove(model)
        elif model.spec.source.wanting:
            changed = self.line.remove(model)
            self.want_files(model)
        elif not model.surveyed:
            changed = self.line.remove(model)
            self.ask_about(model)
        elif model.has_waiters:
            if was_in and caller is not None and not self.line.wants(model, model):
                changed = self.line.place(model, caller, model.place_for(caller))
            else:
                changed = self.line.place(model, model, None)
                for each in model.callers:
                    changed |= self.line.place(model, each, model.place_for(each))
        else:  # Corral itself wants it
            if not self.line.wants(model, model):
                self.line.remove(model)
                model.wanted_since, model.wanted_arrival = self.now, self.next_arrival()
            changed = self.line.place(
                model, model, place(model.wanted_since, model.spec.priority, model.wanted_arrival)
            )
        is_in = model in self.line
        if is_in and not was_in:
            self.in_line.add(model)
            self.joined[model] = None
            self.thorough = self.thorough or model.preload  # it goes now, or not at all
        elif was_in and not is_in:
            self.in_line.remove(model)
        if not is_in:
            model.cramped = False
        return changed

    def want_files(self, model: ModelState) -> None:
        """STOPPED | FAILED -> STARTING, without an engine yet: it needs its files first."""
        root = model.root
        if root.retry_at is not None and self.now < root.retry_at:
            self.barred.append(model)
        elif root.fetch is None:
            root.retry_at = None
            root.fetch = Fetch(self.next_id(), self.now)
            self.fetches[root.fetch.id] = root
            self.out.append(commands.Fetch(root.fetch.id, root.spec))

    def ask_about(self, model: ModelState) -> None:
        """It is time to know what its start takes."""
        if not (model.surveyed or model.asked_about):
            model.asked_about = True
            self.out.append(Survey(model.spec))

    def recount(self, model: ModelState) -> None:
        """Its group, or what it needs, is another now."""
        self.in_line.recount(model)

    def rearm(self) -> None:
        """Ask for the next Tick where the time for it has changed."""
        at = self.timers.next_at()
        if at != self.armed:
            self.armed = at
            self.out.append(Wake(at))

    # --- instances ------------------------------------------------------------------------------------------------

    def admit(self, instance: Instance, old: InstanceState, reason: str) -> None:
        """A new instance, in `starting`. STOPPED | FAILED -> STARTING."""
        assert instance.id not in self.instances, f"instance {instance.id} is already known"
        model = instance.model
        self.instances[instance.id] = instance
        model.last = instance
        memory.add(self.used, instance.holds)
        memory.add(self.planned, instance.holds)
        self.index(instance)
        self.tell(StateChanged(model.name, instance.id, old, instance.state, reason))

    def index(self, instance: Instance) -> None:
        """Enter an alive instance where its state, group and pin say."""
        group = instance.model.group
        if group is not None:
            self.grouped.setdefault(group.name, {})[instance.id] = instance
        pinned = instance.model.pinned
        _enter(self.evictable, instance, not (instance.why or pinned) and bool(instance.holds))
        _enter(self.kept, instance, not instance.why and pinned)

    def move(self, instance: Instance, new: InstanceState, reason: str) -> None:
        """Change the state and tell."""
        old = instance.state
        assert new in TRANSITIONS[old], f"{instance.id}: {old} -> {new}"
        instance.state = new
        instance.since = self.now
        if new is DRAINING:
            self.draining[instance] = None
        elif old is DRAINING:
            del self.draining[instance]
        self.tell(StateChanged(instance.model.name, instance.id, old, new, reason))

    def weigh(self, instance: Instance, holds: Mapping[str, int]) -> None:
        """An alive instance holds something else than it was counted with."""
        memory.take(self.used, instance.holds)
        memory.add(self.used, holds)
        if not instance.why:
            memory.take(self.planned, instance.holds)
            memory.add(self.planned, holds)
        instance.holds = holds
        self.index(instance)

    def remove(self, instance: Instance) -> None:
        """It is gone, and its memory with it. Leases that are still open keep pointing at it until they come back."""
        model = instance.model
        model.measured.count(instance)
        del self.instances[instance.id]
        memory.take(self.used, instance.holds)
        if not instance.why:
            memory.take(self.planned, instance.holds)
        self.evictable.pop(instance, None)
        self.kept.pop(instance, None)
        self.draining.pop(instance, None)
        if model.group is not None:
            self.grouped.get(model.group.name, {}).pop(instance.id, None)
        if model.current is instance:
            model.current = model.serving = None
        model.leaving.pop(instance.id, None)
        self.timers.forget(instance)

    def in_the_way(self, group: GroupSpec | None) -> Iterator[tuple[Instance, str]]:
        """Alive instances beside which a Model of this group must not start, each with why (`swap`, `exclusive`)."""
        if group is None:
            return
        names = list(self.grouped) if group.exclusive else [group.name] if group.swap else []
        for name in names:
            for instance in self.grouped[name].values() if name in self.grouped else ():
                why = must_leave(group, instance.model.group)
                if why:
                    yield instance, why


def _enter(index: dict[Instance, None], instance: Instance, belongs: bool) -> None:
    if belongs:
        index[instance] = None
    else:
        index.pop(instance, None)


MakeError = Callable[[], CorralError]
