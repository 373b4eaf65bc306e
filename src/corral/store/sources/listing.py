"""What a repository has, and what is said of several files at once: sizes, parts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from corral.domain.units import format_bytes

_PART: Final = re.compile(r"(?i)(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file of a repository. `sha256` is "" where the repository does not say it (git has small files by SHA-1)."""

    path: str
    size_bytes: int | None = None
    sha256: str = ""

    @property
    def name(self) -> str:
        """Without its folders."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Part:
    """What a name such as `x-00002-of-00003.gguf` says."""

    stem: str  # with its folders
    number: int
    count: int


def part_of(path: str) -> Part | None:
    """None for a file that is whole."""
    match = _PART.fullmatch(path)
    if match is None or not 1 <= int(match["number"]) <= int(match["count"]):
        return None
    return Part(match["stem"], int(match["number"]), int(match["count"]))


def sibling(path: str, number: int) -> str:
    """The path of another part."""
    match = _PART.fullmatch(path)
    assert match is not None
    return f"{path[: match.start('number')]}{number:05d}{path[match.end('number') :]}"


def total(files: Sequence[ListedFile]) -> int | None:
    """Bytes of all; None where one is not known."""
    sizes = [each.size_bytes for each in files if each.size_bytes is not None]
    return sum(sizes) if len(sizes) == len(files) else None


def shown_size(count: int | None) -> str:
    """For lists."""
    return "size not known" if count is None else format_bytes(count)
