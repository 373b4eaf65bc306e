"""
One way to load a model made complete: which GPUs, how many layers on each, how many layers or experts stay in RAM.

Numbers are counted out by estimates, and only as far as nobody has chosen them. What the engine has no words for is
no way.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Sequence

from corral.domain.fleet import OptionValue
from corral.store.fit.packing import runs
from corral.store.fit.rooms import Room, Rooms, Verdict
from corral.store.fit.saying import Saying
from corral.store.fit.server import PLACING
from corral.store.fit.subject import Options, Subject
from corral.store.fit.ways import Way
from corral.store.gguf.asked import Asked
from corral.store.gguf.cache import cache_bytes
from corral.store.gguf.estimate import Estimate
from corral.store.gguf.placement import gpus_of


class Placing:
    """One model in one host."""

    def __init__(self, subject: Subject, rooms: Rooms) -> None:
        self.subject, self.rooms = subject, rooms
        self.devices = rooms.emptied()
        own = gpus_of(Asked({}, subject.slots), self.devices)
        self.saying = Saying(subject.server, [gpu.name for gpu in own])

    def tried(self, options: Options) -> Estimate:
        """What a load with these takes, beside those that the model has."""
        return self.subject.taken({**self.subject.options, **options}, self.devices)

    def placed(self, options: dict[str, OptionValue], way: Way) -> Iterator[dict[str, OptionValue]]:
        """The same with GPUs chosen and layers counted out, as far as that is left open."""
        if way.alone:  # the smallest that is enough: the larger ones are left to larger models
            for room in sorted(self.rooms.gpus, key=lambda each: each.most_bytes):
                chosen = self.saying.on({room.device.name: 0})
                if chosen is not None:
                    yield {**options, **chosen}
            return
        placing = way.counted and not (PLACING & self.subject.chosen) and bool(self.rooms.gpus)
        layers = self.subject.shape.layers
        if placing and "n_cpu_moe" in options:
            yield from _least(layers, lambda cold: self.split({**options, "n_cpu_moe": cold}, layers + 1))
        elif placing and options.get("n_gpu_layers") == 0:
            found = _least(layers, lambda away: self.split({**options, "n_gpu_layers": layers - away}, layers - away))
            yield from (each for each in found if each["n_gpu_layers"])
        elif placing and options.get("n_gpu_layers") == "all":
            split = self.split(options, layers + 1)
            if split is not None:
                yield split
        else:
            yield options

    def split(self, options: dict[str, OptionValue], count: int) -> dict[str, OptionValue] | None:
        """
        With `tensor_split` where there are several GPUs and the usual split does not fit; None if nothing does.

        Only GPUs are looked at: with fewer layers there is more room on them and less in RAM, and whoever looks for the
        number needs one of the two.
        """
        gpus = self.rooms.gpus
        if self.held(options):
            return options
        if len(gpus) < 2:
            return None
        found = self.tried(options)
        kept = [room.most_bytes - found.compute[name] - found.program[name] for room, name in _by_name(gpus)]
        counts = runs(self.sizes(options, count), [max(0, size) for size in kept])
        if counts is None:
            return None
        chosen = self.saying.on({name: run for (_, name), run in zip(_by_name(gpus), counts, strict=True) if run})
        if chosen is None:
            return None
        packed = {**options, **chosen}
        return packed if self.held(packed) else None

    def sizes(self, options: Options, count: int) -> list[int]:
        """Bytes of each layer on GPUs, the first of them first, and of the output behind them."""
        shape, weights = self.subject.shape, self.subject.shape.weights
        asked = Asked({**self.subject.options, **options}, self.subject.slots)
        cache = cache_bytes(shape, asked.context(shape)) if asked.flag("kv_offload", True) else (0,) * shape.layers
        cold = asked.whole("n_cpu_moe")
        whole = [
            dense + keys + (experts if layer >= cold else 0)
            for layer, (dense, keys, experts) in enumerate(zip(weights.layers, cache, weights.experts, strict=True))
        ]
        return [*whole, weights.output_bytes + weights.tied_bytes][-count:]

    def held(self, options: Options) -> bool:
        """Whether GPUs have room for what goes there."""
        needs = self.rooms.charged(self.tried(options).total())
        return not any(room.verdict(needs.get(room.device.name, 0)) is Verdict.NEVER for room in self.rooms.gpus)


def _least(most: int, way: Callable[[int], dict[str, OptionValue] | None]) -> Iterator[dict[str, OptionValue]]:
    """The way with the smallest number from 1 to `most` that is one: if a number works, larger ones do too."""
    place = bisect.bisect_left(range(1, most + 1), True, key=lambda number: way(number) is not None)
    found = way(place + 1) if place < most else None
    if found is not None:
        yield found


def _by_name(gpus: Sequence[Room]) -> list[tuple[Room, str]]:
    return [(room, room.device.name) for room in gpus]
