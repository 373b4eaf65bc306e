"""
Model files, each read once: what footprints and facts need of them is kept until a part changes, over restarts too.

A header may have sixteen megabytes of vocabulary, whose walk takes as long as compiling a thousand Models; what
is needed fits in two kilobytes. So the reading is kept in a file in the cache folder, by path, size and mtime of
every part. It is a cache: one that is damaged, of another version or too large is ignored and written anew, and one
that cannot be written costs time, nothing else.

It is read and written in the thread of whoever surveys, beside a loop that serves. So an entry is decoded when it is
wanted, and encoded by itself: no single step over all of them holds that loop up.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from corral.store.files import FileStamp, ModelFiles, resolve
from corral.store.gguf.facts import FileSays, says
from corral.store.gguf.shape import ModelShape, shape_of
from corral.store.sealed import Sealed

logger = logging.getLogger(__name__)

MOST: Final = 20_000  # files that are remembered
SAVED_AFTER: Final = 4_000  # readings: who ends a long start loses no more than these
_LARGEST_FILE: Final = 128 * 1024 * 1024
_FRAME_BYTES: Final = 5  # what msgpack puts before a map or a text, at most


@dataclass(frozen=True, slots=True)
class Known:
    """What one reading of all parts gave. `parts` are (path, size, mtime in ns)."""

    parts: tuple[tuple[str, int, int], ...]
    shape: ModelShape
    says: FileSays

    @property
    def current(self) -> bool:
        """True while no part has changed."""
        for path, size, mtime_ns in self.parts:
            try:
                status = os.stat(path)
            except OSError:
                return False
            if status.st_size != size or status.st_mtime_ns != mtime_ns:
                return False
        return True


Kept = Known | msgspec.Raw
_decoder: Final = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])
_entry_decoder: Final = msgspec.msgpack.Decoder(Known)
_encoder: Final = msgspec.msgpack.Encoder()


class KnownFiles:
    """
    Blocks on the disk. Safe to call from several threads: at worst a file is read twice.

    `path` is where readings are kept, None for as long as this lives. `read` is how files are read.
    """

    def __init__(
        self, path: Path | None = None, *, read: Callable[[str], ModelFiles] = resolve, most: int = MOST
    ) -> None:
        self._path, self._read, self._most = path, read, most
        self._lock = threading.Lock()
        self._saving = threading.Lock()
        self._known: dict[str, Kept] | None = None  # read when first wanted; what was read last comes last
        self._unsaved = 0

    def of(self, name: str) -> Known:
        """What is known of the model at this path. Raises StoreFailed."""
        files = self._files()
        known = files.get(name)
        if isinstance(known, msgspec.Raw):
            known = _decoded(known)
            if known is not None:
                files[name] = known
        if known is not None and known.current:
            return known
        return self._keep(name, self._read(name))

    def read(self, name: str) -> ModelFiles:
        """The whole of its headers, read anew. Raises StoreFailed."""
        found = self._read(name)
        self._keep(name, found)
        return found

    def save(self) -> None:
        """Write what was read since the last time. A Corral beside this one may have written meanwhile."""
        if self._path is None:
            return
        with self._saving:
            with self._lock:  # only for the copy: others look files up meanwhile
                if not self._unsaved:
                    return
                self._unsaved = 0
                mine = dict(self._known or {})
            other = {name: known for name, known in _load(self._path).items() if name not in mine}
            _write(self._path, dict(list({**other, **mine}.items())[-self._most :]))

    def _files(self) -> dict[str, Kept]:
        with self._lock:
            if self._known is None:
                self._known = _load(self._path) if self._path is not None else {}
            return self._known

    def _keep(self, name: str, found: ModelFiles) -> Known:
        known = Known(
            tuple(_plain(part) for part in found.parts),
            shape_of(found.header, found.tensors),
            says(found.header, found.tensors, size_bytes=found.total_bytes),
        )
        files = self._files()
        with self._lock:
            files.pop(name, None)
            files[name] = known
            while len(files) > self._most:
                del files[next(iter(files))]
            self._unsaved += 1
            many = self._unsaved >= SAVED_AFTER
        if many:
            self.save()
        return known


def _plain(part: FileStamp) -> tuple[str, int, int]:
    return str(part.path), part.size, part.mtime_ns


def _decoded(kept: msgspec.Raw) -> Known | None:
    try:
        return _entry_decoder.decode(kept)
    except ValueError:  # written by another Python, perhaps: it is read anew
        return None


def _load(path: Path) -> dict[str, Kept]:
    return dict(_sealed(path).read(_decoder.decode) or {})


def _write(path: Path, known: dict[str, Kept]) -> None:
    try:
        plain = {
            name: each if isinstance(each, msgspec.Raw) else msgspec.Raw(_encoder.encode(each))
            for name, each in known.items()
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        _sealed(path).write(_encoder.encode(_that_fit(_sealed(path), plain)))
    except (OSError, ValueError) as error:  # ValueError: a path that is no UTF-8
        logger.info("what model files say cannot be kept in %s: %s", path, error)


def _that_fit(sealed: Sealed, plain: dict[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    """All of them, or the newest: a file that is too large is read by nobody, and would be written at every start."""
    kept, n_bytes = 0, _FRAME_BYTES
    for name, each in reversed(plain.items()):
        n_bytes += _FRAME_BYTES + 4 * len(name) + len(each)  # four for a letter, at most
        if not sealed.fits(n_bytes):
            break
        kept += 1
    return dict(list(plain.items())[len(plain) - kept :])


def _sealed(path: Path) -> Sealed:
    return Sealed(path, "headers 2", _LARGEST_FILE)
