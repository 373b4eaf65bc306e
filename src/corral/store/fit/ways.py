"""
The ways to load a model, from the best to the least, and what they leave to be counted out.

All of it on one GPU; over several; with the cache in 8 bits; with less context; experts in RAM; some layers in RAM; no
GPU at all. A layer in RAM costs far more speed than anything that comes before it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from corral.domain.devices import RAM
from corral.domain.fleet import OptionValue
from corral.store.fit.rooms import Room, Rooms
from corral.store.fit.server import PLACING
from corral.store.fit.subject import Options, Subject
from corral.store.gguf.asked import ORIGINAL, reach
from corral.store.gguf.cache import is_encoder

_COMFORTABLE: Final = 32_768  # tokens: what most work needs; more is said, not recommended
_ENOUGH: Final = 8_192
LEAST: Final = 4_096
_TOO_SMALL: Final = "The GPUs are too small to help: it runs in RAM"
_BLOCK: Final = 32  # values in a block of q8_0
_SMALL_CACHE: Final[dict[str, OptionValue]] = {"cache_type_k": "q8_0", "cache_type_v": "q8_0"}


@dataclass(frozen=True, slots=True)
class Way:
    """`options` are those that make the way; what is counted out comes beside them."""

    options: dict[str, OptionValue]
    why: str
    least: int = _ENOUGH  # context
    alone: bool = False  # on one of several GPUs, whose name stands in `why`
    counted: bool = True  # with layers counted out, as far as they are left open


def ways(subject: Subject, rooms: Rooms, *, without: Options, left_out: Collection[str] = ()) -> Iterator[Way]:
    """
    Those that there are. `without` are the options for no GPU at all; `left_out` are GPUs that are not among the rooms,
    because the program that is here cannot use them.
    """
    caches: list[tuple[dict[str, OptionValue], str]] = [({}, "")]
    if _small_cache_works(subject):
        caches.append((_SMALL_CACHE, ", with its cache in 8 bits"))
    gpus = rooms.gpus
    if not gpus or PLACING & subject.chosen:
        none = _TOO_SMALL if left_out else "It runs in RAM: there is no GPU that its program can use"
        where = "It is placed as asked" if gpus else none
        for least in (_ENOUGH, LEAST):
            for cache, words in caches:
                yield Way(dict(cache), f"{where}{words}.", least)
        return
    for cache, words in caches:
        if len(gpus) > 1:
            yield Way({**cache, "n_gpu_layers": "all"}, f"All of it fits on {{device}} alone{words}.", alone=True)
        yield Way({**cache, "n_gpu_layers": "all"}, f"All layers are on {_named(gpus)}{words}.")
    for cache, words in caches:
        yield Way({**cache, "n_gpu_layers": "all"}, f"All layers are on {_named(gpus)}{words}.", LEAST)
    if any(subject.shape.weights.experts):
        why = "Experts of the first layers stay in RAM, all the rest is on"
        for cache, words in caches:
            yield Way({**cache, "n_gpu_layers": "all", "n_cpu_moe": 0}, f"{why} {_named(gpus)}{words}.", LEAST)
    yield Way({"n_gpu_layers": 0}, f"The last layers are on {_named(gpus)}, the others in RAM.", LEAST)
    if not unseen(subject, rooms):  # a program that sees none of them has no driver on them either
        left = {name: value for name, value in without.items() if name not in subject.chosen}
        yield Way(left, f"{_TOO_SMALL}.", LEAST, counted=False)


def unseen(subject: Subject, rooms: Rooms) -> Collection[str]:
    """GPUs that the program that is here cannot use."""
    return subject.server.unseen([room.device.name for room in rooms.gpus])


def contexts(subject: Subject, least: int) -> list[int | None]:
    """From the largest that is worth having down to the least; [None] where it was chosen or means nothing."""
    if "ctx_size" in subject.chosen or is_encoder(subject.shape):
        return [None]
    most = min(trained(subject) or LEAST, _COMFORTABLE)
    found = [most]
    while found[-1] // 2 >= least:
        found.append(found[-1] // 2)
    return list(found)


def takes_slots(subject: Subject) -> bool:
    """Whether their number is left open, and means anything."""
    return "parallel" not in subject.chosen and not is_encoder(subject.shape)


def trained(subject: Subject) -> int:
    """Tokens, as far as RoPE scaling that is chosen stretches them."""
    shape = subject.shape
    return reach(shape.whole("context_length"), subject.options, shape.whole(ORIGINAL))


def _small_cache_works(subject: Subject) -> bool:
    """q8_0 holds heads whose length is whole blocks."""
    shape = subject.shape
    heads = shape.whole("attention.head_count")
    usual = shape.whole("embedding_length") // heads if heads else 0
    lengths = [shape.whole(f"attention.{half}_length", usual) for half in ("key", "value")]
    free = not {"cache_type_k", "cache_type_v"} & subject.chosen
    flash = subject.options.get("flash_attn") != "off"
    return free and flash and not is_encoder(shape) and all(each and each % _BLOCK == 0 for each in lengths)


def _named(gpus: Sequence[Room]) -> str:
    names = [room.device.name for room in gpus if room.device.name != RAM]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
