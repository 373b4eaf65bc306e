"""
The promises as invariants: a simulated world does whatever it likes, and what the machine answers must always hold.

The referee knows only events and commands, not the machine's insides. At the end the world calms down (every start
becomes ready, every stop ends, every lease comes back), and then everyone who waits must be answered, although one
Model stays hot.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from corral.domain import commands, events
from corral.domain.errors import CorralError, FetchRefused, FileMissing, NoMemory, NotThere, StartFailed
from corral.domain.fetching import Progress
from corral.domain.fleet import Fleet, GroupSpec, Limits, ModelSpec, OptionValue, Source
from corral.domain.launch import Endpoint, ExitKind, ExitStatus, LoadWish, Variant
from corral.domain.serving import Caller
from corral.domain.units import FOREVER
from corral.scheduler.machine import Machine
from corral.scheduler.policy.wishes import MOST_WAYS

from .consistency import check_books
from .script import footprint

NAMES = ("a", "b", "c", "d", "e")
LIMITS = Limits(queue_per_model=5, queue_total=12, max_wait_hot_s=10, backoff_first_s=1, backoff_max_s=8)
CALLERS = (
    Caller("plain"),
    Caller("plain"),
    Caller("other"),
    Caller("urgent", priority=2),
    Caller("two", max_concurrent=2),
    Caller("one", priority=-1, max_concurrent=1, max_waiting=3),
)
callers = st.sampled_from(CALLERS)
PATIENT = 1e6
CALM_ROUNDS = 400
LOAD_S = 1.0
FAILURES = (
    StartFailed("No."),
    StartFailed("No.", permanent=True),
    StartFailed("No room.", memory=True),
    NoMemory("Somebody else has it."),
    FileMissing("It was here."),
)
FETCH_FAILURES = (NotThere("Nobody has it."), FetchRefused("Not allowed."), FileMissing("The disk has gone."))
UNKNOWN = " of files that are not here"
CRASH = ExitStatus(ExitKind.SIGNALLED, signal=11)


@dataclass
class Engine:
    """An instance as the world sees it."""

    id: str
    model: str
    digest: str
    size: Mapping[str, int]  # bytes by device
    doing: str = "starting"  # starting, ready, stopping, gone
    slots: int = 0
    leases: set[int] = field(default_factory=set)  # requests, with or without a slot
    checking: bool = False
    ready_at: float | None = None  # when its load ended
    pinned: bool = True  # whenever it could have been asked to leave (other ways to load a Model never are)
    keep_s: float | None = None  # what its last request wanted
    idle_since: float = 0.0
    options: Mapping[str, OptionValue] = field(default_factory=dict)  # other than its Model's


@dataclass
class Asked:
    """A request as its caller sees it."""

    number: int
    model: str
    weight: int
    since: float
    deadline: float
    caller: Caller
    keep_s: float | None = None
    wish: LoadWish | None = None
    state: str = "waiting"  # waiting, granted, refused, left, done
    engine: Engine | None = None


OWN: Mapping[str, OptionValue] = {"ctx_size": 8}
wishes = st.one_of(
    st.none(),
    st.none(),
    st.builds(
        lambda ctx, threads: LoadWish(
            {**({"ctx_size": ctx} if ctx else {}), **({"threads": threads} if threads else {})}, OWN if ctx else {}
        ),
        st.sampled_from([0, 4, 12, 16]),
        st.sampled_from([0, 0, 1, 2]),
    ).map(lambda wish: wish if wish.options else None),
)
specs = st.builds(
    lambda slots, ttl, pin, preload, priority: {
        "slots": slots, "ttl_s": ttl, "pin": pin, "preload": preload, "priority": priority,
    },
    st.integers(1, 3),
    st.sampled_from([0.0, 5.0, 60.0, FOREVER]),
    st.sampled_from([False, False, False, True]),
    st.sampled_from([False, False, True]),
    st.integers(0, 2),
)  # fmt: skip
groupings = st.sampled_from(
    [
        (),
        (GroupSpec("g", ("a", "b", "c")),),
        (GroupSpec("g", ("a", "b")), GroupSpec("h", ("c", "d"))),
        (GroupSpec("g", ("a", "b")), GroupSpec("x", ("c", "d"), swap=False, exclusive=True)),
        (
            GroupSpec("p", ("a",), persistent=True),
            GroupSpec("x", ("b", "c"), exclusive=True),
            GroupSpec("h", ("d", "e")),
        ),
        (GroupSpec("x", ("a", "b"), exclusive=True), GroupSpec("y", ("c", "d"), exclusive=True)),
    ]
)
sizes = st.builds(
    lambda ram, gpu: {name: size for name, size in (("ram", ram), ("CUDA0", gpu)) if size},
    st.integers(0, 6),
    st.sampled_from([0, 0, 0, 2, 5]),
)
memories = st.sampled_from(
    [
        {},
        {"ram": 3},
        {"ram": 6},
        {"ram": 8, "CUDA0": 5},
        {"ram": 10},
        {"ram": 14, "CUDA0": 8},
        {"CUDA0": 5},
        {"CUDA0": 0},
    ]
)
fleets = st.fixed_dictionaries(
    {
        "specs": st.fixed_dictionaries(dict.fromkeys(NAMES, specs)),
        "present": st.sets(st.sampled_from(NAMES), min_size=2),
        "versions": st.fixed_dictionaries(dict.fromkeys(NAMES, st.integers(0, 1))),
        "sizes": st.fixed_dictionaries(dict.fromkeys(NAMES, sizes)),
        "shrinks": st.sets(st.sampled_from(NAMES), max_size=2),
        "elsewhere": st.sets(st.sampled_from(NAMES), max_size=3),  # their files are somewhere else, or were once
        "later": st.sets(st.sampled_from(NAMES), max_size=3),  # surveyed after the Fleet is announced
        "groups": groupings,
        "budgets": memories,
    }
)
waits = st.sampled_from([0.1, 1.0, 4.0, 9.9, 10.0, 35.0])


class Promises(RuleBasedStateMachine):
    """Random events; the referee is `_judge`."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = Machine(id_prefix="i")
        self.now = 100.0
        self.wake: float | None = None
        self.engines: dict[str, Engine] = {}
        self.asked: dict[int, Asked] = {}
        self.fleet = Fleet()
        self.digests: dict[str, str] = {}
        self.sizes: dict[str, Mapping[str, int]] = {}  # by load digest
        self.smaller: dict[str, str] = {}  # the smaller digest of Models that may be made smaller
        self.groups: dict[str, GroupSpec] = {}
        self.budgets: Mapping[str, int] = {}
        self.survey = events.ModelsSurveyed({}, {}, {})  # of all Models of the newest Fleet
        self.surveys: list[events.ModelsSurveyed | ModelSpec] = []  # that were asked for; of ways, as yet to be made
        self.unknown: set[str] = set()  # Models of which the machine was not told yet what they are now
        self.here: set[str] = set()  # references whose files have come
        self.fetches: dict[str, ModelSpec] = {}  # on their way
        self.ended: list[str] = []  # fetches of which late news may come
        self.unfetched: set[str] = set()  # Models whose last fetch failed
        self.barred: dict[str, float] = {}  # Models whose fetch failed: not before this time, if nothing is mended
        self.cut_allowed = False
        self.closing: float | None = None
        self.finished = False
        self.found = 0
        self.whole = True  # False after a failed check: then there is no end to play

    # --- rules: what may happen -----------------------------------------------------------------------------------

    @initialize(fleet=fleets)
    def first_fleet(self, fleet: dict) -> None:  # type: ignore[type-arg]
        self._change_fleet(fleet)

    @precondition(lambda self: self.surveys)
    @rule(pick=st.integers(0, 5))
    def survey_ends(self, pick: int) -> None:
        found = self.surveys.pop(pick % len(self.surveys))
        self._step(self._survey_of(found) if isinstance(found, ModelSpec) else self._as_remembered(found))

    def _as_remembered(self, survey: events.ModelsSurveyed) -> events.ModelsSurveyed:
        """A survey says what was measured by the time at which it is made."""
        footprints = {name: footprint(self.sizes.get(digest, {})) for name, digest in survey.digests.items()}
        variants = {
            name: tuple(dataclasses.replace(each, footprint=footprint(self.sizes[each.digest])) for each in smaller)
            for name, smaller in survey.variants.items()
        }
        return msgspec.structs.replace(survey, footprints=footprints, variants=variants)

    def _survey_of(self, spec: ModelSpec) -> events.ModelsSurveyed:
        """Of another way to load a Model, or of one whose files have come, or gone, since its Fleet was surveyed."""
        digest = self.digests[spec.name]
        if spec.source.wanting:
            digest += UNKNOWN
        if _others(spec):
            digest += f" {_others(spec)}"
        self.sizes.setdefault(digest, {} if spec.source.wanting else {"ram": 1 + len(digest) % 2})
        variants = {} if _others(spec) or spec.source.wanting else self._variants([spec.name])
        size = footprint(self.sizes[digest])
        return events.ModelsSurveyed({spec.name: spec}, {spec.name: digest}, {spec.name: size}, {}, variants)

    @precondition(lambda self: self.fetches)
    @rule(pick=st.integers(0, 5), done=st.integers(0, 5))
    def a_fetch_progresses(self, pick: int, done: int) -> None:
        fetch = sorted(self.fetches)[pick % len(self.fetches)]
        assert self._step(events.FetchProgressed(fetch, Progress(done, 5, 1.0))) == []

    @precondition(lambda self: self.fetches)
    @rule(pick=st.integers(0, 5))
    def files_come(self, pick: int) -> None:
        fetch = sorted(self.fetches)[pick % len(self.fetches)]
        model = self.fetches.pop(fetch)
        source = model.source
        self.unfetched.discard(model.name)
        self.ended.append(fetch)
        self.here.add(source.reference)
        self._step(events.FilesCame(fetch, dataclasses.replace(source, path=f"/{source.reference}"), 5, 1.0))

    @precondition(lambda self: self.fetches)
    @rule(pick=st.integers(0, 5), error=st.sampled_from(FETCH_FAILURES))
    def a_fetch_fails(self, pick: int, error: CorralError) -> None:
        fetch = sorted(self.fetches)[pick % len(self.fetches)]
        name = self.fetches.pop(fetch).name
        self.ended.append(fetch)
        self.unfetched.add(name)
        self.barred[name] = self.now + LIMITS.backoff_first_s
        self._step(events.FilesFailed(fetch, error))
        running = [e for e in self._alive() if e.model == name and e.doing != "stopping"]
        assert running or not [r for r in self._in_state("waiting") if r.model == name], "nobody told them"

    @precondition(lambda self: self.ended)
    @rule(pick=st.integers(0, 50), how=st.integers(0, 2))
    def late_news_of_a_fetch(self, pick: int, how: int) -> None:
        fetch = self.ended[pick % len(self.ended)]
        late = (
            events.FetchProgressed(fetch, Progress(1, 5)),
            events.FilesCame(fetch, Source("/late", "late")),
            events.FilesFailed(fetch, NotThere()),
        )[how]
        assert self._step(late) == [], "it was ended, and counts no more"

    @rule(model=st.sampled_from(NAMES), version=st.integers(0, 1))
    def files_are_taken_away(self, model: str, version: int) -> None:
        self.here.discard(_reference(model, version))

    @rule(fleet=fleets)
    def reload(self, fleet: dict) -> None:  # type: ignore[type-arg]
        self._change_fleet(fleet)

    @rule(
        model=st.sampled_from(NAMES),
        weight=st.sampled_from([1, 1, 1, 0]),
        patience=st.sampled_from([5.0, 40.0, PATIENT]),
        caller=callers,
        keep=st.sampled_from([None, None, 0.0, 7.0, FOREVER]),
        wish=wishes,
        operator=st.sampled_from([False, False, False, True]),
    )
    def ask(
        self,
        model: str,
        weight: int,
        patience: float,
        caller: Caller,
        keep: float | None = None,
        wish: LoadWish | None = None,
        operator: bool = False,
    ) -> None:
        number = len(self.asked) + 1
        if operator:
            self.barred.pop(model, None)
        self.asked[number] = Asked(number, model, weight, self.now, self.now + patience, caller, keep, wish)
        self._step(events.Requested(number, model, caller, self.now + patience, weight, operator, keep, wish))

    @rule(model=st.sampled_from(NAMES), count=st.integers(2, 8), caller=callers)
    def burst(self, model: str, count: int, caller: Caller) -> None:
        for _ in range(count):
            self.ask(model, 1, PATIENT, caller)

    @precondition(lambda self: self._in_state("waiting"))
    @rule(pick=st.integers(0))
    def leave_the_queue(self, pick: int) -> None:
        request = self._pick("waiting", pick)
        request.state = "left"
        self._step(events.RequestsLeft((request.number,)))

    @precondition(lambda self: self._in_state("granted"))
    @rule(pick=st.integers(0), broken=st.sampled_from([False, False, False, True]), leave=st.booleans())
    def give_back(self, pick: int, broken: bool, leave: bool) -> None:
        request = self._pick("granted", pick)
        self._end(request, broken=broken, leave=leave)

    @precondition(lambda self: self._doing("starting"))
    @rule(pick=st.integers(0), slots=st.integers(1, 3), quick=st.booleans())
    def become_ready(self, pick: int, slots: int, quick: bool) -> None:
        engine = self._engine("starting", pick)
        engine.doing, engine.slots, engine.ready_at, engine.idle_since = "ready", slots, self.now, self.now
        self._step(events.InstanceReady(engine.id, Endpoint(socket=engine.id), slots, LOAD_S))
        while quick and engine.leases:  # whoever waited is answered in no time
            self._end(self.asked[min(engine.leases)])

    @precondition(lambda self: self._doing("starting"))
    @rule(pick=st.integers(0), error=st.sampled_from(FAILURES))
    def fail(self, pick: int, error: CorralError) -> None:
        engine = self._engine("starting", pick)
        engine.doing = "gone"
        self._step(events.InstanceFailed(engine.id, error))

    @precondition(lambda self: self._doing("ready"))
    @rule(pick=st.integers(0), size=sizes)
    def measure(self, pick: int, size: Mapping[str, int]) -> None:
        engine = self._engine("ready", pick)
        engine.size = size
        if engine.options or engine.digest in self._ways(engine.model):
            self.sizes[engine.digest] = size
        self._step(events.InstanceMeasured(engine.id, footprint(size)))

    @precondition(lambda self: self._doing("ready"))
    @rule(pick=st.integers(0))
    def crash(self, pick: int) -> None:
        engine = self._engine("ready", pick)
        engine.doing = "gone"
        self._step(events.InstanceExited(engine.id, CRASH))

    @precondition(lambda self: self._doing("stopping"))
    @rule(pick=st.integers(0), how=st.sampled_from(["stopped", "stopped", "late ready", "died", "failed", "memory"]))
    def stop_ends(self, pick: int, how: str) -> None:
        engine = self._engine("stopping", pick)
        if how == "late ready":  # it was on its way when the Stop was decided
            self._step(events.InstanceReady(engine.id, Endpoint(), 1, 1.0))
            return
        if how == "memory":  # it is still there, and counts
            self._step(events.InstanceStopped(engine.id, "still in use"))
            return
        engine.doing = "gone"
        if how == "died":
            self._step(events.InstanceExited(engine.id, CRASH))
        elif how == "failed":
            self._step(events.InstanceFailed(engine.id, StartFailed("No.")))
        self._step(events.InstanceStopped(engine.id))

    @precondition(lambda self: any(e.checking for e in self.engines.values()))
    @rule(alive=st.booleans())
    def check_ends(self, alive: bool) -> None:
        engine = next(e for e in self.engines.values() if e.checking)
        engine.checking = False
        if alive or engine.doing != "ready":
            self._step(events.InstanceChecked(engine.id))
        else:
            engine.doing = "gone"
            self._step(events.InstanceExited(engine.id, CRASH))

    @rule(model=st.sampled_from(NAMES), seconds=st.sampled_from([0.0, 0.0, 7.0]))
    def keep(self, model: str, seconds: float) -> None:
        for engine in self._alive():
            if engine.model == model:
                engine.keep_s = seconds
        before = [r.number for r in self._in_state("waiting")]
        self._step(events.KeepWanted(model, seconds))
        assert [r.number for r in self._in_state("waiting")] == before, "refused by another client"

    @rule(model=st.sampled_from((*NAMES, "")), force=st.booleans())
    def unload(self, model: str, force: bool) -> None:
        self.cut_allowed = force
        self.barred = {name: at for name, at in self.barred.items() if model not in ("", name)}
        self._step(events.UnloadWanted(model, force))
        assert not [spec for spec in self.fetches.values() if model in ("", spec.name)], "fetched for nobody"
        self.cut_allowed = False

    @rule(budgets=memories)
    def change_memory(self, budgets: Mapping[str, int]) -> None:
        self.budgets = budgets
        self._step(events.MemoryChanged(budgets))

    @rule(model=st.sampled_from(NAMES), version=st.integers(0, 1))
    def find_an_engine(self, model: str, version: int) -> None:
        self.found += 1
        self._step(self._as_remembered(self.survey))  # the Models of engines that are found are surveyed with the Fleet
        known, digest = self.machine._world.models.get(model), f"{model}{version}"
        if known is not None and not known.surveyed and model in self.fleet.models:  # its files have come since
            self._step(self._survey_of(known.spec))
        if known is None:  # nobody can know what an unknown Model needs
            self.groups.pop(model, None)
        size = {} if known is None else known.sizes.get(digest, known.needs)
        engine = Engine(f"old-{self.found}", model, digest, size, "ready", 2, idle_since=self.now)
        self.engines[engine.id] = engine
        self.barred.pop(model, None)
        self._step(events.InstanceAdopted(engine.id, model, engine.digest, Endpoint(), 2))

    @rule(seconds=waits)
    def time_passes(self, seconds: float) -> None:
        end = self.now + seconds
        while self.wake is not None and self.wake <= end:
            self.now = max(self.now, self.wake)
            self.wake = None
            self._step(events.Tick())
        self.now = end

    @rule()
    def tick_for_no_reason(self) -> None:
        self.wake = None
        self._step(events.Tick())

    @rule(odds=st.integers(0, 9), within=st.sampled_from([0.0, 20.0]))
    def shut_down(self, odds: int, within: float) -> None:
        if odds == 0:
            self.closing = min(self.now + within, self.closing if self.closing is not None else FOREVER)
            self._step(events.ShutdownWanted(self.now + within))
            assert not self.fetches

    # --- the referee ----------------------------------------------------------------------------------------------

    def _step(self, event: events.SchedulerEvent) -> list[commands.Command]:
        self.whole = False
        if isinstance(event, events.ModelsSurveyed):
            known = self.machine._world.models
            self.unknown -= {name for name, spec in event.models.items() if name in known and known[name].spec is spec}
        out = self.machine.step(event, self.now)
        for command in out:
            self._judge(command)
        check_books(self.machine)
        deadlines = [request.deadline for request in self.asked.values() if request.state == "waiting"]
        if deadlines:
            assert self.wake is not None
            assert self.wake <= min(deadlines), "nobody will be there when a deadline comes"
        assert self.machine.queue_total == len(deadlines) <= LIMITS.queue_total
        self._judge_places()
        for spec in self.fetches.values():
            wanted = self.fleet.models.get(spec.name)
            asked = any(request.model == spec.name for request in self._in_state("waiting"))
            assert asked or wanted is not None, "fetched for a Model that is gone"
            assert wanted is None or wanted.source.reference == spec.source.reference, "what nobody wants any more"
        self.whole = True
        return out

    def _judge_places(self) -> None:
        waiting = self._in_state("waiting")
        listed = self.machine.waiters(self.now)
        assert sorted(view.request for view in listed) == [r.number for r in waiting]
        for caller in {r.caller for r in waiting}:
            own = [r for r in waiting if r.caller == caller]
            if caller.max_waiting:
                assert len(own) <= caller.max_waiting
            # Those that are kept out of line are so for a reason: their caller has as many as it may.
            held_back = [view for view in listed if view.held_back and view.caller == caller.name]
            if held_back:
                granted = [r for r in self._in_state("granted") if r.caller == caller and r.weight]
                slots = [r for r in own if r.weight]
                assert len(granted) + len(slots) - len(held_back) >= caller.max_concurrent

    def _judge(self, command: commands.Command) -> None:
        match command:
            case commands.Start():
                self._judge_start(command)
            case commands.Stop():
                self._judge_stop(command)
            case commands.Grant():
                self._judge_grant(command)
            case commands.Refuse():
                request = self.asked[command.request]
                assert request.state == "waiting", f"{request} gets a second answer"
                request.state = "refused"
                fetched = command.error.code not in {"not_there", "fetch_refused"} or request.model in self.unfetched
                assert fetched, "what failed has come since"
                if command.error.code == "queue_timeout":
                    assert request.deadline <= self.now
            case commands.Survey():
                of_fleet = self.survey.models.get(command.model.name) is command.model
                assert of_fleet or _others(command.model) or command.model.source.reference
                self.surveys.append(self.survey if of_fleet else command.model)
            case commands.Fetch():
                self._judge_fetch(command)
            case commands.EndFetch():
                self.fetches.pop(command.fetch)
                self.ended.append(command.fetch)
            case commands.Check():
                engine = self.engines[command.instance]
                assert engine.doing == "ready"
                assert not engine.checking
                engine.checking = True
            case commands.Wake():
                self.wake = command.at
            case commands.Finished():
                assert self.closing is not None
                assert not self._alive()
                assert not self.fetches
                assert not self.finished
                self.finished = True

    def _judge_fetch(self, command: commands.Fetch) -> None:
        name, source = command.model.name, command.model.source
        assert self.closing is None
        assert source.wanting, "it is here"
        assert name not in {spec.name for spec in self.fetches.values()}, "two fetches for one Model"
        assert self.now >= self.barred.get(name, self.now), "tried again within the back-off"
        self.fetches[command.fetch] = command.model

    def _judge_start(self, command: commands.Start) -> None:
        name, digest = command.model.name, command.digest
        assert self.closing is None
        assert command.instance not in self.engines
        assert not command.model.source.wanting, "started without its files"
        assert name not in {spec.name for spec in self.fetches.values()}, "started while its files are on their way"
        assert not [e for e in self._alive() if (e.model, e.digest) == (name, digest)], "two loads of one load digest"
        options = _others(command.model) if not command.note else {}
        if name in self.fleet.models and not options:
            assert digest in self._ways(name)
        assert command.footprint == self.sizes[digest]
        assert command.limited == self.budgets.keys()
        for device, size in command.footprint.items():
            used = sum(e.size.get(device, 0) for e in self._alive())
            assert used + size <= self.budgets.get(device, FOREVER), "a start beyond the budget"
        if command.note and not any(spec.pin for spec in self.fleet.models.values()):
            whole = self.sizes[self.digests[name]]
            assert any(size > self.budgets.get(device, FOREVER) for device, size in whole.items()), (
                "smaller for nothing"
            )
        for other in self._alive():
            assert not self._sends_away(name, other.model), f"{name} starts beside {other}"
        self.engines[command.instance] = Engine(command.instance, name, digest, self.sizes[digest], options=options)
        ways = {tuple(e.options.items()) for e in self._alive() if e.model == name and e.options}
        assert len(ways) <= 2 * MOST_WAYS, "more and more ways to load one Model"

    def _ways(self, model: str) -> list[str]:
        return [found for found in (self.digests.get(model), self.smaller.get(model)) if found]

    def _sends_away(self, newcomer: str, other: str) -> bool:
        own, others = self.groups.get(newcomer), self.groups.get(other)
        if own is None or others is None:
            return False
        if own.name == others.name:
            return own.swap
        return own.exclusive and not others.persistent

    def _judge_stop(self, command: commands.Stop) -> None:
        engine = self.engines[command.instance]
        assert engine.doing in {"starting", "ready"}, "stopped twice, or after its end"
        if command.force:
            assert self.cut_allowed or (self.closing is not None and self.closing <= self.now)
        else:
            assert not engine.leases, "an instance with a lease is stopped"
        if engine.pinned and self._pinned(engine.model) and not engine.options:
            assert command.reason in {"unload", "reload", "shutdown"}, "a pinned Model is evicted"
        if command.reason == "ttl":
            self._judge_ttl(engine)
        if command.reason in {"swap", "exclusive"} and engine.ready_at is not None:
            assert self.now >= engine.ready_at + LOAD_S, "evicted sooner than its load took"
        engine.doing = "stopping"

    def _judge_ttl(self, engine: Engine) -> None:
        assert engine.options or not self._pinned(engine.model)
        stays = self.fleet.models[engine.model].ttl_s if engine.keep_s is None else engine.keep_s
        assert self.now >= engine.idle_since + stays, "unloaded before its time"

    def _judge_grant(self, command: commands.Grant) -> None:
        request, engine = self.asked[command.request], self.engines[command.instance]
        assert request.state == "waiting", f"{request} gets a second answer"
        assert engine.doing == "ready"
        assert not engine.checking, "a lease on an instance that may be dead"
        assert engine.model == request.model
        if engine.model in self.fleet.models and not engine.options and engine.model not in self.unknown:
            assert engine.digest in self._ways(engine.model)
        if request.weight:
            self._judge_options(request, engine)
            mates = [r for r in self._in_state("waiting") if r.model == request.model and r.weight]
            own = [r for r in mates if r.caller == request.caller and r.wish is None]
            assert request.wish is not None or own[0] is request, "within a caller: first come, first served"
            self._judge_bound(request)
            in_use = sum(self.asked[number].weight for number in engine.leases)
            assert in_use < engine.slots, "more leases than slots"
        assert command.waited_s == self.now - request.since
        request.state, request.engine = "granted", engine
        engine.keep_s = engine.keep_s if request.keep_s is None else request.keep_s
        engine.leases.add(request.number)

    def _judge_options(self, request: Asked, engine: Engine) -> None:
        wanted: Mapping[str, OptionValue] = {} if request.wish is None else request.wish.options
        if request.wish is None:
            assert not engine.options, "what nobody wanted"
        assert engine.options.get("threads") == wanted.get("threads")
        assert engine.options.get("ctx_size", 8) >= wanted.get("ctx_size", 8)  # type: ignore[operator]

    def _judge_bound(self, request: Asked) -> None:
        bound = request.caller.max_concurrent
        if bound:
            own = [r for r in self.asked.values() if r.caller == request.caller and r.weight]
            assert sum(r.state == "granted" for r in own) < bound, "more leases than the key may have"
            # Those before it are in line as well, or have been served: it has passed none that is kept out of line.
            assert sum(r.state in ("waiting", "granted") for r in own if r.number < request.number) < bound

    # --- the end: everyone gets an answer -------------------------------------------------------------------------

    def teardown(self) -> None:
        if not self.fleet.models or not self.whole:
            return
        hot = min(self.fleet.models)
        patient = [r for r in self._in_state("waiting") if r.deadline - self.now > PATIENT / 2]
        for round_ in range(CALM_ROUNDS):
            if self.closing is None and round_ < CALM_ROUNDS // 2:
                self.ask(hot, 1, PATIENT, CALLERS[round_ % len(CALLERS)])  # it never cools down
            self._calm_round()
            if round_ >= CALM_ROUNDS // 2 and not self._in_state("waiting"):
                break
            if round_ == CALM_ROUNDS // 2:
                starved = [r for r in patient if r.state == "waiting" and r.model != hot]
                assert not starved, f"starved behind {hot}: {starved}"
        assert not self._in_state("waiting"), "waits for ever"
        if self.closing is not None:
            assert self.finished

    def _calm_round(self) -> None:
        while self.surveys:
            self.survey_ends(0)
        while self.fetches:
            self.files_come(0)
        for request in self._in_state("granted"):
            self._end(request)
        while any(e.checking for e in self.engines.values()):
            self.check_ends(True)
        for engine in self._doing("stopping"):
            engine.doing = "gone"
            self._step(events.InstanceStopped(engine.id))
        for engine in self._doing("starting"):
            if engine.doing == "starting":  # it may have been aborted by what happened just before
                engine.doing, engine.slots, engine.ready_at, engine.idle_since = "ready", 1, self.now, self.now
                self._step(events.InstanceReady(engine.id, Endpoint(), 1, LOAD_S))
        self.time_passes(1.0)

    def _pinned(self, model: str) -> bool:
        return model in self.fleet.models and self.fleet.models[model].pin

    # --- helpers --------------------------------------------------------------------------------------------------

    def _change_fleet(self, fleet: dict) -> None:  # type: ignore[type-arg]
        present = sorted(fleet["present"])
        models = {
            name: ModelSpec(
                name,
                self._source(name, fleet["versions"][name]) if name in fleet["elsewhere"] else Source(),
                options=OWN,
                **fleet["specs"][name],
            )
            for name in present
        }
        self.barred.clear()  # what it was may be mended
        for engine in self._alive():
            engine.pinned = engine.pinned and self._pinned(engine.model)
        if self.closing is None:
            self.budgets = fleet["budgets"]
            self.fleet = Fleet(models, {g.name: g for g in fleet["groups"]}, self.budgets, LIMITS)
            self.unknown = {name for name in present if name in fleet["later"]}
            self.digests |= {name: f"{name}{fleet['versions'][name]}" for name in present}
            for name in present:
                self.sizes[self.digests[name]] = fleet["sizes"][name]
                self.smaller.pop(name, None)
                if name in fleet["shrinks"]:
                    self.smaller[name] = f"{self.digests[name]}-smaller"
                    half = {device: size // 2 for device, size in fleet["sizes"][name].items()}
                    self.sizes[self.smaller[name]] = {device: size for device, size in half.items() if size}
            for name in present:
                self.groups.pop(name, None)
                if (group := self.fleet.group_of(name)) is not None:
                    self.groups[name] = group
        wanting = {name for name, model in models.items() if model.source.wanting}
        digests = {name: self.digests.get(name, "") + UNKNOWN * (name in wanting) for name in present}
        footprints = {name: footprint(self.sizes.get(digest, {})) for name, digest in digests.items()}
        variants = self._variants(name for name in present if name not in wanting)
        wanted = Fleet(models, self.fleet.groups, self.budgets, LIMITS)
        later = fleet["later"]
        self.survey = events.ModelsSurveyed(models, digests, footprints, {}, variants)
        now = {name: digest for name, digest in digests.items() if name not in later}
        self._step(events.FleetChanged(wanted, now, footprints, {}, variants))

    def _source(self, name: str, version: int) -> Source:
        """As whoever announces a Fleet finds it: with a path, where the files are here."""
        reference = _reference(name, version)
        return Source(f"/{reference}" if reference in self.here else "", reference)

    def _variants(self, names: Iterable[str]) -> dict[str, tuple[Variant, ...]]:
        found = {name: self.smaller[name] for name in names if name in self.smaller}
        return {
            name: (Variant({"n_gpu_layers": 1}, footprint(self.sizes[digest]), digest, "smaller"),)
            for name, digest in found.items()
        }

    def _end(self, request: Asked, *, broken: bool = False, leave: bool = False) -> None:
        assert request.engine is not None
        request.state = "done"
        request.engine.leases.discard(request.number)
        request.engine.idle_since = self.now
        self._step(events.RequestsLeft((request.number,)) if leave else events.LeaseReleased(request.number, broken))

    def _in_state(self, state: str) -> list[Asked]:
        return [request for request in self.asked.values() if request.state == state]

    def _pick(self, state: str, pick: int) -> Asked:
        found = self._in_state(state)
        return found[pick % len(found)]

    def _alive(self) -> list[Engine]:
        return [engine for engine in self.engines.values() if engine.doing != "gone"]

    def _doing(self, what: str) -> list[Engine]:
        return [engine for engine in self.engines.values() if engine.doing == what]

    def _engine(self, doing: str, pick: int) -> Engine:
        found = self._doing(doing)
        return found[pick % len(found)]


def _reference(name: str, version: int) -> str:
    return f"hf.co/o/{name}{version}"


def _others(spec: ModelSpec) -> dict[str, OptionValue]:
    """The options in which it is another way to load its Model."""
    return {name: value for name, value in spec.options.items() if value != OWN.get(name)}


def test_the_promises_hold_whatever_happens() -> None:
    run_state_machine_as_test(
        Promises,
        settings=settings(
            max_examples=100,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            # Shrinking takes minutes; a failure comes back as it is. Add Phase.shrink to look at one.
            phases=[Phase.generate],
            report_multiple_bugs=False,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
