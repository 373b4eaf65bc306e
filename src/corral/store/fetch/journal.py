"""
What has come of a file so far, so that a fetch goes on where it was, whatever has ended it.

A process that is killed leaves all that it wrote, so those spans count after it; a machine that loses its power leaves
only what was flushed, so after that (another boot) only the settled ones do. A journal that cannot be read, or is of
another file, is none: then the file is fetched from its beginning.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from corral.store.fetch import notes
from corral.store.fetch.disk import Beside, Folder
from corral.store.fetch.spans import Span, Spans

VERSION: Final = 1
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class Identity(msgspec.Struct, frozen=True):
    """Which bytes these are. Two are the same file when their hash and size are, else their address and strong ETag."""

    url: str = ""  # without what may be a secret
    size: int | None = None
    sha256: str = ""
    etag: str = ""

    @property
    def told(self) -> bool:
        """Whether parts that come at different times can be told to be of the same file."""
        return bool(self.sha256 or self.etag)

    def same(self, other: Identity) -> bool:
        """Whether what has come of one may be used for the other."""
        if self.size is not None and other.size is not None and self.size != other.size:
            return False
        if self.sha256 or other.sha256:
            return self.sha256 == other.sha256
        return bool(self.etag) and self.etag == other.etag and self.url == other.url


class Journal(msgspec.Struct, frozen=True):
    """Version 1. `doing` and the spans are what others see who wait for the same file."""

    version: int
    identity: Identity
    boot: str
    written: list[Span]
    settled: list[Span]
    doing: str = "fetching"

    def there(self, boot: str, part_bytes: int) -> Spans:
        """What can be relied on. A part that is shorter than it says was not left by us: nothing of it can."""
        spans = Spans.of(self.written if boot and boot == self.boot else self.settled)
        sane = all(0 <= first < end for first, end in spans.spans)
        return spans if sane and spans.end <= part_bytes else Spans()


def boot_id() -> str:
    """Differs after each start of the machine; "" where that cannot be told."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def load(folder: Folder, beside: Beside) -> Journal | None:
    """None where there is none that can be used."""
    return notes.load(folder, beside.journal, Journal, VERSION)


def save(folder: Folder, beside: Beside, journal: Journal) -> None:
    """Not flushed: losing it costs the bytes since the last boot, nothing else. Raises OSError."""
    folder.write(beside.journal, msgspec.json.encode(journal), "journal", sync=False)


def discard(folder: Folder, beside: Beside, *, part: bool) -> None:
    """The journal, and where `part` the bytes too. Raises OSError."""
    folder.remove(beside.journal)
    folder.remove(f"{beside.journal}.new")
    if part:
        folder.remove(beside.part)


def left(folder: Folder, beside: Beside) -> int:
    """How many bytes an earlier fetch has left, as it says itself."""
    journal = load(folder, beside) if folder.stat(beside.part) else None
    return Spans.of(journal.written).count if journal else 0


def progress_of(folder: Folder, beside: Beside) -> tuple[int, int | None, str]:
    """What somebody else has fetched: bytes, of how many, and what he does."""
    journal = load(folder, beside)
    if journal is None:
        status = folder.stat(beside.name)
        return status.st_size if status else 0, None, "waiting"
    return Spans.of(journal.written).count, journal.identity.size, journal.doing
