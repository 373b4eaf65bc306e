"""
Where the files of a model lie, for whoever wants no more than their headers: a folder here, or addresses elsewhere.

A model is known by the name of one file; what belongs to it (other parts, a projector) lies at the same place.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from corral.domain.errors import FileMissing, StoreFailed
from corral.store.files import missing, names_of_parts, tensors_of
from corral.store.gguf.header import Header, TensorInfo
from corral.store.gguf.reader import read_header
from corral.store.inspect.describing import described
from corral.store.inspect.inspection import Inspection, Split

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


class FolderFiles:
    """A model in a folder of this machine. `licence` is what is known of it beside its file."""

    def __init__(self, path: Path, licence: str = "") -> None:
        self._path = path
        self._folder, self.name = path.parent, path.name
        self.licence = licence

    def header(self, name: str) -> Header | None:
        """See `Files.header`."""
        path = self._folder / name
        if path.exists():
            return read_header(path)
        if name == self.name:
            raise missing(path)
        return None

    def projectors(self) -> list[str]:
        """Those beside it, then those above it in the folder of its repository in a store, the nearest first."""
        found: list[str] = []
        for depth, folder in enumerate(_folders(self._path)):
            try:
                names = sorted(each.name for each in folder.iterdir())
            except OSError:
                continue
            there = [name for name in names if _PROJECTOR in name.lower() and name.lower().endswith(".gguf")]
            found += ["../" * depth + name for name in there]
        return found


def _folders(path: Path) -> Sequence[Path]:
    """Its own, and up to `hf/ORG/REPO`: large repositories have models in folders, and one projector above them."""
    above = path.absolute().parents
    for depth, folder in enumerate(above):
        if folder.parent.parent.name == "hf":
            return above[: depth + 1]
    return above[:1]


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
        projector=_projector(files, first) if first.architecture != "clip" else None,
        licence=files.licence,
    )
    return found, tensors


def _projector(files: Files, model: Header) -> tuple[str, Header] | None:
    """The first that is made for vectors of this model's length: a folder may hold those of other models, too."""
    width = model.number("embedding_length")
    for name in files.projectors():
        try:
            header = files.header(name)
        except StoreFailed:  # it is not what was asked about
            continue
        if header is not None and width in _widths(header):
            return name, header
    return None


def _widths(projector: Header) -> set[int | None]:
    keys = ("clip.vision.projection_dim", "clip.audio.projection_dim", "clip.projection_dim")
    values = (projector.metadata.get(key) for key in keys)
    return {value for value in values if isinstance(value, int)}
