"""
How an engine is started and found again: LaunchPlan, Attach, Endpoint, Place, Handle, Footprint, ExitStatus.

An Engine turns a Model and a Place into a LaunchPlan; a Runtime turns a LaunchPlan into a Handle. The Handle is
small JSON (file mode 0600) from which the same runtime finds the started thing again after a restart of Corral.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import inf
from typing import Any, Final

from corral.domain.devices import RAM
from corral.domain.fleet import OptionValue

HANDLE_VERSION: Final = 1

PID: Final = "{pid}"
"""In a stop command: the number of the started process, which nobody knows before the start."""


LLAMA: Final = "llama.cpp"
"""What a llama-server speaks, whichever engine runs it."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """
    Where an engine listens: a unix socket, else host and port. `key` goes out as `Authorization: Bearer`.

    `model_name` is what the engine calls its Model, where it insists on that; `v1` what it has in the place of the
    `/v1` that OpenAI's routes begin with; `health` the path that tells whether it is well, where engines differ.
    `speaks` is what it understands beside OpenAI's chat: `llama.cpp` are that engine's own fields and routes.
    """

    socket: str = ""
    host: str = ""
    port: int = 0
    key: str = field(default="", repr=False)
    base_path: str = ""  # prefix of the engine's routes, without a trailing slash
    tls: bool = False
    model_name: str = ""  # "" leaves the name that the client wrote
    v1: str = "/v1"
    health: str = ""  # "" is what its engine always asks
    speaks: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"unix:{self.socket}" if self.socket else f"http://{self.host}:{self.port}{self.base_path}"


@dataclass(frozen=True, slots=True)
class Place:
    """What a runtime offers one instance before it is planned. Paths are as the engine will see them."""

    instance: str
    scratch: str  # a private folder (0700) that is removed with the instance
    socket: str = ""  # a unix socket path to listen on (at most 100 bytes), or "" where that cannot be
    host: str = "127.0.0.1"
    port: int = 0  # a free port, when there is no socket


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """
    What an engine asks of a runtime.

    `env` is added to the host's environment, from which the runtime first removes every variable that begins with
    one of `env_scrub`. `secret_env` is the same but is never shown, logged or stored in the clear outside 0600 files.
    `files` are written into the scratch folder (0600) before the start, by relative name. An engine with a
    `ready_pattern` is not asked for its health before a line of its output has matched it. A `stop_command` goes before
    the `stop_signal`: it is run with the engine's environment, `PID` in it filled in.
    """

    argv: tuple[str, ...]
    endpoint: Endpoint
    env: Mapping[str, str] = field(default_factory=dict)
    secret_env: Mapping[str, str] = field(default_factory=dict, repr=False)
    env_scrub: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold the engine's key
    cwd: str = ""
    stop_signal: str = "SIGTERM"
    stop_grace_s: float = 2.0  # between stop_signal and SIGKILL to the process group
    stop_command: tuple[str, ...] = ()
    ready_pattern: str = ""
    tells_progress: bool = False  # its output says how much of its load is done (`Engine.progress`)


@dataclass(frozen=True, slots=True)
class Attach:
    """An engine that already runs: nothing is started or stopped."""

    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes that a load needs: of the host's RAM, and of other devices by name (see domain.devices)."""

    ram_bytes: int = 0
    devices: Mapping[str, int] = field(default_factory=dict)
    measured: bool = False  # seen at an earlier load of the same digest, not only estimated
    spare_bytes: int = 0  # RAM that a measured load may hold besides, and that the system takes back when it is wanted
    unnamed: Mapping[str, int] = field(default_factory=dict, compare=False)
    """By device, of an estimate: the part that is in no buffer that an engine names in its log."""

    def by_device(self) -> dict[str, int]:
        """All of it by device name, RAM as `ram`; devices that need nothing are left out."""
        return {name: size for name, size in ((RAM, self.ram_bytes), *self.devices.items()) if size}

    @classmethod
    def of(cls, by_device: Mapping[str, int], *, measured: bool = False) -> Footprint:
        """From bytes by device name, RAM as `ram`."""
        others = {name: size for name, size in by_device.items() if name != RAM}
        return cls(by_device.get(RAM, 0), others, measured)

    def plus(self, more: Mapping[str, int]) -> Footprint:
        """With so much more on each device."""
        others = {**self.devices}
        for name, size in more.items():
            if name != RAM:
                others[name] = others.get(name, 0) + size
        return replace(self, ram_bytes=self.ram_bytes + more.get(RAM, 0), devices=others)

    def seen(self, held: Mapping[str, int]) -> Footprint:
        """
        What a load really takes, from what its engine says (this) and what its processes hold (`Devices.used_by`).

        The larger of the two on each device: an engine does not count its program and libraries, and a process does
        not hold yet what it has only mapped. Spare pages of the process are left out.
        """
        said = self.by_device()
        needed = {name: size - (self.spare_bytes if name == RAM else 0) for name, size in held.items()}
        largest = {name: max(said.get(name, 0), needed.get(name, 0)) for name in (*said, *needed)}
        return Footprint.of(largest, measured=True)


@dataclass(frozen=True, slots=True)
class Remembered:
    """What stands behind a measured footprint: when it was seen, and what the same load is estimated at."""

    estimated: Mapping[str, int]  # bytes by device
    at: float = 0.0  # seconds since the epoch; 0 = nobody knows any more
    age_s: float = inf


@dataclass(frozen=True, slots=True)
class Variant:
    """A smaller way to start a Model: options that replace its own, the load digest and footprint that come of them."""

    options: Mapping[str, OptionValue]
    footprint: Footprint
    digest: str
    note: str  # for people: "ctx_size 8192 instead of 32768"


@dataclass(frozen=True, slots=True)
class LoadWish:
    """
    What a request wants its Model loaded with: `options` in the place of the Model's `own`.

    Both have the same names, those in which the two differ; `own` leaves out what the engine decides.
    """

    options: Mapping[str, OptionValue]
    own: Mapping[str, OptionValue] = field(default_factory=dict)

    @property
    def key(self) -> tuple[tuple[str, OptionValue], ...]:
        """The same for wishes for the same."""
        return tuple(sorted(self.options.items()))


AS_CONFIGURED: Final = LoadWish({})
"""For requests that are about the load itself: others that take no slot are content with whatever runs."""


class ExitKind(StrEnum):
    """Why a process ended."""

    EXITED = "exited"
    SIGNALLED = "signalled"
    OOM_KILLED = "oom_killed"
    STOPPED = "stopped"  # we asked for it
    LOST = "lost"  # it is gone and nobody saw how (the keeper was killed too)


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How an engine ended: `code` for `exited`, `signal` (number) for the killed."""

    kind: ExitKind
    code: int | None = None
    signal: int | None = None
    detail: str = ""

    def __str__(self) -> str:
        text = {
            ExitKind.EXITED: f"exited with code {self.code}",
            ExitKind.SIGNALLED: f"was killed by signal {self.signal}",
            ExitKind.OOM_KILLED: "was killed for memory (OOM)",
            ExitKind.STOPPED: "was stopped",
            ExitKind.LOST: "is gone",
        }[self.kind]
        return f"{text}: {self.detail}" if self.detail else text


@dataclass(frozen=True, slots=True)
class Handle:
    """
    How to find a started plan again. `data` belongs to the runtime alone (pid, start time, boot id, ...).

    The engine key and the endpoint are here so that a restarted Corral can serve from a re-adopted engine; that is
    why the file has mode 0600.
    """

    runtime: str
    instance: str
    model: str
    digest: str
    endpoint: Endpoint
    started_at: float  # seconds since the epoch
    data: Mapping[str, Any] = field(default_factory=dict)
    version: int = HANDLE_VERSION

    def to_json(self) -> str:
        """One JSON object; `from_json` reads it back."""
        end = self.endpoint
        return json.dumps(
            {
                "version": self.version,
                "runtime": self.runtime,
                "instance": self.instance,
                "model": self.model,
                "digest": self.digest,
                "endpoint": {
                    "socket": end.socket, "host": end.host, "port": end.port,
                    "key": end.key, "base_path": end.base_path, "tls": end.tls,
                    "model_name": end.model_name, "v1": end.v1, "health": end.health, "speaks": end.speaks,
                },
                "started_at": self.started_at,
                "data": dict(self.data),
            }
        )  # fmt: skip

    @classmethod
    def from_json(cls, text: str | bytes) -> Handle:
        """Raises ValueError for anything that is not a handle of this version."""
        try:
            raw = json.loads(text)
            if raw["version"] != HANDLE_VERSION:
                raise ValueError(f"handle version {raw['version']!r} is not {HANDLE_VERSION}")
            return cls(
                runtime=str(raw["runtime"]),
                instance=str(raw["instance"]),
                model=str(raw["model"]),
                digest=str(raw["digest"]),
                endpoint=Endpoint(**{**raw["endpoint"], "speaks": tuple(raw["endpoint"].get("speaks", ()))}),
                started_at=float(raw["started_at"]),
                data=dict(raw["data"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a handle: {error!r}") from error


def load_digest(parts: Mapping[str, Any]) -> str:
    """
    The Load digest: 16 hex digits of everything that an instance is started with.

    Two Models with equal digests can share an instance; a changed digest means a reload needs a new one. `parts` is
    JSON-ready; order of mappings does not matter, order of lists does.
    """
    return hashlib.sha256(_canonical(parts).encode()).hexdigest()[:16]


_canonical: Final = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str).encode
