"""How options say which GPUs a model is on: by their names where the engine takes them, else by their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from corral.domain.fleet import OptionValue
from corral.store.fit.server import Server


@dataclass(frozen=True, slots=True)
class Saying:
    """`own` are the GPUs that are used where none is named, in the order in which the engine counts them."""

    server: Server
    own: Sequence[str]

    def on(self, runs: Mapping[str, int]) -> dict[str, OptionValue] | None:
        """So many layers on each of these GPUs and none on others; None where the engine has no words for it."""
        names = tuple(runs)
        shares: dict[str, OptionValue] = {"tensor_split": tuple(map(str, runs.values()))} if len(runs) > 1 else {}
        named: dict[str, OptionValue] = {"device": names, **shares}
        if self.server.accepts(named, names):
            return named
        if not set(names) <= set(self.own):
            return None
        if len(names) == 1:
            return {"split_mode": "none", "main_gpu": self.own.index(names[0])}
        return {"tensor_split": tuple(str(runs.get(name, 0)) for name in self.own)}

    def without(self) -> dict[str, OptionValue]:
        """No GPU at all. Without layers alone one would still be given work, and memory for it."""
        named: dict[str, OptionValue] = {"device": ("none",)}
        return named if self.server.accepts(named, ()) else {"n_gpu_layers": 0, "op_offload": False}

    def only(self, options: Mapping[str, OptionValue]) -> str:
        """The GPU that these name alone, or ""."""
        device, main = options.get("device"), options.get("main_gpu")
        if isinstance(device, tuple) and device:
            return str(device[0])
        return self.own[main] if isinstance(main, int) else ""
