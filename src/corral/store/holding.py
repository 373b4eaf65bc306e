"""What is in the store of a model that a reference means: found by looking, with nobody asked."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count, takewhile
from pathlib import Path

from corral.contracts.fetching import Plan, RemoteFile, Role
from corral.domain.errors import FileMissing, NotThere, StoreFailed
from corral.domain.references import (
    FileReference,
    HubReference,
    OllamaReference,
    Reference,
    WebReference,
    means_same,
)
from corral.store.fetch.linked import NOT_THERE, is_there, unseen
from corral.store.files import part_paths
from corral.store.housing import addressed, hub_folders, is_of
from corral.store.placing import companion
from corral.store.shelf import origin
from corral.store.shelf.origin import Origin
from corral.store.sources.choosing import choices, choose, role_of
from corral.store.sources.listing import ListedFile
from corral.store.sources.ollama import layer_name
from corral.store.sources.places import ollama_place
from corral.store.sources.quants import normal, same


@dataclass(frozen=True, slots=True)
class Held:
    """A model's file (of a split one part 1), and what came along with it."""

    model: Path
    projector: Path | None = None
    adapters: tuple[Path, ...] = ()
    lost: bool = False  # it has a projector, which is not here

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of it."""
        return (*part_paths(self.model), *([self.projector] if self.projector else []), *self.adapters)

    def whole(self) -> Held | None:
        """Itself where every file is there."""
        return self if all(is_there(path) for path in self.paths) else None


def held(root: Path, reference: Reference) -> Held | None:
    """Below the store's folder; None where not all of it is there, but for a projector. Raises StoreFailed."""
    found = _held(root, reference)
    return None if found is None or isinstance(reference, FileReference) else _as_noted(root, found)


def _as_noted(root: Path, found: Held) -> Held | None:
    """With what its origin says of what belongs to it; without one that says so, as it was found."""
    said = origin.read(root, found.model.relative_to(root).as_posix())
    projectors = [
        root / path for path in (said.companions if said is not None else ()) if role_of(path) is Role.PROJECTOR
    ]
    if not projectors:
        return found
    there = next((path for path in projectors if is_there(path)), None)
    return replace(found, projector=there, lost=there is None)


def _held(root: Path, reference: Reference) -> Held | None:
    if isinstance(reference, HubReference):
        return _of_hub(root, reference)
    if isinstance(reference, OllamaReference):
        return _of_registry((root / ollama_place(reference, "any")).parent)
    if isinstance(reference, FileReference):
        return Held(Path(reference.path)).whole()
    for place in addressed(root, reference):
        there = Held(root / place).whole()
        if there is not None:
            return there
    return None


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
    """
    The very path or quantisation, or what was chosen for this very reference when it was fetched.

    What else would be taken depends on all that the repository has, which is not here.
    """
    errors: list[OSError] = []
    for place in hub_folders(root, reference, errors.append):
        listed = _listed(root / place, errors.append)
        files = [each for each in listed if is_of(root, f"{place}/{each.path}", reference)]
        found = _in_folder(root / place, files, reference)
        if found is not None:
            return found
    for each in errors:
        if each.errno not in NOT_THERE:
            raise unseen(Path(each.filename), each) from each
    return None


def _in_folder(folder: Path, files: list[ListedFile], reference: HubReference) -> Held | None:
    wanted = _exact(files, reference) or _chosen_before(folder, files, reference)
    if not wanted:
        return None
    try:
        chosen = choose(files, file=wanted, where=str(reference))
    except NotThere:
        return None
    projector = folder / chosen.projector.path if chosen.projector is not None else None
    return Held(folder / chosen.model.files[0].path, projector).whole()


def _exact(files: list[ListedFile], reference: HubReference) -> str:
    if reference.file:
        return next((each.path for each in files if each.path == reference.file), "")
    wanted = normal(reference.quant) if reference.quant else ""
    found = [each for each in choices(files) if wanted and each.role is Role.MODEL and same(wanted, each.quant)]
    if len({each.name for each in found}) != 1:
        return ""
    return min(found, key=lambda each: (not each.whole, len(each.files))).files[0].path


def _chosen_before(folder: Path, files: list[ListedFile], reference: HubReference) -> str:
    for each in files:
        if role_of(each.path) is Role.MODEL:
            said = _said(folder, each.path)
            if said is not None and any(means_same(text, reference) for text in (said.reference, *said.asked)):
                return each.path
    return ""


def _listed(folder: Path, failed: Callable[[OSError], None]) -> list[ListedFile]:
    found = []
    for place, folders, names in os.walk(folder, onerror=failed):
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
    found = Held(path, projector, tuple(each for each in takewhile(bool, adapters) if each)).whole()
    return found and _as_noted(path.parent, found)


def _beside(path: Path, reference: Reference, role: Role, number: int) -> Path | None:
    found = path.with_name(companion(path.name, role, number))
    if not os.path.lexists(found):
        return None
    said = _reference_of(found.parent, found.name)
    return found if not said or _same_place(said, reference) else None


def _same_place(said: str, reference: Reference) -> bool:
    """Whether a file came from where this says; which quantisation was meant is another question."""
    if isinstance(reference, HubReference):
        place, said = f"hf.co/{reference.repo}".lower(), said.lower()
        return said == place or said.startswith(tuple(f"{place}{end}" for end in "/:@"))
    return said == str(reference)


def _reference_of(folder: Path, path: str) -> str:
    said = _said(folder, path)
    return said.reference if said is not None else ""


def _said(folder: Path, path: str) -> Origin | None:
    try:
        return origin.read(folder, path)
    except FileMissing:
        return None


def insecure(path: Path, reference: Reference) -> bool:
    """Whether a file came by http, where https is asked for now: anybody on the way may have changed it."""
    if not isinstance(reference, WebReference) or not reference.url.lower().startswith("https:"):
        return False
    said = origin.read(path.parent, path.name)
    return said is not None and said.url.lower().startswith("http:")


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
