"""
Files that follow from others and may be lost, damaged or old: one body behind its sum, replaced as a whole.

The sum tells what a machine that lost its power has made of it, and which Corral has written it: what follows from a
header changes with the program.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from corral.version import __version__

logger = logging.getLogger(__name__)

_DIGEST_BYTES: Final = 16
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sealed:
    """
    `kind` names what is in it and its version; what is `lasting` is read by every Corral that knows that.

    Blocks on the disk; readers and writers take no lock.
    """

    path: Path
    kind: str
    largest_bytes: int
    lasting: bool = False

    def read(self, decode: Callable[[memoryview], T]) -> T | None:
        """What is in it; None where there is nothing that can be used. `decode` raises ValueError."""
        try:
            if self.path.stat().st_size > self.largest_bytes:
                return None
            data = memoryview(self.path.read_bytes())
            if data[:_DIGEST_BYTES] != self._sum(data[_DIGEST_BYTES:]):
                raise ValueError("it is damaged, or of another version")
            return decode(data[_DIGEST_BYTES:])
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
            logger.info("%s is not used (%s): what it is made of is read anew", self.path, error)
            return None

    def write(self, body: bytes) -> None:
        """It appears whole or not at all. Raises OSError, and ValueError for more than a reader would take."""
        if not self.fits(len(body)):
            raise ValueError(f"it would have {len(body)} bytes, of {self.largest_bytes} at most")
        part = self.path.with_name(f".{self.path.name.lstrip('.')}.{os.getpid()}-{threading.get_ident()}.tmp")
        try:
            part.write_bytes(self._sum(body) + body)
            part.replace(self.path)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink()
            raise

    def fits(self, body_bytes: int) -> bool:
        """Whether a body of that length can be written and read again."""
        return body_bytes + _DIGEST_BYTES <= self.largest_bytes

    def _sum(self, body: bytes | memoryview) -> bytes:
        key = f"corral {'' if self.lasting else __version__} {self.kind}".encode()
        return hashlib.blake2b(body, digest_size=_DIGEST_BYTES, key=key).digest()
