"""
The Fleet: everything the operator wants, compiled from the configuration.

A reload is one `FleetChanged` event with a new Fleet. Nothing here is read from disk; `config.compile` makes it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from corral.domain.requests import DefaultModels, ProfileSpec, RequestRules
from corral.domain.units import FOREVER

OptionValue = str | int | float | bool | tuple[str, ...]
ArgValue = str | int | float | bool | tuple[str | int | float, ...]
_SCALE: Final = re.compile(r":[-+0-9.eE]+$")


@dataclass(frozen=True, slots=True)
class Source:
    """
    Where a Model's weights come from: a file of this machine, a place to fetch them from, or nothing for an engine that
    already runs.

    With a `reference` the `path` is "" until the files are here, and so are those of the `projector` and the `adapters`
    that come along with it.
    """

    path: str = ""
    reference: str = ""  # as domain.references.parse reads it
    place: str = ""  # the file that it shall become; "" = where the store puts it
    sha256: str = ""
    pictures: bool = True  # its projector is wanted too, where there is one
    projector: str = ""
    adapters: tuple[str, ...] = ()
    auto_download: bool = True

    @property
    def given(self) -> bool:
        """Whether there is anything to load, here or elsewhere."""
        return bool(self.path or self.reference)

    @property
    def wanting(self) -> bool:
        """Whether its files would have to be fetched before a start."""
        return bool(self.reference) and not self.path


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds; every one is finite by default."""

    queue_s: float = 600.0  # from arrival to a lease, the load included
    load_s: float = 600.0  # from the start of an engine to ready
    first_token_s: float = 600.0  # from the lease to the first byte of the answer
    idle_s: float = 120.0  # silence between two pieces of an answer
    total_s: float = 3600.0  # from the lease to the end of the answer
    heartbeat_s: float = 10.0  # silence, after which who wants a stream is told that it is alive
    stop_s: float = 2.0  # for an engine to end after SIGTERM, its leases being gone; then SIGKILL

    @property
    def sign_s(self) -> float:
        """How long a stream may be silent before somebody has to look at it."""
        return min(self.heartbeat_s, self.first_token_s, self.idle_s)


@dataclass(frozen=True, slots=True)
class Fit:
    """How far a Model that can never fit may be made smaller. None = not at all in this respect."""

    min_ctx_size: int | None = None  # tokens, over all slots
    min_gpu_layers: int | None = None


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One Model as the operator wants it. `options` are already checked by the engine's OptionSpec table."""

    name: str
    source: Source = Source()
    engine: str = "llamacpp"
    runtime: str = "process"
    binary: str = ""  # "" lets the engine choose
    options: Mapping[str, OptionValue] = field(default_factory=dict)
    args: tuple[tuple[str, ArgValue], ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    aliases: tuple[str, ...] = ()
    slots: int = 1  # leases per instance
    ttl_s: float = 600.0  # idle seconds before it is unloaded; FOREVER = never
    keep_min_s: float = 0.0  # what requests may ask for in its place: at least this,
    keep_max_s: float = FOREVER  # and at most this
    load_options: Mapping[str, bool | int] = field(default_factory=dict)  # what requests may have it loaded with
    pin: bool = False  # started with Corral, restarted with back-off, never evicted
    preload: bool = False  # started with Corral, otherwise like any other
    priority: int = 0  # higher is served first
    queue_limit: int = 0  # 0 = the fleet's own
    fit: Fit | None = None  # None = refused where it does not fit
    timeouts: Timeouts = Timeouts()
    title: str = ""
    description: str = ""
    task: str = ""  # what it is for, where the operator knows better than the file
    capabilities: tuple[str, ...] = ()
    loading_state: str = "comment"  # how who waits for a stream hears of the load: reasoning, comment, off
    unlisted: bool = False
    listed_aliases: bool = False  # /v1/models has an entry for each alias and profile too
    pulled: str = ""  # one of its aliases: what Ollama's clients call it, and see in lists
    metadata: Mapping[str, object] = field(default_factory=dict)
    request: RequestRules | None = None  # what is done to every request for it
    profiles: tuple[ProfileSpec, ...] = ()

    @property
    def files(self) -> set[str]:
        """
        All absolute paths that it names: its source's as far as they are known, those in options and arguments.

        Of `FILE:SCALE` and of a list with commas it is what may be a path in it.
        """
        source = self.source
        values = [*self.options.values(), *(value for _, value in self.args)]
        texts = [each for value in values for each in (value if isinstance(value, tuple) else (value,))]
        named = [part for each in texts if isinstance(each, str) for part in _paths(each)]
        own = (source.path, source.projector, *source.adapters, source.place)
        return {text for text in (*own, *named) if text.startswith("/") and "\0" not in text}


def _paths(text: str) -> tuple[str, ...]:
    """What may be the paths in a value: a path may have commas and colons in it, too."""
    parts = (text, *text.split(","))
    return (*parts, *(_SCALE.sub("", part) for part in parts))


@dataclass(frozen=True, slots=True)
class GroupSpec:
    """
    Which Models leave when another comes.

    `swap`: only one member runs at a time. `exclusive`: when a member starts, members of other groups leave.
    `persistent`: members are not asked to leave by another group's `exclusive`.
    """

    name: str
    members: tuple[str, ...]
    swap: bool = True
    exclusive: bool = False
    persistent: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on waiting. A request over a queue bound is answered 503 at once."""

    queue_per_model: int = 100
    queue_total: int = 1000
    max_wait_hot_s: float = 10.0  # a hot Model gets no new leases once another has waited this long for its memory
    min_loaded_s: float = 5.0  # what has just been loaded stays at least as long as its load took, at most this long
    backoff_first_s: float = 1.0  # after a failed start; doubles up to backoff_max_s
    backoff_max_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Fleet:
    """All Models and groups, the memory there is to spend, and the bounds on waiting."""

    models: Mapping[str, ModelSpec] = field(default_factory=dict)
    groups: Mapping[str, GroupSpec] = field(default_factory=dict)
    budgets: Mapping[str, int] = field(default_factory=dict)  # bytes by device; one without an entry has no limit
    limits: Limits = Limits()
    default_models: DefaultModels = field(default_factory=DefaultModels)

    def group_of(self, model: str) -> GroupSpec | None:
        """The group that names the Model; the config makes sure there is at most one."""
        for group in self.groups.values():
            if model in group.members:
                return group
        return None
