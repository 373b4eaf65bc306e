"""
From a path to all files of a model: found, read, complete.

A split model is several files that are loaded from the first; whoever names any part means the whole.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from corral.domain.errors import BadGguf, FileMissing
from corral.kit.homes import expanded
from corral.store.fetch.linked import unseen
from corral.store.gguf.header import Header, SplitInfo, TensorInfo
from corral.store.gguf.reader import read_header

_PART: Final = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")


@dataclass(frozen=True, slots=True)
class FileStamp:
    """A file as it was seen: when path, size and mtime are the same, so is the content."""

    path: Path
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """All parts of a model, the one to load first; `header` is that part's and has the metadata."""

    parts: tuple[FileStamp, ...]
    header: Header
    tensors: tuple[TensorInfo, ...]  # of all parts

    @property
    def path(self) -> Path:
        """The file to hand to the engine."""
        return self.parts[0].path

    @property
    def total_bytes(self) -> int:
        """Sizes of all files together."""
        return sum(part.size for part in self.parts)

    @property
    def tensor_bytes(self) -> int:
        """Bytes of all tensors, without padding."""
        return sum(tensor.n_bytes for tensor in self.tensors)


def resolve(path: str | os.PathLike[str]) -> ModelFiles:
    """
    The model that a path names: a GGUF file, or any part of a split one. Blocks on the disk: call it in a thread.

    Raises FileMissing with near names of the folder, or with the parts that are missing, Unreadable for a file that
    cannot be looked at, and BadGguf for one that is damaged, cut short, or a part of another model.
    """
    given = expanded(path)
    if not is_there(given):
        raise missing(given)
    header = read_header(given)
    if header.split is None:
        return ModelFiles((stamp(given),), header, header.tensors)
    return _resolve_split(given, header)


def stamp(path: Path) -> FileStamp:
    """The file as it is now. Raises FileMissing and Unreadable."""
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise FileMissing(f"There is no file {path}.") from error
    except OSError as error:
        raise unseen(path, error) from error
    return FileStamp(path, status.st_size, status.st_mtime_ns)


def is_there(path: Path) -> bool:
    """Whether something is there, behind links too. Raises Unreadable where nobody can tell."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise unseen(path, error) from error
    return True


def part_paths(path: Path) -> tuple[Path, ...]:
    """The paths of all parts by their numbered names, part 1 first; the path alone when its name is not numbered."""
    return tuple(path.with_name(name) for name in part_names(path.name))


def part_names(name: str) -> tuple[str, ...]:
    """The same for a name alone."""
    match = _PART.fullmatch(name)
    count = int(match["count"]) if match else 0
    if not match or not count:
        return (name,)
    return tuple(f"{match['stem']}-{number:05d}-of-{count:05d}.gguf" for number in range(1, count + 1))


def names_of_parts(name: str, split: SplitInfo) -> tuple[str, ...]:
    """The names of all parts beside one that says that it is a part. Raises BadGguf where it is not named so."""
    names = part_names(name)
    if len(names) != split.count:
        raise BadGguf(
            f"{name} is part {split.index + 1} of {split.count} of a split model, but is not named so.",
            hint=f"Name the parts NAME-00001-of-{split.count:05d}.gguf and so on, in one folder.",
        )
    return names


def _resolve_split(given: Path, header: Header) -> ModelFiles:
    split = header.split
    assert split is not None
    paths = [given.with_name(name) for name in names_of_parts(given.name, split)]
    absent = [each.name for each in paths if not is_there(each)]
    if absent:
        are = "is" if len(absent) == 1 else "are"
        shown = ", ".join(absent[:3]) + (f" and {len(absent) - 3} more" if len(absent) > 3 else "")
        raise FileMissing(
            f"{len(absent)} of the {split.count} parts of {given.name} {are} not there: {shown}.",
            hint=f"Download them into {given.parent}.",
        )
    headers = [header if each == given else read_header(each) for each in paths]
    tensors = tensors_of({each.name: part for each, part in zip(paths, headers, strict=True)}, split)
    return ModelFiles(tuple(stamp(each) for each in paths), headers[0], tensors)


def tensors_of(parts: Mapping[str, Header | None], split: SplitInfo) -> tuple[TensorInfo, ...]:
    """
    The tensors of all parts of a model, by their names in order; None stands for a part that is not there.

    Raises BadGguf for a part of another model.
    """
    for index, (name, part) in enumerate(parts.items()):
        if part is not None and (part.split is None or (part.split.index, part.split.count) != (index, split.count)):
            raise BadGguf(
                f"{name} is not part {index + 1} of {split.count}, whatever its name says.", hint="Download it again."
            )
    tensors = tuple(tensor for part in parts.values() if part is not None for tensor in part.tensors)
    if split.tensors and len(tensors) != split.tensors and None not in parts.values():
        raise BadGguf(
            f"The parts of {next(iter(parts))} have {len(tensors)} tensors together instead of {split.tensors}.",
            hint="They are not of one model: download all of them again.",
        )
    return tensors


def missing(path: Path) -> FileMissing:
    """What to say of a file that is not there: names in its folder that may have been meant."""
    folder = path.parent
    if path.is_symlink():
        return FileMissing(
            f"{path} is a link to {os.path.realpath(path)}, which is not there.",
            hint="Put it back, or remove the link.",
        )
    if not folder.is_dir():
        return FileMissing(f"There is no file {path}: the folder {folder} does not exist.", hint="Correct the path.")
    try:
        names = [entry.name for entry in folder.iterdir() if entry.name.lower().endswith(".gguf")]
    except OSError as error:
        return FileMissing(f"There is no file {path}, and {folder} cannot be listed: {error.strerror or error}.")
    near = _near(path.name, names)
    if near:
        hint = f"Did you mean {' or '.join(near)}?"
    else:
        count = f"{len(names)} GGUF file{'' if len(names) == 1 else 's'}, none of a similar name"
        hint = f"The folder {folder} has {count if names else 'no GGUF file'}."
    return FileMissing(f"There is no file {path}.", hint=hint)


def _near(name: str, names: list[str]) -> list[str]:
    """Up to three file names that a person may have meant; upper and lower case are the same to them."""
    folded = {each.lower(): each for each in sorted(names)}
    return [folded[each] for each in difflib.get_close_matches(name.lower(), list(folded), n=3, cutoff=0.6)]
