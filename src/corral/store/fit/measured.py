"""
How many bytes a second this host's RAM gives, measured once by reading through more of it than caches hold.

`memchr` looks for a byte that is not there: it only reads, as fast as the CPU can, and other threads run meanwhile.
The result is kept in the cache folder; another number of CPUs is another machine, or another share of one.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec
import psutil

from corral.kit.memory import memory_limit
from corral.store.sealed import Sealed

_MOST_THREADS: Final = 16
_CHUNK_BYTES: Final = 64 * 1024**2  # for each thread: beyond any cache of one core
_ROUNDS: Final = 3
_SHARE: Final = 8  # of the memory that is free: a machine in need is not measured
_LARGEST: Final = 4096
_PLAUSIBLE: Final = (10**8, 10**14)


class _Kept(msgspec.Struct):
    cpus: int
    bytes_per_s: float


_decoder: Final = msgspec.json.Decoder(_Kept)


class RamBandwidth:
    """Blocks for a quarter of a second, the first time on a machine. Safe to call from several threads."""

    def __init__(self, path: Path | None = None) -> None:
        """`path` is where it is remembered; None measures once for as long as this lives."""
        self._kept = Sealed(path, "bandwidth 1", _LARGEST) if path is not None else None
        self._lock = threading.Lock()
        self._known: float | None = None

    def bytes_per_s(self) -> float | None:
        """None where it cannot be measured: no memory to spare, no such function."""
        with self._lock:
            if self._known is None:
                self._known = self._read()
            if self._known is None:
                self._known = measure()
                self._write()
            return self._known

    def _read(self) -> float | None:
        kept = self._kept.read(_decoder.decode) if self._kept is not None else None
        usable = kept is not None and kept.cpus == _cpus() and _PLAUSIBLE[0] < kept.bytes_per_s < _PLAUSIBLE[1]
        return kept.bytes_per_s if kept is not None and usable else None

    def _write(self) -> None:
        if self._kept is None or self._known is None:
            return
        with contextlib.suppress(OSError):  # it is measured again then
            self._kept.path.parent.mkdir(parents=True, exist_ok=True)
            self._kept.write(msgspec.json.encode(_Kept(_cpus(), self._known)))


def measure() -> float | None:
    """All CPUs that this process may use, reading at the same time; the best of a few rounds."""
    threads = min(_cpus(), _MOST_THREADS)
    if threads * _CHUNK_BYTES * _SHARE > min(memory_limit(), psutil.virtual_memory().available):
        return None
    try:
        libc = ctypes.CDLL(None)
        look = libc.memchr
    except (OSError, AttributeError):
        return None
    look.argtypes, look.restype = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t), ctypes.c_void_p
    # Written once: pages that were only read are all one page of zeros.
    chunks = [ctypes.create_string_buffer(_CHUNK_BYTES) for _ in range(threads)]
    for chunk in chunks:
        ctypes.memset(chunk, 2, _CHUNK_BYTES)

    def read(chunk: ctypes.Array[ctypes.c_char]) -> None:
        look(ctypes.addressof(chunk), 1, _CHUNK_BYTES)

    best = float("inf")
    with ThreadPoolExecutor(threads, thread_name_prefix="bandwidth") as pool:
        for _ in range(_ROUNDS):
            start = time.perf_counter()
            list(pool.map(read, chunks))
            best = min(best, time.perf_counter() - start)
    return threads * _CHUNK_BYTES / best if best > 0 else None


def _cpus() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1
