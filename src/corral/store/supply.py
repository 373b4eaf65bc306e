"""
Where Models get their files from (`contracts.fetching.Supply`): what is here already, and how the rest comes here.

What is here is found by looking, with nobody asked: a machine without a network serves what it has. A file is in its
place only when it is whole, and the one that an engine is given is put there last.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from corral.contracts.fetching import Fetches, Plan, RemoteFile, Role, Supply, Told
from corral.domain.errors import FetchRefused, FileMissing, NotThere, StoreFailed
from corral.domain.fleet import Fleet, ModelSpec, Source
from corral.domain.references import BadReference, FileReference, HubReference, OllamaReference, Reference, parse
from corral.domain.storage import StoreSpec
from corral.store.fetches import StoreFetches
from corral.store.files import part_names, part_paths
from corral.store.shelf import origin
from corral.store.sources.choosing import Chosen, choose, role_of
from corral.store.sources.listing import ListedFile
from corral.store.sources.places import hub_place, ollama_place, web_place

FetchesInto = Callable[[Path], Fetches]
"""Fetches that put files below this folder."""


class StoreSupply:
    """Over the store in `root`. `into` is asked for when something has to come."""

    def __init__(self, root: Path, into: FetchesInto) -> None:
        self._root = root
        self._into = into

    def here(self, source: Source) -> Source | None:
        """See `contracts.fetching.Supply.here`."""
        reference = _parsed(source)
        try:
            if source.place:
                found = _placed(Path(source.place), reference)
            else:
                found = _found(self._root, reference)
        except StoreFailed:  # nothing that can be used, and whoever puts it there says why
            return None
        if found is None or (source.sha256 and not _vouched(found[0], source.sha256)):
            return None
        model, projector = found
        return dataclasses.replace(source, path=str(model), projector=str(projector or "") if source.pictures else "")

    def bring(
        self, source: Source, told: Told, stop: Callable[[], bool], *, planned: Callable[[Plan], None] | None = None
    ) -> Source:
        """See `contracts.fetching.Supply.bring`; `planned` hears what will come."""
        found = self.here(source)
        if found is not None:
            return found
        reference = _parsed(source)
        if not source.auto_download:
            raise FetchRefused(f"{reference} is not here, and auto_download is off.", hint=_by_hand(source, reference))
        fetches = self._into(Path(source.place).parent if source.place else self._root)
        plan = fetches.plan(reference, sha256=source.sha256, stop=stop)
        if not source.pictures:
            plan = _without_projectors(plan)
        if source.place:
            plan = _moved(plan, Path(source.place).name)
        if planned is not None:
            planned(plan)
        fetched = fetches.fetch(plan, told, stop=stop)
        roles = zip(fetched.paths, plan.files, strict=True)
        projector = next((path for path, file in roles if file.role is Role.PROJECTOR and path != fetched.model), "")
        return dataclasses.replace(source, path=str(fetched.model), projector=str(projector))


def store_supply(
    spec: StoreSpec, env: Mapping[str, str], *, insecure: bool = False, private: bool = False
) -> StoreSupply:
    """Over the store of these settings. `insecure` and `private`: see StoreFetches."""

    def into(root: Path) -> StoreFetches:
        return StoreFetches(dataclasses.replace(spec, path=str(root)), env, insecure=insecure, private=private)

    return StoreSupply(Path(spec.path), into)


def kept(root: Path, reference: Reference, *, sha256: str = "") -> Plan | None:
    """What is here of a model, as a plan that asks nobody; None where it is not, or not surely what is meant."""
    try:
        found = _found(root, reference)
    except StoreFailed:
        return None
    if found is None or isinstance(reference, FileReference) or (sha256 and not _vouched(found[0], sha256)):
        return None
    model, projector = found
    files = [_kept(root, path, role_of(path.name)) for path in part_paths(model)]
    return Plan(reference, (*files, _kept(root, projector, Role.PROJECTOR)) if projector else tuple(files))


def _kept(root: Path, path: Path, role: Role) -> RemoteFile:
    return RemoteFile("", path.relative_to(root).as_posix(), role, path.stat().st_size)


def resolved(fleet: Fleet, supply: StoreSupply) -> Fleet:
    """The Fleet with the paths of all files that are here. Blocks on the disk, where a Model has a reference."""
    models = {name: with_files(model, supply) for name, model in fleet.models.items()}
    return dataclasses.replace(fleet, models=models)


def with_files(model: ModelSpec, supply: Supply) -> ModelSpec:
    """The Model with the paths of its files where all of them are here."""
    found = supply.here(model.source) if model.source.wanting else None
    return model if found is None else dataclasses.replace(model, source=found)


def _parsed(source: Source) -> Reference:
    try:
        return parse(source.reference)
    except BadReference as error:
        raise NotThere(str(error)) from None


def _by_hand(source: Source, reference: Reference) -> str:
    if source.place:
        return f"Put it at {source.place}, or set auto_download."
    return f"`corral models pull {reference}` fetches it."


# --- what is here -----------------------------------------------------------------------------------------------------

_Files = tuple[Path, Path | None]  # the model, and its projector


def _found(root: Path, reference: Reference) -> _Files | None:
    if isinstance(reference, HubReference):
        return _of_hub(root, reference)
    if isinstance(reference, OllamaReference):
        model = root / ollama_place(reference, "model.gguf")
        projector = root / ollama_place(reference, "mmproj.gguf")
        return (model, projector if projector.is_file() else None) if model.is_file() else None
    if isinstance(reference, FileReference):
        return _whole(Path(reference.path), None)
    return _whole(root / web_place(reference.url), None)


def _of_hub(root: Path, reference: HubReference) -> _Files | None:
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
    return folder / chosen.model.files[0].path, projector


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


def _placed(path: Path, reference: Reference) -> _Files | None:
    """At the operator's own place; what came along with it is known by its origin."""
    if not path.is_file():
        return None
    beside = [each.path for each in _listed(path.parent) if "/" not in each.path]
    projectors = (each for each in beside if role_of(each) is Role.PROJECTOR and each != path.name)
    projector = next((each for each in projectors if _same_place(_reference_of(path.parent, each), reference)), None)
    return _whole(path, path.parent / projector if projector else None)


def _same_place(said: str, reference: Reference) -> bool:
    """Whether a file came from where this says; which quantisation was meant is another question."""
    if isinstance(reference, HubReference):
        return said == f"hf.co/{reference.repo}" or said.startswith(
            tuple(f"hf.co/{reference.repo}{end}" for end in "/:@")
        )
    return said == str(reference)


def _whole(path: Path, projector: Path | None) -> _Files | None:
    return (path, projector) if all(part.is_file() for part in part_paths(path)) else None


def _reference_of(folder: Path, path: str) -> str:
    try:
        said = origin.read(folder, path)
    except FileMissing:
        return ""
    return said.reference if said is not None else ""


def _vouched(path: Path, sha256: str) -> bool:
    said = origin.read(path.parent, path.name)
    return said is not None and said.sha256 == sha256


# --- what comes -------------------------------------------------------------------------------------------------------


def _without_projectors(plan: Plan) -> Plan:
    first = plan.files[0]
    return dataclasses.replace(
        plan, files=tuple(each for each in plan.files if each is first or each.role is not Role.PROJECTOR)
    )


def _moved(plan: Plan, name: str) -> Plan:
    """The plan with the model under this name, and whatever belongs to it beside that. Raises StoreFailed."""
    models = [each for each in plan.files if each.role is plan.files[0].role]
    names = part_names(name)
    if len(names) != len(models):
        raise StoreFailed(
            f"{plan.reference} has {len(models)} parts, and {name} is the name of {len(names)}.",
            hint="Leave source.path out: the store keeps them under their own names.",
        )
    renamed = dict(zip((each.path for each in models), names, strict=True))
    return dataclasses.replace(plan, files=tuple(_at(each, renamed.get(each.path, "")) for each in plan.files))


def _at(file: RemoteFile, name: str) -> RemoteFile:
    return dataclasses.replace(file, path=name or file.path.rpartition("/")[2])
