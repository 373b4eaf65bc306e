"""
What a model is best loaded with here: where its layers go, how much context, how many slots.

Ways are tried from the best to the least: all of it on one GPU; over several; with the cache in 8 bits; experts in
RAM; some layers in RAM; no GPU at all. The first that fits is taken, because a layer in RAM costs far more speed than
anything that comes before it. What somebody has asked for is never changed, and what the engine refuses is no way.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from corral.domain.devices import RAM
from corral.domain.fleet import OptionValue
from corral.store.fit.packing import runs
from corral.store.fit.rooms import Room, Rooms, Verdict
from corral.store.fit.saying import Saying
from corral.store.fit.subject import Options, Subject
from corral.store.gguf.asked import Asked
from corral.store.gguf.cache import cache_bytes, is_encoder
from corral.store.gguf.estimate import Estimate
from corral.store.gguf.placement import gpus_of

COMFORTABLE: Final = 32_768  # tokens: what most work needs; more is said, not recommended
ENOUGH: Final = 8_192
LEAST: Final = 4_096
SLOTS: Final = 4
_TOO_SMALL: Final = "The GPUs are too small to help: it runs in RAM"
_BLOCK: Final = 32  # values in a block of q8_0
_SMALL_CACHE: Final[dict[str, OptionValue]] = {"cache_type_k": "q8_0", "cache_type_v": "q8_0"}
_PLACING: Final = frozenset({
    "n_gpu_layers", "device", "tensor_split", "split_mode", "main_gpu", "cpu_moe", "n_cpu_moe", "n_cpu_ffn",
    "override_tensor",
})  # fmt: skip


class Where(StrEnum):
    """Where a model would run."""

    GPU = "gpu"  # all of it, on one or several
    PART = "gpu+ram"  # layers or experts stay in RAM
    RAM = "ram"
    NO = "no"


@dataclass(frozen=True, slots=True)
class Advice:
    """
    `options` are those to set, as a config has them; `why` one sentence. `most_context_tokens` is the longest context
    that fits with the same placement, up to what the model was trained for.
    """

    options: dict[str, OptionValue]
    why: str
    verdict: Verdict
    estimate: Estimate
    most_context_tokens: int | None

    @property
    def where(self) -> Where:
        """Where its layers are."""
        where = self.estimate.where
        devices = {*where.layers, *where.experts} if where is not None else {RAM}
        return Where.RAM if devices == {RAM} else Where.PART if RAM in devices else Where.GPU


@dataclass(frozen=True, slots=True)
class _Way:
    options: dict[str, OptionValue]
    why: str
    least: int = ENOUGH  # context
    alone: bool = False  # on one of several GPUs, whose name stands in `why`
    counted: bool = True  # with layers counted out, as far as they are left open


class _Search:
    """One model in one host."""

    def __init__(self, subject: Subject, rooms: Rooms, *, left_out: Collection[str] = ()) -> None:
        """`left_out` are GPUs that are not among the rooms, because the program that is here cannot use them."""
        self.subject, self.rooms, self.left_out = subject, rooms, left_out
        self.devices = rooms.emptied()
        own = gpus_of(Asked({}, subject.slots), self.devices)
        self.saying = Saying(subject.server, [gpu.name for gpu in own])

    def tried(self, options: Options) -> Estimate:
        return self.subject.estimate({**self.subject.options, **options}, self.devices)

    def works(self, options: Options) -> bool:
        """Whether it fits with these, and whoever would serve it takes them."""
        found = self.tried(options)
        if self.rooms.verdict(found) is Verdict.NEVER:
            return False
        return self.subject.server.accepts(options, used_gpus(found))

    def found(self) -> tuple[dict[str, OptionValue], str] | None:
        for way in self.ways():
            for tokens in self.contexts(way.least):
                sized: dict[str, OptionValue] = {} if tokens is None else {"ctx_size": tokens}
                for placed in self.placed({**way.options, **sized, **self.one_slot()}, way):
                    if self.works(placed):
                        return self.with_slots(placed), way.why.format(device=self.saying.only(placed))
        return None

    def held(self, options: Options) -> bool:
        """Whether GPUs have room for what goes there."""
        needs = self.rooms.charged(self.tried(options).total())
        return not any(room.verdict(needs.get(room.device.name, 0)) is Verdict.NEVER for room in self.rooms.gpus)

    # --- what to try ----------------------------------------------------------------------------------------------

    def ways(self) -> Iterator[_Way]:
        caches: list[tuple[dict[str, OptionValue], str]] = [({}, "")]
        if self.small_cache_works():
            caches.append((_SMALL_CACHE, ", with its cache in 8 bits"))
        gpus = self.rooms.gpus
        if not gpus or _PLACING & self.subject.chosen:
            none = _TOO_SMALL if self.left_out else "It runs in RAM: there is no GPU that its program can use"
            where = "It is placed as asked" if gpus else none
            for least in (ENOUGH, LEAST):
                for cache, words in caches:
                    yield _Way(dict(cache), f"{where}{words}.", least)
            return
        for cache, words in caches:
            if len(gpus) > 1:
                yield _Way({**cache, "n_gpu_layers": "all"}, f"All of it fits on {{device}} alone{words}.", alone=True)
            yield _Way({**cache, "n_gpu_layers": "all"}, f"All layers are on {_named(gpus)}{words}.")
        for cache, words in caches:
            yield _Way({**cache, "n_gpu_layers": "all"}, f"All layers are on {_named(gpus)}{words}.", LEAST)
        if any(self.subject.shape.weights.experts):
            why = "Experts of the first layers stay in RAM, all the rest is on"
            for cache, words in caches:
                yield _Way({**cache, "n_gpu_layers": "all", "n_cpu_moe": 0}, f"{why} {_named(gpus)}{words}.", LEAST)
        yield _Way({"n_gpu_layers": 0}, f"The last layers are on {_named(gpus)}, the others in RAM.", LEAST)
        if not self.unseen():  # a program that sees none of them has no driver on them either
            left = {name: value for name, value in self.saying.without().items() if name not in self.subject.chosen}
            yield _Way(left, f"{_TOO_SMALL}.", LEAST, counted=False)

    def unseen(self) -> Collection[str]:
        """GPUs that the program that is here cannot use."""
        return self.subject.server.unseen([room.device.name for room in self.rooms.gpus])

    def placed(self, options: dict[str, OptionValue], way: _Way) -> Iterator[dict[str, OptionValue]]:
        """The same with GPUs chosen and layers counted out, as far as that is left open."""
        if way.alone:  # the smallest that is enough: the larger ones are left to larger models
            for room in sorted(self.rooms.gpus, key=lambda each: each.most_bytes):
                chosen = self.saying.on({room.device.name: 0})
                if chosen is not None:
                    yield {**options, **chosen}
            return
        placing = way.counted and not (_PLACING & self.subject.chosen) and bool(self.rooms.gpus)
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

    def contexts(self, least: int) -> list[int | None]:
        """From the largest that is worth having down to the least; [None] where it was chosen or means nothing."""
        if "ctx_size" in self.subject.chosen or is_encoder(self.subject.shape):
            return [None]
        most = min(self.trained() or LEAST, COMFORTABLE)
        found = [most]
        while found[-1] // 2 >= least:
            found.append(found[-1] // 2)
        return list(found)

    def one_slot(self) -> dict[str, OptionValue]:
        """Where they are left open, slots are counted out last: what has no room for several may have it for one."""
        return {} if "parallel" in self.subject.chosen or is_encoder(self.subject.shape) else {"parallel": 1}

    def with_slots(self, options: dict[str, OptionValue]) -> dict[str, OptionValue]:
        """As many requests at one time as cost next to nothing: slots share one context."""
        if "parallel" in self.subject.chosen or is_encoder(self.subject.shape):
            return options
        for slots in (SLOTS, SLOTS // 2):
            if self.works({**options, "parallel": slots}):
                return {**options, "parallel": slots}
        return options

    def most_context(self, options: Options) -> int | None:
        """The longest that fits with these."""
        trained = self.trained()
        if not trained or is_encoder(self.subject.shape):
            return None
        steps = range(LEAST, trained + 1, LEAST)
        if self.works({**options, "ctx_size": trained}):
            return trained
        place = bisect.bisect_left(steps, True, key=lambda tokens: not self.works({**options, "ctx_size": tokens}))
        return steps[place - 1] if place else None

    def trained(self) -> int:
        return self.subject.shape.whole("context_length")

    def small_cache_works(self) -> bool:
        """q8_0 holds heads whose length is whole blocks."""
        shape = self.subject.shape
        heads = shape.whole("attention.head_count")
        usual = shape.whole("embedding_length") // heads if heads else 0
        lengths = [shape.whole(f"attention.{half}_length", usual) for half in ("key", "value")]
        free = not {"cache_type_k", "cache_type_v"} & self.subject.chosen
        flash = self.subject.options.get("flash_attn") != "off"
        return free and flash and not is_encoder(shape) and all(each and each % _BLOCK == 0 for each in lengths)


def advise(subject: Subject, rooms: Rooms) -> Advice | None:
    """What to load it with here; None where nothing fits, with all other Models gone."""
    search = _Search(subject, rooms)
    found, unseen = search.found(), search.unseen()
    if found is None and unseen and not _asks_for_gpus(subject):
        search = _Search(subject, rooms.without(unseen), left_out=unseen)
        found = search.found()
    if found is None:
        return None
    options, why = found
    estimate = search.tried(options)
    return Advice(options, why, rooms.verdict(estimate), estimate, search.most_context(options))


def _asks_for_gpus(subject: Subject) -> bool:
    placed = _PLACING & subject.chosen
    return bool(placed) and (placed != {"n_gpu_layers"} or subject.options["n_gpu_layers"] != 0)


def _least(most: int, way: Callable[[int], dict[str, OptionValue] | None]) -> Iterator[dict[str, OptionValue]]:
    """The way with the smallest number from 1 to `most` that is one: if a number works, larger ones do too."""
    place = bisect.bisect_left(range(1, most + 1), True, key=lambda number: way(number) is not None)
    found = way(place + 1) if place < most else None
    if found is not None:
        yield found


def used_gpus(found: Estimate) -> frozenset[str]:
    """Those that hold something of the model; a driver is on every one that the program sees."""
    return frozenset(name for name, size in (found.weights + found.cache).items() if size and name != RAM)


def _by_name(gpus: Sequence[Room]) -> list[tuple[Room, str]]:
    return [(room, room.device.name) for room in gpus]


def _named(gpus: Sequence[Room]) -> str:
    names = [room.device.name for room in gpus if room.device.name != RAM]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
