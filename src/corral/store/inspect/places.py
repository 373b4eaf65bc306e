"""
Where the files of a model lie, for whoever wants no more than their headers: a folder here, or addresses elsewhere.

A model is known by the name of one file; what belongs to it (other parts, a projector) lies at the same place.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from corral.contracts.fetching import Role
from corral.domain.errors import FileMissing, StoreFailed
from corral.store.belonging import Language, Other, Sight, projector_of
from corral.store.files import is_there, missing, names_of_parts, tensors_of
from corral.store.gguf.facts import says
from corral.store.gguf.header import Header, TensorInfo
from corral.store.gguf.projectors import projects
from corral.store.gguf.reader import read_header
from corral.store.inspect.describing import described
from corral.store.inspect.inspection import Inspection, Split
from corral.store.shelf.roles import role_by_header
from corral.store.sources.choosing import role_of

_PROJECTOR: Final = "mmproj"


class Files(Protocol):
    """The files of one model at one place."""

    name: str
    licence: str

    def header(self, name: str) -> Header | None:
        """Of one of its files; None where it is not there. Raises StoreFailed for what cannot be read."""
        ...

    def projectors(self) -> list[str]:
        """Names of files that may add pictures or sound to it."""
        ...

    def came_with(self, projector: str) -> bool:
        """Whether that one and the model are of one repository, or came as one."""
        ...

    def others(self) -> list[str]:
        """Names of other models at that place, where it is not that of one repository."""
        ...


class FolderFiles:
    """A model in a folder of this machine. `licence` and `companions` are what is known of it beside its file."""

    def __init__(self, path: Path, licence: str = "", companions: Sequence[str] = ()) -> None:
        self._folder, self.name = path.parent, path.name
        self._folders, self._repository = _folders(path)
        self._companions = companions
        self.licence = licence

    def header(self, name: str) -> Header | None:
        """See `Files.header`."""
        path = self._folder / name
        if is_there(path):
            return read_header(path)
        if name == self.name:
            raise missing(path)
        return None

    def projectors(self) -> list[str]:
        """Those beside it, then those above it in the folder of its repository in a store, the nearest first."""
        found: list[str] = []
        for depth, folder in enumerate(self._folders):
            found += ["../" * depth + name for name in _gguf(folder) if _PROJECTOR in name.lower()]
        return found

    def came_with(self, projector: str) -> bool:
        """See `Files.came_with`."""
        return self._repository or any(each.endswith(f"/{projector}") for each in self._companions)

    def others(self) -> list[str]:
        """See `Files.others`."""
        return [] if self._repository else [name for name in _gguf(self._folder) if role_of(name) is Role.MODEL]


def _gguf(folder: Path) -> list[str]:
    try:
        return sorted(each.name for each in folder.iterdir() if each.name.lower().endswith(".gguf"))
    except OSError:
        return []


def _folders(path: Path) -> tuple[Sequence[Path], bool]:
    """
    Its own, and those above it in a repository, and whether it is in one: large repositories have models in folders,
    and one projector above them. In a store they are `hf/ORG/REPO`, in the hub's own cache `snapshots/COMMIT`.
    """
    above = path.absolute().parents
    for depth, folder in enumerate(above):
        if folder.parent.parent.name == "hf" or folder.parent.name == "snapshots":
            return above[: depth + 1], True
    return above[:1], False


def inspect_files(files: Files) -> tuple[Inspection, tuple[TensorInfo, ...]]:
    """
    What the model is, and its tensors in the order of the files. Parts that are missing are told of, not refused.

    Raises FileMissing where its file is not there, BadGguf for files that cannot be read or are of another model.
    """
    given = files.header(files.name)
    if given is None:
        raise FileMissing(f"There is no file {files.name}.")
    first, tensors, split = given, given.tensors, None
    there = {files.name: given}
    if given.split is not None:
        names = names_of_parts(files.name, given.split)
        parts = {name: given if name == files.name else files.header(name) for name in names}
        tensors = tensors_of(parts, given.split)
        there = {name: part for name, part in parts.items() if part is not None}
        first = there.get(names[0], given)
        absent = tuple(name for name in names if name not in there)
        split = Split(given.split.count, not absent, absent)
    found = described(
        first,
        tensors,
        files=tuple(there),
        file_bytes=sum(part.file_bytes for part in there.values()),
        split=split,
        projector=projector_beside(files, first) if first.architecture != "clip" else None,
        licence=files.licence,
    )
    return found, tensors


def projector_beside(files: Files, model: Header) -> tuple[str, Header] | None:
    """The name and the header of the projector that belongs to a model, if any does."""
    headers: dict[str, Header] = {}
    sights: dict[Sight, str] = {}
    for name in files.projectors():
        header = _looked_at(files, name)
        said = projects(header, header.tensors) if header is not None else None
        if header is not None and said is not None:
            quantisation = says(header, header.tensors, size_bytes=header.file_bytes).base.quantisation
            file, above = name.rpartition("/")[2], name.count("../")
            sights[Sight(file, said, quantisation, above, files.came_with(name))] = name
            headers[name] = header
    if not sights:
        return None
    others = [Other(name, partial(_language, files, name)) for name in files.others()]
    found = projector_of(_said(files.name, model), list(sights), others)
    return (sights[found], headers[sights[found]]) if found is not None else None


def _looked_at(files: Files, name: str) -> Header | None:
    try:
        return files.header(name)
    except StoreFailed:  # it is not what was asked about
        return None


def _language(files: Files, name: str) -> Language | None:
    header = _looked_at(files, name)
    return _said(name, header) if header is not None and role_by_header(header) is Role.MODEL else None


def _said(name: str, header: Header) -> Language:
    return Language(name, header.architecture, header.number("embedding_length"))
