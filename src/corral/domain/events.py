"""
What happened. Two families, both plain values.

*Scheduler events* go into the machine (`scheduler.machine.Machine.step`). *Notices* go out to observers (metrics, log,
live feed) and change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from corral.domain.errors import CorralError
from corral.domain.fetching import Progress
from corral.domain.fleet import Fleet, ModelSpec, OptionValue, Source
from corral.domain.instance import InstanceState
from corral.domain.launch import Endpoint, ExitStatus, Footprint, LoadWish, Remembered, Variant
from corral.domain.serving import Caller

# --- scheduler events ---------------------------------------------------------------------------------------------


class FleetChanged(msgspec.Struct, frozen=True):
    """
    The operator wants another Fleet. A Model that is in `digests` and `footprints` is surveyed; the others can be
    asked for as well, and start when a ModelsSurveyed has told what their starts take.

    `load_s` has the seconds that a load took at an earlier time, for Models of which they are known; `variants` the
    smaller ways to start a Model, the largest first, for those that may be made smaller. `remembered` says of
    measured footprints, by load digest, where they come from.
    """

    fleet: Fleet
    digests: Mapping[str, str]
    footprints: Mapping[str, Footprint]
    load_s: Mapping[str, float] = {}
    variants: Mapping[str, tuple[Variant, ...]] = {}
    remembered: Mapping[str, Remembered] = {}


class ModelsSurveyed(msgspec.Struct, frozen=True):
    """
    More Models are surveyed, as a Survey command asked or because it was their turn.

    `models` are the specs that were looked at: what was found for a spec that is not the Model's any more is ignored.
    The rest is as in FleetChanged.
    """

    models: Mapping[str, ModelSpec]
    digests: Mapping[str, str]
    footprints: Mapping[str, Footprint]
    load_s: Mapping[str, float] = {}
    variants: Mapping[str, tuple[Variant, ...]] = {}
    remembered: Mapping[str, Remembered] = {}


class Requested(msgspec.Struct, frozen=True, gc=False):
    """
    A caller wants a lease on a Model (its own name, aliases already resolved).

    `weight` 1 takes a slot; 0 takes none but still keeps the instance (`/tokenize`, `corral load`). `operator` asks
    by hand: a failed Model is tried again at once. `deadline` is on the scheduler's clock. `keep_s` is how long the
    instance that serves it stays once it is idle, from now on; None changes nothing, FOREVER keeps it. `wish` is what
    the Model shall be loaded with; None takes it as it was configured, or for no slot as it is
    (AS_CONFIGURED does not).
    """

    request: int
    model: str
    caller: Caller
    deadline: float
    weight: int = 1
    operator: bool = False
    keep_s: float | None = None
    wish: LoadWish | None = None


class KeepWanted(msgspec.Struct, frozen=True):
    """
    Whatever runs of a Model, or starts, stays only this long once it is idle; as `keep_s` of a request, but of none.

    Nothing is loaded for it, and nobody who uses the Model or waits for it loses anything.
    """

    model: str
    keep_s: float


class RequestsLeft(msgspec.Struct, frozen=True, gc=False):
    """
    The callers of waiting requests are gone. After a grant it means the same as LeaseReleased.

    Who leaves at one time is in one event, because all of them together take one plan of loads.
    """

    requests: tuple[int, ...]


class LeaseReleased(msgspec.Struct, frozen=True, gc=False):
    """A granted request has ended. `broken`: the engine's connection failed, the instance may be dead."""

    request: int
    broken: bool = False


class FetchProgressed(msgspec.Struct, frozen=True):
    """How far a fetch is. For people, and for what is told of the wait."""

    fetch: str
    progress: Progress


class FilesCame(msgspec.Struct, frozen=True):
    """A fetch is over: `source` is the Model's, with the paths of its files. `fetched_bytes` came over the network."""

    fetch: str
    source: Source
    fetched_bytes: int = 0
    seconds: float = 0.0


class FilesFailed(msgspec.Struct, frozen=True):
    """A fetch is over, and the files are not here."""

    fetch: str
    error: CorralError
    fetched_bytes: int = 0
    seconds: float = 0.0


class InstanceReady(msgspec.Struct, frozen=True):
    """An instance in `starting` answers now. `slots` is what the engine really offers, `load_s` how long it took."""

    instance: str
    endpoint: Endpoint
    slots: int
    load_s: float
    options: Mapping[str, OptionValue] = {}  # that the engine chose itself, see contracts.engine.ReadyInfo


class InstanceProgressed(msgspec.Struct, frozen=True):
    """An instance in `starting` says how much of its load is done: `progress` from 0 to 1. For people alone."""

    instance: str
    progress: float


class InstanceFailed(msgspec.Struct, frozen=True):
    """An instance in `starting` will not become ready; nothing of it is left running."""

    instance: str
    error: CorralError


class InstanceExited(msgspec.Struct, frozen=True):
    """An instance that was ready or draining ended without being asked to; nothing of it is left running."""

    instance: str
    exit: ExitStatus


class InstanceStopped(msgspec.Struct, frozen=True):
    """
    A Stop command is done: the processes are gone and the memory is seen to be free.

    With an `error` they are not: the instance keeps its bytes, who needs them is refused with that reason, and the
    event comes again, until one comes without an error.
    """

    instance: str
    error: str = ""


class InstanceChecked(msgspec.Struct, frozen=True):
    """A Check command is done and the instance is alive (a dead one gives InstanceExited)."""

    instance: str


class InstanceAdopted(msgspec.Struct, frozen=True):
    """An engine of an earlier Corral was found again, is ready, and can serve `model`."""

    instance: str
    model: str
    digest: str
    endpoint: Endpoint
    slots: int
    options: Mapping[str, OptionValue] = {}  # as in InstanceReady


class UnloadWanted(msgspec.Struct, frozen=True):
    """Unload a Model ("" = all). `force` does not wait for leases; waiters are refused either way."""

    model: str = ""
    force: bool = False


class MemoryChanged(msgspec.Struct, frozen=True):
    """The budgets are these now: bytes by device, no limit for those without an entry."""

    budgets: Mapping[str, int]


class InstanceMeasured(msgspec.Struct, frozen=True):
    """What an instance that is ready really holds. From now on this counts, not the estimate. `at`: wall seconds."""

    instance: str
    footprint: Footprint
    at: float = 0.0


class ShutdownWanted(msgspec.Struct, frozen=True):
    """Refuse what waits, let running leases end until `deadline`, stop everything (or keep it, the loop decides)."""

    deadline: float


class Tick(msgspec.Struct, frozen=True):
    """Time has passed: the moment of the last Wake command, or later."""


SchedulerEvent = (
    FleetChanged
    | ModelsSurveyed
    | Requested
    | RequestsLeft
    | LeaseReleased
    | FetchProgressed
    | FilesCame
    | FilesFailed
    | InstanceReady
    | InstanceProgressed
    | InstanceFailed
    | InstanceExited
    | InstanceStopped
    | InstanceChecked
    | InstanceAdopted
    | KeepWanted
    | UnloadWanted
    | MemoryChanged
    | InstanceMeasured
    | ShutdownWanted
    | Tick
)

# --- notices ------------------------------------------------------------------------------------------------------


class StateChanged(msgspec.Struct, frozen=True):
    """An instance went from one state to another; `reason` is a short phrase for people."""

    model: str
    instance: str
    old: InstanceState
    new: InstanceState
    reason: str = ""


class LoadFinished(msgspec.Struct, frozen=True):
    """A start ended. `outcome` is `ready`, `failed` or `aborted`; `waiters` were served by this one load."""

    model: str
    outcome: str
    seconds: float
    waiters: int = 0


class FetchFinished(msgspec.Struct, frozen=True):
    """
    The files of a Model came, or did not. `outcome` is `fetched`, `there` (nothing had to come), `failed` or `ended`.
    """

    model: str
    outcome: str
    fetched_bytes: int = 0
    seconds: float = 0.0


class Evicted(msgspec.Struct, frozen=True):
    """
    An instance leaves. `why` is one of `swap`, `exclusive`, `memory`, `ttl`, `unload`, `reload`, `options`, `shutdown`.
    """

    model: str
    why: str
    for_model: str = ""


class Shrunk(msgspec.Struct, frozen=True):
    """A Model is started smaller than it was configured, because it could never fit; `note` says in what respect."""

    model: str
    instance: str
    note: str


class LeaseGranted(msgspec.Struct, frozen=True, gc=False):
    """A request got its lease after waiting this long."""

    model: str
    waited_s: float


class RequestRefused(msgspec.Struct, frozen=True, gc=False):
    """A request did not get a lease, for this reason (an error code)."""

    model: str
    code: str


class RequestFinished(msgspec.Struct, frozen=True, gc=False):
    """
    One request on a Model's route has ended, however it ended.

    Times are seconds. `ttft_s` is from the arrival of the request to the first non-empty delta (None where the answer
    had none, or was not a stream). `slot_s` is how long it kept a slot (0 where its route needs
    none). Token counts come from the engine's own `usage` or `timings`, None where it said
    nothing: never estimated.
    """

    model: str
    route: str
    status: int
    caller: str
    stream: bool
    outcome: str  # ok, refused, engine_error, engine_died, timeout, client_gone
    duration_s: float
    queue_s: float
    request_id: str = ""
    ttft_s: float | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    instance: str = ""
    bytes_out: int = 0
    slot_s: float = 0.0


Notice = (
    StateChanged | LoadFinished | FetchFinished | Evicted | Shrunk | LeaseGranted | RequestRefused | RequestFinished
)
