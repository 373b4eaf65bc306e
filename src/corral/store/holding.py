"""What is in the store of a model that a reference means: found by looking, with nobody asked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path

from corral.contracts.fetching import Plan, RemoteFile, Role
from corral.domain.errors import FileMissing, NotThere, StoreFailed
from corral.domain.references import FileReference, HubReference, OllamaReference, Reference
from corral.store.fetch.linked import is_there
from corral.store.files import part_paths
from corral.store.placing import companion
from corral.store.shelf import origin
from corral.store.sources.choosing import Chosen, choose, role_of
from corral.store.sources.listing import ListedFile
from corral.store.sources.ollama import layer_name
from corral.store.sources.places import hub_place, ollama_place, web_place


@dataclass(frozen=True, slots=True)
class Held:
    """A model's file (of a split one part 1), and what came along with it."""

    model: Path
    projector: Path | None = None
    adapters: tuple[Path, ...] = ()

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of it."""
        return (*part_paths(self.model), *([self.projector] if self.projector else []), *self.adapters)

    def whole(self) -> Held | None:
        """Itself where every file is there."""
        return self if all(is_there(path) for path in self.paths) else None


def held(root: Path, reference: Reference) -> Held | None:
    """Below the store's folder; None where not all of it is there. Raises StoreFailed."""
    if isinstance(reference, HubReference):
        return _of_hub(root, reference)
    if isinstance(reference, OllamaReference):
        return _of_registry((root / ollama_place(reference, "any")).parent)
    if isinstance(reference, FileReference):
        return Held(Path(reference.path)).whole()
    return Held(root / web_place(reference.url)).whole()


def _of_registry(folder: Path) -> Held | None:
    """All that came is what has a name there, be it of a link that leads nowhere by now."""
    projector = folder / layer_name(Role.PROJECTOR, 1)
    adapters = (folder / layer_name(Role.ADAPTER, number) for number in count(1))
    return Held(
        folder / layer_name(Role.MODEL, 1),
        projector if os.path.lexists(projector) else None,
        tuple(takewhile(os.path.lexists, adapters)),
    ).whole()


def _of_hub(root: Path, reference: HubReference) -> Held | None:
    """Chosen among what is here by the rules by which it was chosen among what there is."""
    folder = (root / hub_place(reference, "any")).parent
    files = _listed(folder)
    wanted = reference.file
    if not wanted and not reference.quant:  # which it was is known only to who chose it
        said = str(reference)
        models = [each.path for each in files if role_of(each.path) is Role.MODEL]
        wanted = next((path for path in models if _reference_of(folder, path) == said), "")
        if not wanted:
            return None
    try:
        chosen: Chosen = choose(files, quant="" if wanted else reference.quant, file=wanted, where=str(reference))
    except NotThere:
        return None
    projector = folder / chosen.projector.path if chosen.projector is not None else None
    return Held(folder / chosen.model.files[0].path, projector).whole()


def _listed(folder: Path) -> list[ListedFile]:
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        within = Path(place).relative_to(folder)
        found += [
            ListedFile((within / name).as_posix())
            for name in sorted(names)
            if name.lower().endswith(".gguf") and not name.startswith(".")
        ]
    return found


def held_at(path: Path, reference: Reference) -> Held | None:
    """The same at the operator's own place; what belongs to it has its name, and no other origin."""
    if not is_there(path):
        return None
    projector = _beside(path, reference, Role.PROJECTOR, 1)
    adapters = (_beside(path, reference, Role.ADAPTER, number) for number in count(1))
    return Held(path, projector, tuple(each for each in takewhile(bool, adapters) if each)).whole()


def _beside(path: Path, reference: Reference, role: Role, number: int) -> Path | None:
    found = path.with_name(companion(path.name, role, number))
    if not os.path.lexists(found):
        return None
    said = _reference_of(found.parent, found.name)
    return found if not said or _same_place(said, reference) else None


def _same_place(said: str, reference: Reference) -> bool:
    """Whether a file came from where this says; which quantisation was meant is another question."""
    if isinstance(reference, HubReference):
        return said == f"hf.co/{reference.repo}" or said.startswith(
            tuple(f"hf.co/{reference.repo}{end}" for end in "/:@")
        )
    return said == str(reference)


def _reference_of(folder: Path, path: str) -> str:
    try:
        said = origin.read(folder, path)
    except FileMissing:
        return ""
    return said.reference if said is not None else ""


def vouched(path: Path, sha256: str) -> bool:
    """Whether a file came with this hash."""
    said = origin.read(path.parent, path.name)
    return said is not None and said.sha256 == sha256


def kept(root: Path, reference: Reference, *, sha256: str = "") -> Plan | None:
    """What is here of a model, as a plan that asks nobody; None where it is not, or not surely what is meant."""
    try:
        there = held(root, reference)
    except StoreFailed:
        return None
    if there is None or isinstance(reference, FileReference) or (sha256 and not vouched(there.model, sha256)):
        return None
    return Plan(reference, tuple(_kept(root, path) for path in there.paths))


def _kept(root: Path, path: Path) -> RemoteFile:
    return RemoteFile("", path.relative_to(root).as_posix(), role_of(path.name), path.stat().st_size)
