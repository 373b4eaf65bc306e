"""
Where a file of the store came from: beside it as `.NAME.origin.json`, so that a lost index needs no hashing.

It is written after the file is in its place, and the one of an earlier file is removed before that: an origin never
speaks of other bytes than those that lie there.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from corral.contracts.fetching import RemoteFile
from corral.domain.references import BadReference, Reference, WebReference, parse
from corral.store.fetch import notes
from corral.store.fetch.disk import Beside, Folder
from corral.store.fetch.rules import target_of

VERSION: Final = 1
_PART: Final = re.compile(r"(?i)-\d{5}(?=-of-\d{5}\.gguf$)")


class Origin(msgspec.Struct, frozen=True):
    """
    Version 1. `url` is without what may be a secret; `sha256` is of the bytes that lie there.

    `linked` is the file of another program, or an imported one, that this one is a link to; of a symbolic link
    `linked_mtime_ns` is when that file was changed last, as it was looked at.

    A model's own also knows by which references somebody has asked for it (`asked`), and the places of the projector
    and adapters that belong to it, whether they came or not (`companions`).
    """

    version: int
    reference: str
    url: str
    size: int
    sha256: str
    etag: str = ""
    fetched_at: float = 0.0  # seconds since the epoch
    licence: str = ""
    role: str = "model"
    linked: str = ""
    linked_mtime_ns: int = 0
    asked: tuple[str, ...] = ()
    companions: tuple[str, ...] = ()


def load(folder: Folder, beside: Beside) -> Origin | None:
    """None where there is none that can be used."""
    return notes.load(folder, beside.origin, Origin, VERSION)


def save(folder: Folder, beside: Beside, origin: Origin) -> None:
    """Whole and on the disk. Raises OSError."""
    folder.write(beside.origin, msgspec.json.encode(origin), "origin", sync=True)


def from_elsewhere(said: Origin, reference: Reference, file: RemoteFile) -> bool:
    """
    Whether what is there came from where `reference` does not mean, so that nothing but a hash could vouch for it.

    What anybody on the way could change (http) is not what is asked for by https.
    """
    if file.sha256:
        return False
    if isinstance(reference, WebReference):
        return not is_of_address(said, reference)
    return said.url.startswith("http://") and file.url.startswith("https://")


def is_of_address(said: Origin, reference: WebReference) -> bool:
    """
    Whether a file came from this very address, however it is spelled; one of which nobody knows may have.

    What is behind a `?` is not compared: it may be signed anew each time, and else is a part of the file's name.
    """
    if not said.reference:
        return True
    try:
        came = parse(said.reference)
    except BadReference:
        return False
    return isinstance(came, WebReference) and _first_part(came) == _first_part(reference)


def _first_part(reference: WebReference) -> str:
    """All parts of a split model come by the address of one of them, whichever was named."""
    return _PART.sub("-00001", target_of(str(reference)).spelled)
