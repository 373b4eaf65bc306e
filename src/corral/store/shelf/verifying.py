"""Whether the bytes on the disk are still those that came: every file hashed again."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from corral.contracts.fetching import Progress, Told
from corral.domain.errors import FetchStopped, StoreFailed
from corral.store.fetch.disk import sha256_of
from corral.store.shelf import origin
from corral.store.shelf.items import STORE, Item
from corral.store.shelf.origin import VERSION, Origin


class Verdict(StrEnum):
    """What became of one file."""

    RIGHT = "right"
    WRONG = "wrong"  # other bytes, or not to be read, or no whole model
    NEW = "new"  # nothing was known of it: its hash is remembered from now on


@dataclass(frozen=True, slots=True)
class Verified:
    """One file. `why` is a sentence where it is wrong, or new and not remembered."""

    item: Item
    path: Path
    verdict: Verdict
    sha256: str = ""
    why: str = ""


def verify(
    root: Path, item: Item, told: Told, *, stop: Callable[[], bool] = lambda: False, now: float | None = None
) -> Iterator[Verified]:
    """
    Look at all parts of an item, of any place. Only what stands in the store is ever written about.

    Raises FetchStopped where `stop` says so.
    """
    for path, known in zip(item.paths, item.origins, strict=True):
        try:
            found, size = hashed(path, told, stop)
        except OSError as error:
            yield Verified(item, path, Verdict.WRONG, why=f"It cannot be read: {error.strerror or error}.")
            continue
        if known is not None and known.sha256:
            why = item.problem if known.sha256 == found else _why(known, size)
            yield Verified(item, path, Verdict.WRONG if why else Verdict.RIGHT, found, why)
        elif item.problem:
            yield Verified(item, path, Verdict.WRONG, found, item.problem)
        else:
            said = Origin(VERSION, item.reference, "", size, found, fetched_at=now or time.time())
            yield Verified(item, path, Verdict.NEW, found, _remember(root, item, path, said))


def hashed(path: Path, told: Told, stop: Callable[[], bool] = lambda: False) -> tuple[str, int]:
    """SHA-256 and size of a file; a device or a pipe, which may never end, is none. Raises OSError, FetchStopped."""
    done = 0
    if not stat.S_ISREG(os.stat(path).st_mode):  # to open some devices does something already
        raise OSError(errno.EINVAL, "it is no regular file")
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        size = os.fstat(fd).st_size

        def count(more: int) -> None:
            nonlocal done
            done += more
            told(Progress(done, size, file=path.name, doing="verifying"))

        digest = sha256_of(fd, stop, count)
    finally:
        os.close(fd)
    if not digest:
        raise FetchStopped()
    return digest, done


def _why(known: Origin, size: int) -> str:
    if known.size != size:
        return f"It has {size} bytes instead of {known.size}."
    return "Its content has changed: the SHA-256 is another."


def _remember(root: Path, item: Item, path: Path, said: Origin) -> str:
    """A sentence where it is not: a store that is read-only can be verified all the same."""
    if item.place != STORE:
        return f"Its hash is not remembered: {item.place} keeps it."
    try:
        origin.write(root, path.relative_to(root).as_posix(), said)
    except StoreFailed as error:
        return f"Its hash is not remembered. {error.message}"
    return ""
