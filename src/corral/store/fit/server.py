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

PLACING: Final = frozenset({
    "n_gpu_layers", "device", "tensor_split", "split_mode", "main_gpu", "cpu_moe", "n_cpu_moe", "n_cpu_ffn",
    "override_tensor",
})  # fmt: skip
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

    def another(self, options: Mapping[str, OptionValue], gpus: Collection[str]) -> Collection[str]:
        """
        GPUs that a load uses or was asked to use, and for which another program would serve it: the one here cannot.
        """
        ...

    def needs(self, options: Mapping[str, OptionValue], gpus: Collection[str]) -> str:
        """A sentence where such a load needs another program than the one that is here, else ""."""
        ...


class AnyServer:
    """Takes everything."""

    def accepts(self, options: Mapping[str, OptionValue], gpus: Collection[str]) -> bool:
        """Yes."""
        return True

    def unseen(self, gpus: Collection[str]) -> Collection[str]:
        """None."""
        return ()

    def another(self, options: Mapping[str, OptionValue], gpus: Collection[str]) -> Collection[str]:
        """None."""
        return ()

    def needs(self, options: Mapping[str, OptionValue], gpus: Collection[str]) -> str:
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
        if self.another(options, gpus):
            model = dataclasses.replace(model, binary=_OTHER)
        return self.engine.problems(model)

    def another(self, options: Mapping[str, OptionValue], gpus: Collection[str]) -> list[str]:
        """See `Server.another`."""
        wanted = self.imagined if asks_for_gpus(self.model.options) else ()
        return self.unseen({*gpus, *wanted, *_named({**self.model.options, **options})})

    def needs(self, options: Mapping[str, OptionValue], gpus: Collection[str]) -> str:
        """See `Server.needs`."""
        lacking = self.another(options, gpus)
        if not lacking:
            return ""
        return (
            f"It needs a llama-server built for {builds({*gpus, *lacking})}: the engine that is here cannot use "
            f"{' and '.join(lacking)}. Put one on PATH, or set the Model's `binary`."
        )

    def unseen(self, gpus: Collection[str]) -> list[str]:
        """See `Server.unseen`. One more GPU of a kind that it can use is no reason for another program."""
        known = {back_end(name) for name in self.usable}
        return sorted(name for name in gpus if name in self.imagined and back_end(name) not in known)


def back_end(device: str) -> str:
    """llama.cpp numbers the devices of a back end: `CUDA` of `CUDA0`."""
    return device.rstrip("0123456789")


def asks_for_gpus(chosen: Mapping[str, OptionValue]) -> bool:
    """Whether somebody who chose these wants something on GPUs."""
    if chosen.get("n_gpu_layers") == 0 or chosen.get("device") in (_NONE, (_NONE,)):
        return False
    return not PLACING.isdisjoint(chosen)


def builds(gpus: Collection[str]) -> str:
    """What a llama-server has to be built for to use them."""
    return " and ".join(sorted({_BUILDS.get(back_end(name), back_end(name)) for name in gpus}))


def _named(options: Mapping[str, OptionValue]) -> list[str]:
    device = options.get("device", ())
    names = device if isinstance(device, tuple) else str(device).split(",")
    return [name for name in map(str, names) if name and name != _NONE]
