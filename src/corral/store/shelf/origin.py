"""
Where a file of the store came from: a small file beside it, written when it is whole.

A lost index is made again from these without hashing anything. Whatever cannot be read counts as not there.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import Final

import msgspec

from corral.store.shelf.layout import ORIGIN, beside

_LONGEST: Final = 64 * 1024


class Origin(msgspec.Struct, frozen=True, omit_defaults=True):
    """`sha256` in small hexadecimal, of the whole file. `url` has no secrets: no user, no query."""

    reference: str = ""  # as a person would write it
    url: str = ""
    size_bytes: int | None = None
    sha256: str = ""
    etag: str = ""
    fetched_at: float = 0.0  # seconds since 1970
    licence: str = ""


_decoder: Final = msgspec.json.Decoder(Origin)


def read(path: Path) -> Origin | None:
    """Of the file at `path`; None where nothing is known."""
    try:
        with open(beside(path, ORIGIN), "rb") as file:
            return _decoder.decode(file.read(_LONGEST))
    except (OSError, ValueError):  # msgspec's errors are ValueErrors
        return None


def write(path: Path, origin: Origin) -> None:
    """Beside the file at `path`; it appears whole or not at all. Raises OSError."""
    target = beside(path, ORIGIN)
    part = target.with_name(f"{target.name[:200]}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with open(part, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(origin), indent=1))
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
