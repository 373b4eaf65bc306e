"""What stands on a shelf, and what belongs together. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from corral.contracts.fetching import Role
from corral.domain.references import HubReference, OllamaReference
from corral.store.belonging import Language, Other, Sight, projector_of
from corral.store.gguf.projectors import Projects
from corral.store.shelf.origin import Origin
from corral.store.sources.choosing import plain_name
from corral.store.sources.places import revision_of

_PART: Final = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.gguf)", re.IGNORECASE)
STORE: Final = "store"


class Item(msgspec.Struct, frozen=True, gc=False):
    """
    One model with all its parts, or what goes with one.

    `key` is where it lies, without `.gguf` and the number of a part: with `name`, what people and clients call it by.
    `problem` is a sentence about why it cannot be used. `place` is who keeps it: "store", or another program.
    `wanted` is what it would be called by if it stood alone, `came_at` when it came here at the latest.
    """

    key: str
    files: tuple[str, ...]  # paths; part 1 first
    size_bytes: int
    modified_at: float  # seconds since 1970
    name: str = ""
    role: Role = Role.MODEL
    architecture: str = ""
    title: str = ""
    parameters: int | None = None
    quantisation: str = ""
    context_tokens: int | None = None
    licence: str = ""
    width: int | None = None  # of embeddings, or of what a projector makes
    kinds: tuple[str, ...] = ()  # of a projector
    problem: str = ""
    origins: tuple[Origin | None, ...] = ()  # of each part
    projector: Path | None = None
    adapters: tuple[Path, ...] = ()  # that came along with it, as one model
    place: str = STORE
    reference: str = ""
    wanted: str = ""
    came_at: float = 0.0  # seconds since 1970

    @property
    def path(self) -> Path:
        """The file to hand to an engine."""
        return Path(self.files[0])

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files. Made when asked for: a list of ten thousand asks for none."""
        return tuple(map(Path, self.files))


def grouped(paths: Iterable[str]) -> dict[str, list[str]]:
    """The files of each model by its key, parts in their order: `a-00002-of-00003.gguf` belongs to `a`."""
    found: dict[str, list[str]] = {}
    for path in sorted(paths):
        found.setdefault(key_of(path), []).append(path)
    return found


def key_of(path: str) -> str:
    """The key of the model that a file belongs to."""
    match = _PART.fullmatch(path)
    if match:
        path = f"{match['stem']}-00001-of-{match['count']}{match['suffix']}"
    return path.removesuffix(".gguf")  # `.GGUF` stays: both may be there


def reference_of(key: str, first: str, origin: Origin | None) -> str:
    """Where it can be had again: as was written when it came, else what its place in the store says; "" unknown."""
    if origin is not None and origin.reference:
        return origin.reference
    parts = first.split("/")
    try:
        if parts[0] == "hf" and len(parts) >= 4:
            repo, revision = parts[2].partition("@")[0], revision_of(parts[2])
            return str(HubReference(f"{parts[1]}/{repo}", revision, file="/".join(parts[3:])))
        if parts[0] == "ollama" and len(parts) >= 6:
            return str(OllamaReference(parts[3], parts[4], parts[2], parts[1]))
    except ValueError:
        pass
    return ""


def home_of(place: str) -> str:
    """Where that lies which may belong together: of a file of the hub its repository's folder, else its own."""
    parts = place.split("/")
    return "/".join(parts[:3] if parts[0] == "hf" and len(parts) > 3 else parts[:-1])


def with_companions(
    items: Sequence[Item], group: Callable[[Item], object] = lambda item: home_of(item.key)
) -> list[Item]:
    """
    Each model with the projector of its `group` that is made for it, and with the adapters that are a part of it.

    None is no group.
    """
    beside: dict[object, list[Item]] = {}
    models: dict[object, list[Item]] = {}
    for item in items:
        if not item.problem and item.role in (Role.PROJECTOR, Role.ADAPTER, Role.MODEL):
            (models if item.role is Role.MODEL else beside).setdefault(group(item), []).append(item)
    beside.pop(None, None)
    if not beside:
        return list(items)
    others = {each: _others(models.get(each, ())) for each in beside}
    return [
        _accompanied(item, beside[where], others[where]) if item.role is Role.MODEL and where in beside else item
        for item, where in ((item, group(item)) for item in items)
    ]


def _accompanied(model: Item, there: Sequence[Item], others: Sequence[Other]) -> Item:
    sights = {_sight(each, model): each.path for each in there if each.role is Role.PROJECTOR and _reaches(each, model)}
    found = projector_of(_language(model), list(sights), others)
    return replace(model, projector=sights[found] if found else None, adapters=_adapters(model, there))


def _adapters(model: Item, there: Sequence[Item]) -> tuple[Path, ...]:
    """Only a model of Ollama's is one with its adapters: in a folder of the hub they are for whoever chooses them."""
    if not model.reference.startswith("ollama:"):
        return ()
    paths = (each.path for each in there if each.role is Role.ADAPTER and each.reference == model.reference)
    return tuple(sorted(paths, key=lambda path: (len(path.name), path.name)))


def _reaches(projector: Item, model: Item) -> bool:
    """In the store a projector is for the models of its folder and of those below it."""
    return model.place != STORE or projector.path.parent in model.path.parents


def _others(models: Sequence[Item]) -> tuple[Other, ...]:
    """Each once: of a model in ten quantisations one is enough to know that it is there."""
    found = {(plain_name(each.path.name), each.architecture, each.width): each for each in models}
    return tuple(Other(each.path.name, partial(_language, each)) for each in found.values())


def _language(model: Item) -> Language:
    return Language(model.path.name, model.architecture, model.width)


def _sight(each: Item, model: Item) -> Sight:
    origin = model.origins[0] if model.origins else None
    companions = map(key_of, origin.companions) if origin is not None else ()
    # A repository is of one model, and other programs' files are sorted by it; elsewhere lies what somebody put there.
    repository = model.place != STORE or model.key.startswith(("hf/", "ollama/"))
    above = len(model.path.parts) - len(each.path.parts) if model.place == STORE else 0
    return Sight(
        each.path.name,
        Projects(each.kinds, each.width),
        each.quantisation,
        above,
        came_with=repository or each.key in companions,
    )
