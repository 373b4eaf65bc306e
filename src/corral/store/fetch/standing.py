"""
Whether what lies at a place of a store is what is asked for, as its origin tells it: one answer for all who ask.

Who fetches goes on to the bytes where nobody vouches; who only looks takes what is vouched for.
"""

from __future__ import annotations

from enum import Enum

from corral.contracts.fetching import RemoteFile
from corral.domain.references import Reference
from corral.store.fetch.origin import Origin, from_elsewhere


class Standing(Enum):
    """What can be said of a file without reading it."""

    RIGHT = "right"
    OTHER = "other"
    UNVOUCHED = "unvouched"  # only its bytes could tell


def standing(said: Origin | None, reference: Reference, file: RemoteFile, size: int) -> Standing:
    """
    Of a file of so many bytes, with this origin, where `file` of `reference` goes.

    A hash that is known decides alone; an origin that has another one may be of bytes that are no more. Without a hash
    the address and the ETag decide: another upload may be of the same size.
    """
    if file.size_bytes not in (None, size):
        return Standing.OTHER
    if said is None:
        return Standing.UNVOUCHED
    if file.sha256:
        right = said.size == size and said.sha256 == file.sha256
        return Standing.RIGHT if right else Standing.UNVOUCHED
    if from_elsewhere(said, reference, file) or (said.etag and file.etag not in ("", said.etag)):
        return Standing.OTHER
    return Standing.RIGHT if said.size == size else Standing.UNVOUCHED
