"""
What a load will take, device by device, before it has run: from headers, options and the devices that there are.

Meant to be right for weights and caches, and a little high for the rest, because a load that is refused is better than
one that is killed. docs/memory.md has the table of estimates beside what llama.cpp really took.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from corral.domain.devices import RAM, DeviceMemory
from corral.domain.errors import BadGguf
from corral.domain.launch import Footprint
from corral.store.gguf.asked import MIB, Asked
from corral.store.gguf.cache import ContextPlan, cache_bytes, is_encoder, state_bytes
from corral.store.gguf.compute import compute_bytes, mask_bytes, output_bytes
from corral.store.gguf.placement import Placement, gpus_of, margins, place
from corral.store.gguf.shape import ModelShape
from corral.store.gguf.windows import REMEMBERED, next_layers

PROGRAM_BYTES: Final = 48 * MIB  # measured beside the buffers: 23 MiB for llama-server, 38 for the wheel
DRIVER_BYTES: Final = 400 * MIB  # what a GPU's driver and libraries keep on it for each process
_FIT_CONTEXT: Final = 4096  # what `--fit` does not go below
_FIT_STEP: Final = 256
_IMPOSSIBLE: Final = 1 << 60


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes by device, for each purpose."""

    weights: Counter[str] = field(default_factory=Counter)
    cache: Counter[str] = field(default_factory=Counter)
    compute: Counter[str] = field(default_factory=Counter)
    program: Counter[str] = field(default_factory=Counter)
    growth: int = 0  # of RAM, while it serves: finished prompts and context checkpoints
    context: ContextPlan | None = None
    where: Placement | None = None

    def total(self) -> Counter[str]:
        """All of it."""
        found = {RAM: self.growth}
        for each in (self.weights, self.cache, self.compute, self.program):
            for device, size in each.items():
                found[device] = found.get(device, 0) + size
        return Counter({device: size for device, size in found.items() if size})

    def plus(self, other: Estimate) -> Estimate:
        """Together with what another model of the same load takes; the program is there once."""
        return Estimate(
            self.weights + other.weights,
            self.cache + other.cache,
            self.compute + other.compute,
            self.program | other.program,
            self.growth + other.growth,
            self.context,
            self.where,
        )

    def footprint(self) -> Footprint:
        """As the scheduler counts it. Raises BadGguf for what no machine has."""
        total = self.total()
        if max(total.values(), default=0) > _IMPOSSIBLE:
            raise BadGguf("The model claims sizes that no machine has.", hint="Download it again.")
        ram = total.pop(RAM, 0)
        return Footprint(ram, dict(total), unnamed=self.program + Counter({RAM: self.growth}))


def estimate(shape: ModelShape, asked: Asked, devices: Sequence[DeviceMemory] = ()) -> Estimate:
    """One model. `devices` without a GPU among them: everything is RAM."""
    gpus = gpus_of(asked, devices)
    plan = asked.context(shape)
    shape = shape if asked.has_next_layers else _without_next_layers(shape)
    found = _estimate(shape, asked, gpus, plan)
    # A 0 that is said means the whole of what it was trained for, which llama.cpp then leaves alone.
    if "ctx_size" in asked.options or asked.whole("kv_unified_per_slot") or asked.text("fit") == "off":
        return found
    return _shrunk(shape, asked, gpus, devices, found)


@functools.lru_cache(REMEMBERED)
def _without_next_layers(shape: ModelShape) -> ModelShape:
    """llama.cpp leaves the weights of layers for further tokens in the file unless it is to draft with them."""
    trunk = shape.layers - next_layers(shape)
    if trunk == shape.layers:
        return shape
    weights, nothing = shape.weights, (0,) * next_layers(shape)
    loaded = replace(weights, layers=(*weights.layers[:trunk], *nothing), experts=(*weights.experts[:trunk], *nothing))
    return ModelShape(shape.architecture, shape.layers, shape.numbers, shape.vocabulary, loaded)


def _estimate(shape: ModelShape, asked: Asked, gpus: Sequence[DeviceMemory], plan: ContextPlan) -> Estimate:
    cache = cache_bytes(shape, plan)
    compute = _computing(shape, asked, plan)
    where = place(shape, asked, gpus, cache, compute + DRIVER_BYTES)
    # The driver is there on every GPU that it may use: `--fit` and the split by what is free ask all of them.
    program = Counter({RAM: PROGRAM_BYTES}) + Counter({gpu.name: DRIVER_BYTES for gpu in gpus})
    return Estimate(
        _weights(shape, where),
        spread(cache, where) if asked.flag("kv_offload", True) else Counter({RAM: sum(cache)}),
        _compute(shape, where, plan, compute) + _on_loan(shape, asked, gpus, where, compute),
        program,
        _growth(shape, asked, plan),
        plan,
        where,
    )


def _shrunk(
    shape: ModelShape,
    asked: Asked,
    gpus: Sequence[DeviceMemory],
    devices: Sequence[DeviceMemory],
    found: Estimate,
) -> Estimate:
    """
    Where no context was chosen, llama.cpp takes the training context, or as much of it as there is room for.

    It looks at GPUs alone where there are some, and at first with every layer there unless their number was chosen.
    """
    ram = [device.total_bytes for device in devices if device.name == RAM]
    room = sum(gpu.free_bytes for gpu in gpus) if gpus else sum(ram)
    room -= sum(margins(asked, max(1, len(gpus))))
    if room <= 0 or found.context is None:
        return found
    whole = asked.with_every_layer()

    def at(tokens: int) -> tuple[Estimate, int]:
        each = _estimate(shape, whole, gpus, asked.context(shape, tokens))
        buffers = each.weights + each.cache + each.compute
        return each, sum(buffers[gpu.name] for gpu in gpus) if gpus else sum(buffers.values())

    most = found.context.total_cells
    step, least = _FIT_STEP * found.context.streams, asked.whole("fit_ctx") or _FIT_CONTEXT
    least = min(most, least * found.context.streams)
    needs_most = at(most)[1]
    if needs_most <= room or least >= most:
        return found
    needs_least = at(least)[1]
    if needs_least >= room:  # layers have to go as well
        return _estimate(shape, asked, gpus, asked.context(shape, least))
    tokens = least + (most - least) * (room - needs_least) // max(1, needs_most - needs_least)
    return at(max(least, tokens - tokens % step))[0]


def _weights(shape: ModelShape, where: Placement) -> Counter[str]:
    weights = shape.weights
    found = Counter({RAM: weights.input_bytes})
    found += spread((*weights.layers, weights.output_bytes), where)
    for size, device in zip(weights.experts, where.experts, strict=True):
        found[device] += size
    if where.layers[-1] != RAM:
        found += spread((*(0 for _ in weights.layers), weights.tied_bytes), where)
    for name, size in weights.pinned.items():
        found[name if name in where.gpus else RAM] += size
    return found


def spread(sizes: Sequence[int], where: Placement) -> Counter[str]:
    """Bytes of layers by device: by layer, or by share where every layer is on every GPU."""
    found: Counter[str] = Counter()
    for size, device in zip(sizes, where.layers, strict=False):
        found[device] += size
    if where.shares:
        on_gpus = sum(size for name, size in found.items() if name != RAM)
        found = Counter({RAM: found[RAM]})
        found.update({name: int(on_gpus * share) for name, share in zip(where.gpus, where.shares, strict=True)})
    return found


def _computing(shape: ModelShape, asked: Asked, plan: ContextPlan) -> int:
    return compute_bytes(shape, plan, flash=plan.flash, every_token=not asked.generates)


def _compute(shape: ModelShape, where: Placement, plan: ContextPlan, size: int) -> Counter[str]:
    """A device that has layers computes them; the host keeps inputs and outputs in any case."""
    found = Counter(dict.fromkeys(where.gpus, size))
    host = output_bytes(shape, plan) + (size if RAM in where.layers[:-1] else mask_bytes(shape, plan))
    return found + Counter({RAM: host})


def _on_loan(
    shape: ModelShape, asked: Asked, gpus: Sequence[DeviceMemory], where: Placement, compute: int
) -> Counter[str]:
    """Without layers on GPUs the first of them computes large batches all the same, on copies of the weights."""
    if where.gpus or not gpus or not asked.flag("op_offload", True):
        return Counter()
    return Counter({gpus[0].name: compute + shape.weights.output_bytes + shape.weights.tied_bytes})


def _growth(shape: ModelShape, asked: Asked, plan: ContextPlan) -> int:
    if not asked.generates or is_encoder(shape):
        return 0
    checkpoints = asked.whole("ctx_checkpoints") * plan.slots * state_bytes(shape, plan)
    return asked.whole("cache_ram") * MIB + checkpoints
