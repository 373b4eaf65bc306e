"""
What earlier loads have shown, by load digest: one JSON file, so that an estimate is corrected once and for good.

A digest is all that an instance is started with, so the same digest takes the same memory, as long as the GPUs are the
same too: they decide over what `auto` puts where. The newest measurement counts, higher or lower than the one before:
what a load really takes is known once it has been seen. Load times are averaged, because they depend on what the disk
has cached. The file is a cache: one that is damaged or of another version is put aside with a warning, and one that
cannot be written costs a warning, never a load.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from corral.contracts.footprint import SeenLoad
from corral.domain.devices import RAM, DeviceMemory
from corral.domain.fleet import ModelSpec
from corral.domain.launch import Footprint
from corral.store.gguf.memory import FileFootprints

logger = logging.getLogger(__name__)

VERSION: Final = 1
MOST: Final = 10_000  # digests that are remembered: about 2 MB
NEWEST_SHARE: Final = 0.3  # of the newest load's seconds in the average
DRIFT: Final = 0.06  # by which the total of one GPU may differ from driver to driver
_ESTIMATED: Final = 20_000
_LATEST: Final = 1e11  # seconds since the epoch: the year 5138
_LARGEST_FILE: Final = 64 * 1024 * 1024


class _Entry(msgspec.Struct, gc=False):
    """One digest. Bytes by device, `ram` among them."""

    estimated: dict[str, int]
    measured: dict[str, int]
    load_s: float
    loads: int
    at: float = 0.0  # when it was measured, in seconds since the epoch; 0 in files of before
    gpus: dict[str, int] | None = None  # that the program could use then: total bytes; None in files of before


class _File(msgspec.Struct):
    version: int
    loads: dict[str, _Entry]  # the one seen last comes last


class LoadFootprints:
    """
    Implements `contracts.footprint.Footprints`. `path` None remembers only as long as it lives.

    Safe to call from several threads.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        files: FileFootprints | None = None,
        most: int = MOST,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._wall = wall
        self._files = files or FileFootprints()
        self._most = most
        self._lock = threading.Lock()
        self._estimated: dict[tuple[str, tuple[DeviceMemory, ...]], Footprint] = {}
        self._loads: dict[str, _Entry] | None = None  # read when first wanted

    def footprint(self, model: ModelSpec, *, digest: str = "", devices: Sequence[DeviceMemory] = ()) -> Footprint:
        """See `contracts.footprint.Footprints.footprint`."""
        if not digest:
            return self._files.footprint(model, devices)
        entry = self._entry(digest)
        if entry is not None and _same_gpus(entry.gpus, _gpus(devices)):
            return Footprint.of(entry.measured, measured=True)
        key = (digest, tuple(devices))
        found = self._estimated.get(key)  # the digest has the files' identity: nothing has changed
        if found is None:
            found = self._files.footprint(model, devices)
            if len(self._estimated) >= _ESTIMATED:
                self._estimated.clear()
            self._estimated[key] = found
        return found

    def estimate(self, model: ModelSpec, devices: Sequence[DeviceMemory] = ()) -> Footprint:
        """What is estimated whatever was measured. Raises StoreFailed."""
        return self._files.footprint(model, devices)

    def record(
        self,
        digest: str,
        *,
        estimated: Footprint,
        measured: Footprint,
        load_s: float | None,
        devices: Sequence[DeviceMemory] = (),
    ) -> None:
        """See `contracts.footprint.Footprints.record`."""
        with self._lock:
            loads = self._read()
            known = loads.pop(digest, None)
            if load_s is None and known is None:  # forgotten meanwhile
                return
            average, count = (known.load_s, known.loads) if known is not None else (load_s or 0.0, 0)
            if load_s is not None:
                average, count = average + NEWEST_SHARE * (load_s - average), count + 1
            loads[digest] = _Entry(
                estimated.by_device(),
                measured.by_device(),
                round(max(0.0, average), 3),
                count,
                max(0.0, self._wall()),
                _gpus(devices),
            )
            while len(loads) > self._most:
                del loads[next(iter(loads))]
            self._write(loads)

    def seen(self, digest: str) -> SeenLoad | None:
        """See `contracts.footprint.Footprints.seen`."""
        entry = self._entry(digest)
        if entry is None:
            return None
        measured = Footprint.of(entry.measured, measured=True)
        return SeenLoad(Footprint.of(entry.estimated), measured, entry.load_s, entry.loads, entry.at)

    def load_seconds(self, digest: str) -> float | None:
        """See `contracts.footprint.Footprints.load_seconds`."""
        entry = self._entry(digest)
        return entry.load_s if entry else None

    def _entry(self, digest: str) -> _Entry | None:
        with self._lock:
            return self._read().get(digest)

    def _read(self) -> dict[str, _Entry]:
        if self._loads is None:
            self._loads = _load(self._path) if self._path else {}
        return self._loads

    def _write(self, loads: dict[str, _Entry]) -> None:
        """The file appears whole or not at all, whatever happens to the machine meanwhile."""
        if self._path is None:
            return
        part = self._path.with_name(f".{self._path.name}.{os.getpid()}.part")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with open(part, "wb") as file:
                file.write(msgspec.json.encode(_File(VERSION, loads)))
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._path)
        except OSError as error:
            logger.warning("what loads take cannot be remembered in %s: %s", self._path, error.strerror or error)
            with contextlib.suppress(OSError):
                part.unlink()


def _gpus(devices: Sequence[DeviceMemory]) -> dict[str, int]:
    return {device.name: device.total_bytes for device in devices if device.name != RAM}


def _same_gpus(then: Mapping[str, int] | None, now: Mapping[str, int]) -> bool:
    """The same names, and totals that differ by no more than another driver's reserve."""
    if then is None or then == now:
        return True
    return then.keys() == now.keys() and all(abs(now[name] - size) <= DRIFT * size for name, size in then.items())


def _load(path: Path) -> dict[str, _Entry]:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ValueError("it is too large")
        found = msgspec.json.decode(path.read_bytes(), type=_File)
        if found.version != VERSION:
            raise ValueError(f"its version is {found.version}")
        if not all(_plausible(entry) for entry in found.loads.values()):
            raise ValueError("it has sizes below nothing")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
        logger.warning("%s cannot be used (%s): what loads take is measured afresh", path, error)
        with contextlib.suppress(OSError):
            path.replace(path.with_suffix(".damaged"))
        return {}
    return found.loads


def _plausible(entry: _Entry) -> bool:
    sizes = (*entry.estimated.values(), *entry.measured.values())
    return all(size >= 0 for size in sizes) and entry.load_s >= 0 and entry.loads > 0 and 0 <= entry.at < _LATEST
