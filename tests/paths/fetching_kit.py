"""What journeys of fetching share: data, plans for it, and pullers that wait for no one."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from corral.contracts.fetching import Fetched, Plan, Progress, RemoteFile
from corral.domain.references import WebReference
from corral.store.fetch.disk import Disk
from corral.store.fetch.patience import Patience
from corral.store.fetch.pulling import Pulling
from corral.store.fetch.rules import WebRules
from corral.store.fetch.web import Web

PATH = "web/files/model.bin"
SIZE = 12_345_678  # a few segments


def data_of(seed: int = 1, size: int = SIZE) -> bytes:
    """The same for the same seed."""
    return random.Random(seed).randbytes(size)


DATA = data_of()


def sha256(data: bytes) -> str:
    """As sources say it."""
    return hashlib.sha256(data).hexdigest()


def plan_for(url: str, data: bytes | None = DATA, *, path: str = PATH, known: bool = True) -> Plan:
    """One file of these bytes; `known` False where its source says neither size nor hash."""
    file = RemoteFile(url, path)
    if known and data is not None:
        file = replace(file, size_bytes=len(data), sha256=sha256(data))
    return Plan(WebReference(url), (file,))


class Hurried:
    """Waits for servers take no time, but are counted."""

    def __init__(self) -> None:
        self.slept_s = 0.0

    def patience(self) -> Patience:
        return Patience(sleep=self._sleep, now=lambda: time.monotonic() + self.slept_s, chance=lambda: 0.0)

    def _sleep(self, seconds: float) -> None:
        self.slept_s += seconds
        time.sleep(min(seconds, 0.01))


def puller(
    root: Path, *, fault: Callable[[str], None] | None = None, connections: int = 4, timeout_s: float = 3.0
) -> Pulling:
    """For loopback servers."""
    patience = Hurried().patience()
    web = Web(WebRules(insecure=True, private=True, timeout_s=timeout_s), patience=patience)
    return Pulling(root, web, connections, Disk(fault) if fault else Disk(), patience)


class Told(list[Progress]):
    """All that was told."""

    def __call__(self, progress: Progress) -> None:
        self.append(progress)


def whole(fetched: Fetched, data: bytes = DATA) -> bool:
    """The bytes are there, in the named place, and nothing but the origin beside them."""
    path = fetched.model
    beside = sorted(each.name for each in path.parent.iterdir())
    return path.read_bytes() == data and beside == sorted([f".{path.name}.origin.json", path.name])


def left(root: Path) -> list[str]:
    """Names of all files in a store."""
    return sorted(each.name for each in root.rglob("*") if not each.is_dir())
