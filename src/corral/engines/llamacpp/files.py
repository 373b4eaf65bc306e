"""The model file as the engine will open it: there, whole by its name, and beginning with the right four bytes."""

from __future__ import annotations

import os
import re
from typing import Final

from corral.domain.errors import BadGguf, FileMissing

_PART = re.compile(r"^(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf$")
_SMALLEST: Final = 24  # magic, version and the two counts
_MAGIC: Final = b"GGUF"
_FOREIGN: Final[tuple[tuple[bytes, str], ...]] = (
    (b"vers", "It is a Git LFS pointer, not the file itself: run `git lfs pull`, or download the file."),
    (b"<!DO", "It is a web page: download the file itself, not its page."),
    (b"<htm", "It is a web page: download the file itself, not its page."),
    (b"ggml", "It is in the old GGML format: get a GGUF file of this model."),
    (b"tjgg", "It is in the old GGJT format: get a GGUF file of this model."),
    (b"fmgg", "It is in the old GGMF format: get a GGUF file of this model."),
    (b"PK\x03\x04", "It is a zip archive or a PyTorch file: get a GGUF file of this model."),
    (b"FUGG", "It is for machines of the other byte order: convert it with gguf-convert-endian."),
)


def parts_of(path: str) -> tuple[str, ...]:
    """All files of a model, part 1 first; one file where the name is not that of a split."""
    match = _PART.match(path)
    if not match:
        return (path,)
    count = int(match["count"])
    return tuple(f"{match['stem']}-{number:05d}-of-{count:05d}.gguf" for number in range(1, count + 1)) or (path,)


def check_model(path: str) -> str:
    """
    The file to hand to the engine: `path`, or part 1 where it names a later part of a split. Blocks on the disk.

    Raises FileMissing, or BadGguf for what llama.cpp could not open.
    """
    if not path:
        raise FileMissing("The Model has no file.", hint="Give it a `source`, for example a path to a .gguf file.")
    parts = parts_of(path)
    missing = [part for part in parts if not os.path.exists(part)]
    if len(parts) > 1 and missing and os.path.exists(path):
        names = ", ".join(os.path.basename(part) for part in missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise FileMissing(
            f"{len(missing)} of {len(parts)} parts of {os.path.basename(path)} are missing: {names}.",
            hint=f"Put them into {os.path.dirname(path) or '.'} under these names.",
        )
    for part in parts:
        _check_one(part)
    return parts[0]


def check_exists(path: str, what: str) -> None:
    """Raises FileMissing for a file that an option names and that is not there."""
    try:
        os.stat(path)
    except OSError as error:
        raise FileMissing(f"{what} {path} cannot be read: {_reason(error)}.", hint="Correct the path.") from error


def check_folder(path: str, what: str) -> None:
    """Raises FileMissing for a folder that an option names and that is not there."""
    if not os.path.isdir(path):
        raise FileMissing(f"{what} {path} is not a folder.", hint="Create it, or correct the path.")


def _check_one(path: str) -> None:
    try:
        with open(path, "rb") as file:
            start = file.read(_SMALLEST)
            size = os.fstat(file.fileno()).st_size
    except IsADirectoryError as error:
        raise BadGguf(f"{path} is a folder.", hint="Name the .gguf file in it.") from error
    except FileNotFoundError as error:
        raise FileMissing(
            f"The model file {path} does not exist.", hint="Correct the Model's `source`, or put the file there."
        ) from error
    except OSError as error:
        raise FileMissing(
            f"The model file {path} cannot be read: {_reason(error)}.", hint="Check its owner and mode."
        ) from error
    if size < _SMALLEST:
        raise BadGguf(f"{path} has only {size} bytes: it is not a whole GGUF file.", hint="Download it again.")
    if start[:4] != _MAGIC:
        hint = next((text for magic, text in _FOREIGN if start.startswith(magic)), "Name a .gguf file.")
        raise BadGguf(f"{path} is not a GGUF file: it begins with {start[:4]!r}.", hint=hint)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
