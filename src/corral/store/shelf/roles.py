"""What a file is for, by what its header says and not by its name."""

from __future__ import annotations

from typing import Final

from corral.contracts.fetching import Role
from corral.store.gguf.header import Header

_OTHER_TYPES: Final = ("imatrix", "vocab")


def role_by_header(header: Header) -> Role:
    """Importance matrices and vocabularies are OTHER."""
    general = header.text("general.type")
    if general == "adapter" or "adapter.type" in header.metadata:
        return Role.ADAPTER
    if general == "mmproj" or header.architecture == "clip":
        return Role.PROJECTOR
    return Role.OTHER if general in _OTHER_TYPES else Role.MODEL
