"""
What would serve a model: its Model's own engine, or, on GPUs that this one cannot use, a llama-server that can.

Advice is worth nothing where the engine refuses it: the embedded one takes no list of devices. And memories that are
only imagined may be those of GPUs for which the program that is here was not built: that is said with the advice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from corral.contracts.engine import Engine
from corral.domain.fleet import ModelSpec, OptionValue

_OTHER: Final = "llama-server"  # as a Model's `binary`: any but the embedded engine
_NONE: Final = "none"  # in place of devices
_BUILDS: Final = {"MTL": "Metal", "BLAS": "a BLAS library"}


class Server(Protocol):
    """Whoever would serve a model, asked about options beside those that its Model has."""

    def accepts(self, options: Mapping[str, OptionValue], gpus: Collection[str]) -> bool:
        """Whether it takes them; `gpus` are those that a load with them uses."""
        ...

    def unseen(self, gpus: Collection[str]) -> Collection[str]:
        """Those of them that the program that is here cannot use, and puts nothing on."""
        ...

    def needs(self, gpus: Collection[str]) -> str:
        """A sentence where these GPUs need another program than the one that is here, else ""."""
        ...


class AnyServer:
    """Takes everything."""

    def accepts(self, options: Mapping[str, OptionValue], gpus: Collection[str]) -> bool:
        """Yes."""
        return True

    def unseen(self, gpus: Collection[str]) -> Collection[str]:
        """None."""
        return ()

    def needs(self, gpus: Collection[str]) -> str:
        """Nothing."""
        return ""


@dataclass(frozen=True, slots=True)
class EngineServer:
    """`usable` are the GPUs that this Model's engine can use here, `imagined` those that are only reckoned with."""

    engine: Engine
    model: ModelSpec
    usable: frozenset[str]
    imagined: frozenset[str] = frozenset()

    def accepts(self, options: Mapping[str, OptionValue], gpus: Collection[str]) -> bool:
        """See `Server.accepts`."""
        return not self.problems(options, gpus)

    def problems(self, options: Mapping[str, OptionValue], gpus: Collection[str]) -> list[str]:
        """Sentences of whoever would serve it."""
        model = dataclasses.replace(self.model, options={**self.model.options, **options})
        if self.unseen({*gpus, *_named(model.options)}):
            model = dataclasses.replace(model, binary=_OTHER)
        return self.engine.problems(model)

    def needs(self, gpus: Collection[str]) -> str:
        """See `Server.needs`."""
        lacking = self.unseen(gpus)
        if not lacking:
            return ""
        builds = " and ".join(sorted({_BUILDS.get(back_end(name), back_end(name)) for name in lacking}))
        return (
            f"It needs a llama-server built for {builds}: the engine that is here cannot use {' and '.join(lacking)}. "
            "Put one on PATH, or set the Model's `binary`."
        )

    def unseen(self, gpus: Collection[str]) -> list[str]:
        """See `Server.unseen`. One more GPU of a kind that it can use is no reason for another program."""
        known = {back_end(name) for name in self.usable}
        return sorted(name for name in gpus if name in self.imagined and back_end(name) not in known)


def back_end(device: str) -> str:
    """llama.cpp numbers the devices of a back end: `CUDA` of `CUDA0`."""
    return device.rstrip("0123456789")


def _named(options: Mapping[str, OptionValue]) -> list[str]:
    device = options.get("device", ())
    names = device if isinstance(device, tuple) else str(device).split(",")
    return [name for name in map(str, names) if name and name != _NONE]
