"""
The answer: what a load takes, device by device and purpose by purpose, whether it fits, and what would be better.

`dataclasses.asdict` of a `Fit` is the JSON of `corral models fit --json` and of the route.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from corral.domain.devices import RAM
from corral.domain.fleet import OptionValue
from corral.store.fit.advice import Advice, Where, advise
from corral.store.fit.notes import notes_of
from corral.store.fit.rooms import Rooms, Verdict
from corral.store.fit.speed import Bandwidth, Speed, speed
from corral.store.fit.subject import Options, Subject, of_quant, used_gpus
from corral.store.gguf.asked import Asked
from corral.store.gguf.cache import cache_parts
from corral.store.gguf.estimate import Estimate, spread
from corral.store.sources.quants import normal, rank

PLAIN: Final = ("F32", "BF16", "F16")  # not quantised: twice the size of Q8_0 and no better


@dataclass(frozen=True, slots=True)
class DeviceNeed:
    """One memory. `cache` is `cache_bytes` by kind: full, window, compressed, index, state."""

    device: str
    description: str
    weights_bytes: int
    cache_bytes: int
    cache: Mapping[str, int]
    compute_bytes: int
    program_bytes: int
    growth_bytes: int
    needs_bytes: int
    free_bytes: int
    limit_bytes: int | None
    total_bytes: int
    fits: Verdict


@dataclass(frozen=True, slots=True)
class Load:
    """
    What one way to load it takes. `context_tokens` is what all slots share, or what each has where `context_shared` is
    false. `gpu_layers` counts the output as one. `notes` are sentences: what is assumed, and what is odd about it.
    """

    context_tokens: int | None
    context_shared: bool
    slots: int
    layers: int
    gpu_layers: int
    fits: Verdict
    devices: tuple[DeviceNeed, ...]
    speed: Speed | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Recommended:
    """`options` as a config has them. `needs` says which program it takes, where that which is here cannot do it."""

    options: Mapping[str, OptionValue]
    why: str
    needs: str
    most_context_tokens: int | None
    load: Load


@dataclass(frozen=True, slots=True)
class QuantFit:
    """One quantisation that is offered. `why` says where it would go; `fits` with the options recommended for it."""

    quantisation: str
    size_bytes: int
    fits: Verdict
    why: str
    tokens_per_s: float | None
    where: Where = Where.NO
    recommended: bool = False


@dataclass(frozen=True, slots=True)
class Fit:
    """One model on one host. `notes` are sentences about what is not counted."""

    model: str
    architecture: str
    quantisation: str
    parameters: int | None
    size_bytes: int
    trained_context_tokens: int | None
    asked: Load
    recommended: Recommended | None
    quantisations: tuple[QuantFit, ...] = ()
    notes: tuple[str, ...] = ()


def fit(subject: Subject, rooms: Rooms, bandwidth: Bandwidth) -> Fit:
    """Estimate it as it is asked for, and look for what is best. Raises BadGguf for sizes that no machine has."""
    found = subject.taken(subject.options, rooms.devices)
    found.footprint()  # raises for the impossible
    advice = advise(subject, rooms)
    return Fit(
        subject.name,
        subject.shape.architecture,
        subject.quantisation,
        subject.parameters,
        subject.size_bytes,
        subject.shape.whole("context_length") or None,
        _load(subject, subject.options, found, rooms, bandwidth),
        _recommended(subject, advice, rooms, bandwidth) if advice else None,
        _quantisations(subject, rooms, bandwidth),
        subject.notes,
    )


def _recommended(subject: Subject, advice: Advice, rooms: Rooms, bandwidth: Bandwidth) -> Recommended:
    options = {**subject.options, **advice.options}
    load = _load(subject, options, advice.estimate, rooms, bandwidth)
    needs = subject.server.needs(advice.options, used_gpus(advice.estimate))
    return Recommended(advice.options, advice.why, needs, advice.most_context_tokens, load)


def _load(subject: Subject, options: Options, found: Estimate, rooms: Rooms, bandwidth: Bandwidth) -> Load:
    asked = Asked(options, subject.slots)
    layers = found.where.layers if found.where else ()
    return Load(
        found.context.cells if found.context else None,
        found.context is None or found.context.streams == 1,
        found.context.slots if found.context else 1,
        subject.shape.layers,
        sum(name != RAM for name in layers),
        rooms.verdict(found),
        _needs(subject, asked, found, rooms),
        speed(subject, found, asked, rooms, bandwidth),
        notes_of(subject, options, found, rooms),
    )


def _needs(subject: Subject, asked: Asked, found: Estimate, rooms: Rooms) -> tuple[DeviceNeed, ...]:
    kinds = _kinds(subject, asked, found)
    total, charged = found.total(), rooms.charged(found.total())
    needs = []
    for room in rooms.all:
        name = room.device.name
        if name != RAM and not total[name]:
            continue
        needs.append(
            DeviceNeed(
                name,
                room.device.description,
                found.weights[name],
                found.cache[name],
                {kind: sizes[name] for kind, sizes in kinds.items() if sizes[name]},
                found.compute[name],
                found.program[name],
                found.growth if name == RAM else 0,
                total[name],
                room.device.free_bytes,
                room.limit_bytes,
                room.device.total_bytes,
                room.verdict(charged.get(name, 0)),
            )
        )
    return tuple(needs)


def _kinds(subject: Subject, asked: Asked, found: Estimate) -> dict[str, Counter[str]]:
    """The cache of the model itself; that of a draft model beside it is in the sum alone."""
    if found.context is None or found.where is None:
        return {}
    parts = cache_parts(subject.shape, found.context)
    if not asked.flag("kv_offload", True):
        return {kind: Counter({RAM: sum(sizes)}) for kind, sizes in parts.items()}
    return {kind: spread(sizes, found.where) for kind, sizes in parts.items()}


def _quantisations(subject: Subject, rooms: Rooms, bandwidth: Bandwidth) -> tuple[QuantFit, ...]:
    others = [of_quant(subject, name, size) for name, size in subject.offered.items()]
    found = [quant_fit(other, rooms, bandwidth) for other in others]
    best = best_quant(found, gpus=bool(rooms.gpus))
    ordered = sorted(found, key=lambda each: each.size_bytes)
    return tuple(dataclasses.replace(each, recommended=each is best) for each in ordered)


def quant_fit(subject: Subject, rooms: Rooms, bandwidth: Bandwidth) -> QuantFit:
    """How one quantisation fits, with the options that are best for it: what lists of models are judged by, too."""
    name, size = subject.quantisation, subject.size_bytes
    advice = advise(subject, rooms)
    if advice is None:
        return QuantFit(name, size, Verdict.NEVER, "It fits nowhere here.", None)
    asked = Asked({**subject.options, **advice.options}, subject.slots)
    fast = speed(subject, advice.estimate, asked, rooms, bandwidth)
    return QuantFit(name, size, advice.verdict, advice.why, fast.empty_per_s if fast else None, advice.where)


def best_quant(offered: list[QuantFit], *, gpus: bool) -> QuantFit | None:
    """
    The one to take: with GPUs the largest up to Q8_0 that is on them whole; in RAM, where every byte costs speed, what
    a fetch would take if no more were offered than fit.
    """
    there = [each for each in offered if each.fits is not Verdict.NEVER]
    good = [each for each in there if each.quantisation.upper() not in PLAIN] or there
    whole = [each for each in good if each.where is Where.GPU]
    if gpus and whole:
        return max(whole, key=lambda each: each.size_bytes)
    return min(good, key=lambda each: rank(normal(each.quantisation)), default=None)
