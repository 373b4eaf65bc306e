"""
Fetching: what has to come from where before a Model can be loaded, and how far it is.

`Plan` is decided first, from what a hub or registry says, so that sizes, free space and memory are judged before a
byte of weights comes. A file is fetched once, whoever asks; those who come later follow the same `Progress`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from corral.domain.fetching import Progress as Progress
from corral.domain.fleet import Source
from corral.domain.references import Reference


class Role(StrEnum):
    """What a file is for."""

    MODEL = "model"  # all parts of a split one
    PROJECTOR = "projector"  # llama.cpp: mmproj
    ADAPTER = "adapter"  # LoRA
    OTHER = "other"  # licence, template, parameters, importance matrix


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """
    One file to be fetched. `path` is where it goes below the store's folder, with `/`.

    `sha256` (hexadecimal, small), `size_bytes` and `etag` (a strong one) are what its source says of it; nothing where
    it does not say.
    """

    url: str
    path: str
    role: Role = Role.MODEL
    size_bytes: int | None = None
    sha256: str = ""
    etag: str = ""

    @property
    def is_gguf(self) -> bool:
        """Whether it has to be one."""
        return self.path.lower().endswith(".gguf")


@dataclass(frozen=True, slots=True)
class Plan:
    """
    All files of one model; the first is the one that an engine is given.

    Where nobody could be asked, `unasked` is a sentence that says why, and the files are what other programs have of
    it on this machine: their addresses are `file:` ones. `asked` is the reference as somebody wrote it, before its file
    was chosen; `left_out` has the places of what belongs to the model and is not wanted.
    """

    reference: Reference
    files: tuple[RemoteFile, ...]
    licence: str = ""
    unasked: str = ""
    asked: str = ""
    left_out: tuple[str, ...] = ()

    def without_projector(self) -> Plan:
        """The plan without what comes along for pictures; a projector that was asked for stays."""
        left = tuple(each.path for each in self._beside() if each.role is Role.PROJECTOR)
        files = tuple(each for each in self.files if each.path not in left)
        return replace(self, files=files, left_out=(*self.left_out, *left))

    @property
    def companions(self) -> tuple[str, ...]:
        """The places of projectors and adapters that belong to the model, wanted or not."""
        return (*(each.path for each in self._beside()), *self.left_out)

    def _beside(self) -> tuple[RemoteFile, ...]:
        own = self.files[0].role
        return tuple(
            each for each in self.files if each.role is not own and each.role in (Role.PROJECTOR, Role.ADAPTER)
        )

    @property
    def size_bytes(self) -> int | None:
        """Of all files; None where one is not known."""
        sizes = [each.size_bytes for each in self.files]
        return None if None in sizes else sum(size for size in sizes if size is not None)


@dataclass(frozen=True, slots=True)
class Fetched:
    """Where the files of a plan are now: whole, and checked against what their source says. In the plan's order."""

    plan: Plan
    paths: tuple[Path, ...]

    @property
    def model(self) -> Path:
        """The file to hand to an engine."""
        return self.paths[0]

    def beside(self, role: Role) -> tuple[Path, ...]:
        """What of this role came along with it. All parts of a split model are of its own."""
        files = zip(self.paths, self.plan.files, strict=True)
        return tuple(path for path, file in files if file.role is role is not self.plan.files[0].role)


Told = Callable[[Progress], None]
"""
Called a few times a second, from any thread. Before each file it hears that it is `queued`, while nothing is locked:
who has other fetches to think of returns when it may go on.
"""


class Fetches(Protocol):
    """What is fetched. All of it blocks: call it in a thread."""

    def plan(
        self,
        reference: Reference,
        *,
        quant: str = "",
        file: str = "",
        sha256: str = "",
        stop: Callable[[], bool] = ...,
    ) -> Plan:
        """What there is to fetch. Raises StoreFailed, and FetchStopped soon after `stop` says True."""
        ...

    def fetch(self, plan: Plan, told: Told = ..., *, stop: Callable[[], bool] = ...) -> Fetched:
        """
        Return once all of it is here. Raises StoreFailed; what has come so far is kept and goes on next time.

        Who asks for files that somebody fetches already, in this process or another, follows that. `stop` is asked
        now and then; where it says True, FetchStopped is raised.
        """
        ...


class Supply(Protocol):
    """
    Where Models get their files from. Both block: call them in a thread.

    `source` is one that has a `reference`; what is returned is the same with the paths of its files.
    """

    def here(self, source: Source) -> Source | None:
        """Where all of it is here already. Asks nobody; None where it is not."""
        ...

    def bring(self, source: Source, told: Told, stop: Callable[[], bool]) -> Source:
        """Fetch what is missing. Raises StoreFailed; `stop` as in Fetches."""
        ...
