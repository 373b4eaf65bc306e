"""
Which device each layer goes to, as llama.cpp places them.

The last layers go to the GPUs first, and the output counts as one more layer behind them; what is left stays in RAM,
and so does the input always. `auto` puts on the GPUs what fits beside a margin; of a model with experts it rather
leaves experts of the first layers in RAM than whole layers.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from corral.domain.devices import RAM, DeviceMemory
from corral.store.gguf.asked import MIB, Asked
from corral.store.gguf.shape import ModelShape

_MARGIN_MIB: Final = 1024  # what llama.cpp's `--fit` leaves free on each device
_SPREAD: Final = ("row", "tensor")  # every layer on every GPU


@dataclass(frozen=True, slots=True)
class Placement:
    """The device of each layer, the output behind them, and of each layer's experts; and the GPUs that are used."""

    layers: tuple[str, ...]
    experts: tuple[str, ...]
    gpus: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()  # of the whole for each GPU, where every layer is spread over all of them


def gpus_of(asked: Asked, devices: Sequence[DeviceMemory]) -> list[DeviceMemory]:
    """The GPUs that a load may use, in the order in which it counts them."""
    gpus = [device for device in devices if device.name != RAM]
    wanted = asked.listed("device")
    if wanted:
        named = {device.name: device for device in gpus}
        gpus = [named[name] for name in wanted if name in named]
    else:
        gpus = _by_themselves(gpus)
    if asked.text("split_mode") == "none" and gpus:
        gpus = [gpus[min(asked.whole("main_gpu"), len(gpus) - 1)]]
    return gpus


def _by_themselves(gpus: Sequence[DeviceMemory]) -> list[DeviceMemory]:
    """What llama.cpp takes unasked: a GPU with two names once, one in RAM only where there is no other."""
    names = {gpu.name for gpu in gpus}
    single = [gpu for gpu in gpus if gpu.part_of not in names]
    # Only Vulkan says which are integrated; CUDA and ROCm call all of them the same.
    cards = [gpu for gpu in single if not (gpu.part_of == RAM and gpu.name.startswith("Vulkan"))]
    return cards or single


def place(
    shape: ModelShape, asked: Asked, gpus: Sequence[DeviceMemory], cache: Sequence[int], fixed_bytes: int
) -> Placement:
    """`cache` is by layer; `fixed_bytes` are those that each GPU in use needs besides its layers."""
    in_ram = Placement((RAM,) * (shape.layers + 1), (RAM,) * shape.layers)
    if not gpus:
        return in_ram
    spread = asked.text("split_mode") in _SPREAD
    shares = _shares(asked, gpus)
    count, cold = _counts(shape, asked, gpus, cache, fixed_bytes)
    if not count:
        return in_ram
    names = [gpus[0 if spread else _index(shares, position / count)].name for position in range(count)]
    layers = (*(RAM for _ in range(shape.layers + 1 - count)), *names)
    experts = tuple(RAM if layer < cold else layers[layer] for layer in range(shape.layers))
    used = tuple(gpu.name for gpu in gpus if spread or gpu.name in names)
    return Placement(layers, experts, used, shares if spread else ())


def _counts(
    shape: ModelShape, asked: Asked, gpus: Sequence[DeviceMemory], cache: Sequence[int], fixed_bytes: int
) -> tuple[int, int]:
    """How many layers from the end are on GPUs, and of how many from the start the experts are in RAM."""
    cold = shape.layers if asked.flag("cpu_moe", False) else min(asked.whole("n_cpu_moe"), shape.layers)
    layers = asked.options.get("n_gpu_layers", "auto")
    if isinstance(layers, int):
        return min(asked.whole("n_gpu_layers"), shape.layers + 1), cold
    if layers == "all" or asked.text("fit") == "off" or _is_chosen(asked, gpus):
        return shape.layers + 1, cold
    weights = shape.weights
    kept = cache if asked.flag("kv_offload", True) else [0] * shape.layers
    dense = [size + keys for size, keys in zip(weights.layers, kept, strict=True)]
    dense.append(weights.output_bytes + weights.tied_bytes)
    kept_free = margins(asked, len(gpus))
    free = [gpu.free_bytes - fixed_bytes - margin for gpu, margin in zip(gpus, kept_free, strict=True)]
    return _fitting(dense, weights.experts, cold, sum(each for each in free if each > 0))


def _fitting(dense: Sequence[int], experts: Sequence[int], cold: int, free: int) -> tuple[int, int]:
    """The same, as many as fit."""
    if sum(dense) <= free:
        free -= sum(dense)
        layers = len(experts)
        while layers > cold and experts[layers - 1] <= free:
            layers -= 1
            free -= experts[layers]
        return len(dense), layers
    count = 0
    for layer in range(len(dense) - 1, -1, -1):
        free -= dense[layer]
        if free < 0:
            break
        count += 1
    return count, len(experts) if any(experts) else cold


def _is_chosen(asked: Asked, gpus: Sequence[DeviceMemory]) -> bool:
    """
    Where the operator has placed anything himself, `--fit` gives up, and `auto` is every layer whether it fits or not.

    That is better known before: the start fails where it does not fit.
    """
    if asked.text("split_mode") == "tensor" or asked.flag("cpu_moe", False) or asked.listed("override_tensor"):
        return True
    if asked.whole("n_cpu_moe") or asked.whole("n_cpu_ffn"):
        return True
    return len(gpus) > 1 and (asked.text("split_mode") == "row" or any(_said_shares(asked) or ()))


def margins(asked: Asked, count: int) -> list[int]:
    """What `--fit` leaves free on each device. `fit_target`: one for all, or one for each."""
    said = [int(each) for each in asked.listed("fit_target") if each.isdecimal()] or [_MARGIN_MIB]
    return [said[min(index, len(said) - 1)] * MIB for index in range(count)]


def _shares(asked: Asked, gpus: Sequence[DeviceMemory]) -> tuple[float, ...]:
    """Of the whole for each GPU: `tensor_split`, or by what is free."""
    said = _said_shares(asked)
    if not said or not sum(said):
        return _normal([float(gpu.free_bytes) for gpu in gpus])
    return _normal((said + [0.0] * len(gpus))[: len(gpus)])


def _said_shares(asked: Asked) -> list[float] | None:
    """`tensor_split`; None where it makes no sense."""
    try:
        return [max(0.0, float(each)) for each in asked.listed("tensor_split")]
    except ValueError:
        return None


def _normal(parts: Sequence[float]) -> tuple[float, ...]:
    total = sum(parts)
    usable = 0 < total < float("inf")
    return tuple(part / total for part in parts) if usable else tuple(1 / len(parts) for _ in parts)


def _index(shares: Sequence[float], position: float) -> int:
    """The first GPU whose share reaches beyond the position."""
    ends = itertools.accumulate(shares)
    return next((index for index, end in enumerate(ends) if end > position), len(shares) - 1)
