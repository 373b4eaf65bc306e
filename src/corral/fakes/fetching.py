"""
`contracts.fetching.Fetches` without a network: what there is to fetch is a dict, and failures are options.

It passes the same conformance suite as the real one. Bytes come a piece at a time, so that a test can look, stop or
fail in between.

    FakeFetches(folder, {"hf.co/o/r": {"hf/o/r/r-Q4_K_M.gguf": b"..."}}, fails={"hf/o/r/r-Q4_K_M.gguf": NoSpace(...)})
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from corral.contracts.fetching import Fetched, Plan, Progress, RemoteFile, Role, Told
from corral.domain.errors import FetchStopped, NotThere, StoreFailed, WrongContent
from corral.domain.references import HubReference, Reference, narrowed


def _quiet(progress: Progress) -> None:
    pass


def _never() -> bool:
    return False


@dataclass
class FakeFetches:
    """
    See contracts.fetching.

    `there` has, by reference as it is shown, the files by their places below `root`, the model first; `mmproj` in a
    name says projector, `adapter` adapter. `before` is called before each piece, with its file and how much of that is
    here: in the thread of who fetches, so it may block, or raise.
    """

    root: Path
    there: dict[str, Mapping[str, bytes]]
    fails: dict[str, StoreFailed] = field(default_factory=dict)  # by place: when half of it is here
    before: Callable[[str, int], None] = lambda path, done: None
    piece_bytes: int = 4
    asked: list[str] = field(default_factory=list)  # references that were planned
    fetched_bytes: int = 0  # that came, all together
    _locks: dict[str, threading.Lock] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def plan(
        self,
        reference: Reference,
        *,
        quant: str = "",
        file: str = "",
        sha256: str = "",
        stop: Callable[[], bool] = _never,
    ) -> Plan:
        """All files of what is meant, with their sizes and hashes."""
        if stop():
            raise FetchStopped()
        meant = narrowed(reference, quant=quant, file=file) if isinstance(reference, HubReference) else reference
        self.asked.append(str(meant))
        found = self.there.get(str(meant))
        if found is None:
            raise NotThere(f"{meant} is not there.", hint="Correct the reference.")
        files = [
            RemoteFile(f"https://fake/{path}", path, _role(path), len(data), hashlib.sha256(data).hexdigest())
            for path, data in found.items()
        ]
        if sha256 and sha256 != files[0].sha256:
            raise WrongContent(f"{meant} has another file than you want.", hint="Correct the hash.")
        return Plan(meant, tuple(files))

    def fetch(self, plan: Plan, told: Told = _quiet, *, stop: Callable[[], bool] = _never) -> Fetched:
        """The first file of the plan, which an engine is given, comes last."""
        if not plan.files:
            raise StoreFailed(f"{plan.reference} has no files.", hint="Name one file of it.")
        course = _Course(plan, told)
        for file in (*plan.files[1:], plan.files[0]):
            left = self._part(file)
            course.tell(file, left.stat().st_size if left.exists() else 0, "queued")
            with self._lock:
                lock = self._locks.setdefault(file.path, threading.Lock())
            while not lock.acquire(timeout=0.02):
                if stop():
                    raise FetchStopped()
                course.tell(file, course.done.get(file.path, 0), "waiting")
            try:
                self._one(file, course, stop)
            finally:
                lock.release()
            course.finished += 1
            course.tell(file, file.size_bytes or 0, "fetching")
        return Fetched(plan, tuple(self.root / file.path for file in plan.files))

    def _one(self, file: RemoteFile, course: _Course, stop: Callable[[], bool]) -> None:
        place = self.root / file.path
        if place.exists():
            return
        data = self._data(file)
        part = self._part(file)
        part.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        while (done := part.stat().st_size) < len(data):
            self.before(file.path, done)
            if stop():
                raise FetchStopped()
            if file.path in self.fails and done >= len(data) // 2:
                raise self.fails[file.path]
            piece = data[done : done + self.piece_bytes]
            with part.open("ab") as out:
                out.write(piece)
            self.fetched_bytes += len(piece)
            course.tell(file, done + len(piece), "fetching")
        part.rename(place)

    def _part(self, file: RemoteFile) -> Path:
        place = self.root / file.path
        return place.with_name(f".{place.name}.part")

    def _data(self, file: RemoteFile) -> bytes:
        """By its hash: the plan may have been changed as to where it goes."""
        all_of_it = (data for files in self.there.values() for data in files.values())
        return next(data for data in all_of_it if hashlib.sha256(data).hexdigest() == file.sha256)


@dataclass
class _Course:
    plan: Plan
    told: Told
    done: dict[str, int] = field(default_factory=dict)
    finished: int = 0

    def tell(self, file: RemoteFile, done_bytes: int, doing: str) -> None:
        self.done[file.path] = done_bytes
        name = file.path.rpartition("/")[2]
        count, total = sum(self.done.values()), self.plan.size_bytes
        self.told(Progress(count, total, 0.0, self.finished, len(self.plan.files), name, doing))


def _role(path: str) -> Role:
    name = path.rpartition("/")[2]
    if not name.endswith(".gguf"):
        return Role.OTHER
    return Role.PROJECTOR if "mmproj" in name else Role.ADAPTER if name.startswith("adapter") else Role.MODEL
