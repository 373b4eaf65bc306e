"""
How fast a model can answer at most: every token reads all weights that it uses, and the context before it.

That is a bound, from the bandwidth of the memories; what is computed and what waits comes on top, so real figures are
commonly between half of it and nine tenths. Of prompts, which are computed in batches, nothing follows from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from corral.domain.devices import RAM, DeviceMemory
from corral.store.fit.rooms import Rooms
from corral.store.fit.subject import Subject
from corral.store.gguf.asked import Asked
from corral.store.gguf.cache import cache_parts, is_encoder
from corral.store.gguf.estimate import Estimate, spread
from corral.store.gguf.windows import next_layers

Bandwidth = Callable[[DeviceMemory], float | None]
"""Bytes a second; None where nobody knows."""
STATE: Final = "state"


@dataclass(frozen=True, slots=True)
class Speed:
    """
    Tokens a second of one answer: at most, by bandwidth. `read_bytes` for one token by device, with an empty context.

    `unknown` names devices whose bandwidth nobody knows; then there are no figures.
    """

    empty_per_s: float | None
    full_per_s: float | None
    read_bytes: dict[str, int]
    bandwidth_bytes_per_s: dict[str, float]
    unknown: tuple[str, ...] = ()


def speed(subject: Subject, found: Estimate, options: Asked, rooms: Rooms, bandwidth: Bandwidth) -> Speed | None:
    """None for models that do not answer token by token."""
    if found.where is None or found.context is None or is_encoder(subject.shape) or not options.generates:
        return None
    weights = _weights(subject, found)
    cache = _cache(subject, found, options)
    known = {room.device.name: bandwidth(room.device) for room in rooms.all}
    used = {name for name, size in (weights + cache).items() if size}
    unknown = tuple(sorted(name for name in used if not known.get(name)))
    figures = {name: figure for name in used if (figure := known.get(name))}
    if unknown:
        return Speed(None, None, dict(weights), figures, unknown)
    return Speed(_per_s(weights, figures), _per_s(weights + cache, figures), dict(weights), figures)


def _per_s(read: Counter[str], figures: dict[str, float]) -> float | None:
    """Devices work one after the other: each has its own layers."""
    seconds = sum(size / figures[name] for name, size in read.items() if size)
    return 1 / seconds if seconds else None


def _weights(subject: Subject, found: Estimate) -> Counter[str]:
    """Of experts as many as one token uses; of the embedding one row, which is nothing."""
    shape, where = subject.shape, found.where
    assert where is not None
    weights = shape.weights
    count, used = shape.whole("expert_count"), shape.whole("expert_used_count")
    trunk = shape.layers - next_layers(shape)
    dense = [size if layer < trunk else 0 for layer, size in enumerate(weights.layers)]
    read = spread((*dense, weights.output_bytes + weights.tied_bytes), where)
    for layer, size in enumerate(weights.experts[:trunk]):
        read[where.experts[layer]] += size * min(used, count) // count if count else size
    for name, size in weights.pinned.items():
        read[name if name in where.gpus else RAM] += size
    return read


def _cache(subject: Subject, found: Estimate, options: Asked) -> Counter[str]:
    """What one request reads when its context is full: a stream's part of keys, its own state."""
    plan, where = found.context, found.where
    assert plan is not None and where is not None
    read: Counter[str] = Counter()
    for kind, sizes in cache_parts(subject.shape, plan).items():
        parts = plan.slots if kind == STATE else plan.streams
        mine = [size // max(1, parts) for size in sizes]
        read += spread(mine, where) if options.flag("kv_offload", True) else Counter({RAM: sum(mine)})
    return read
