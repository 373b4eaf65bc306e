"""Engine: a program that serves weights over HTTP. It plans and understands; a Runtime runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from corral.contracts.headers import Header
from corral.contracts.options import OptionTable
from corral.domain.devices import DeviceMemory
from corral.domain.errors import StartFailed
from corral.domain.fleet import ModelSpec, OptionValue
from corral.domain.launch import Attach, Endpoint, ExitStatus, Footprint, LaunchPlan, LoadWish, Place


@dataclass(frozen=True, slots=True)
class ReadyInfo:
    """
    What a ready engine says of itself. `context_tokens` is per slot; `options` what it chose for options that requests
    may ask for (`wished`), where nobody else had chosen.
    """

    slots: int
    context_tokens: int | None = None
    build: str = ""
    capabilities: frozenset[str] = frozenset()  # chat, embeddings, rerank, vision, audio
    details: Mapping[str, object] = field(default_factory=dict)
    options: Mapping[str, OptionValue] = field(default_factory=dict)
    metrics_path: str = ""  # where it shows its own metrics as Prometheus text; "" has none


class Wished(NamedTuple):
    """What becomes of the load options of a request; `wish` None loads the Model as it was configured."""

    wish: LoadWish | None = None
    ignored: tuple[str, ...] = ()  # what its operator does not let requests choose, or it knows nothing of


class Engine(Protocol):
    """One kind of engine. Methods that start programs are async and keep slow work off the loop."""

    name: str
    options: OptionTable

    def problems(self, model: ModelSpec) -> list[str]:
        """Sentences about options, args or env that cannot work together; [] when all is well. No I/O."""
        ...

    def misfits(self, model: ModelSpec, header: Header | None = None) -> list[str]:
        """
        Sentences about options that the model's files cannot have, and files that do not fit each other; [] where all
        is well, or nobody can know.

        `header` is that of a model that is elsewhere. Blocks on the disk. Raises StoreFailed for a model's file that
        cannot be read.
        """
        ...

    def slots(self, model: ModelSpec) -> int:
        """Leases per instance."""
        ...

    def resolved(self, model: ModelSpec) -> ModelSpec:
        """The Model with all options in one place: defaults filled in, free args that spell an option among them."""
        ...

    def wished(self, model: ModelSpec, wanted: Mapping[str, OptionValue], trained_tokens: int | None) -> Wished:
        """
        What a request wants its Model loaded with, as far as the operator allows. No I/O.

        `wanted` has llama.cpp's option names, `ctx_size` counted for one request; `trained_tokens` is the context that
        the model was trained for, where that is known. Raises BadRequest for what cannot be.
        """
        ...

    async def devices(self, model: ModelSpec) -> tuple[DeviceMemory, ...]:
        """
        The memories beside the host's that this Model's engine may use, by the engine's names and in its order.

        () for the CPU alone, and where it cannot be known. Sizes are those of the first time that it was asked.
        """
        ...

    async def host_warning(self, model: ModelSpec) -> str:
        """One sentence when this host has something that the Model's engine cannot use (a GPU), else ""."""
        ...

    def digest_parts(self, model: ModelSpec) -> Mapping[str, object]:
        """
        What the load digest must also contain: the exact program (path, size, mtime), the files' identity.

        Blocks on the disk: call it in a thread, for thousands of Models in one go.
        """
        ...

    async def plan(self, model: ModelSpec, place: Place) -> LaunchPlan | Attach:
        """
        How to start this Model in that place.

        Raises StoreFailed for a file that cannot be served, StartFailed for a program that is missing or lacks what
        the options need.
        """
        ...

    async def wait_ready(self, model: ModelSpec, endpoint: Endpoint) -> ReadyInfo:
        """
        Return as soon as the engine answers (within 20 ms of its own readiness).

        Never returns for an engine that stays loading: the caller has the deadline and watches for the exit.
        Raises EngineFailed when the engine answers in a way that can never become ready.
        """
        ...

    async def alive(self, endpoint: Endpoint, *, timeout_s: float) -> bool:
        """True when the engine's health route answers 200 within the time."""
        ...

    def declared(self, model: ModelSpec) -> Footprint | None:
        """What the operator says that a load takes; None leaves it to the model's files. No I/O."""
        ...

    def diagnose(
        self,
        model: ModelSpec,
        exit: ExitStatus | None,
        log: Sequence[str],
        *,
        endpoint: Endpoint | None = None,
        listens: Sequence[str] = (),
    ) -> StartFailed:
        """
        Why a start failed: a sentence, a fix, the last log lines. `exit` None means it never became ready.

        `endpoint` is where it should have answered, `listens` where its processes really listen.
        """
        ...

    def progress(self, line: str) -> float | None:
        """
        How much of its load is done, from 0 to 1, where this line of its output says so; else None.

        Such lines are for Corral alone: nobody is shown them.
        """
        ...

    def measured(self, model: ModelSpec, log: Sequence[str]) -> Footprint | None:
        """
        What a ready engine says that it has allocated: its log from the start, read line by line. No I/O.

        None when it does not say. The program itself and what its libraries take is not in it; the process tells that.
        """
        ...
