"""Small JSON files beside a file of the store: one that is not as it should be, whoever wrote it, says nothing."""

from __future__ import annotations

from typing import Protocol, TypeVar

import msgspec

from corral.store.fetch.disk import Folder


class Versioned(Protocol):
    """What is kept so says which version of itself it is."""

    @property
    def version(self) -> int: ...


T = TypeVar("T", bound=Versioned)


def load(folder: Folder, name: str, kind: type[T], version: int) -> T | None:
    """None where there is none that can be used."""
    body = folder.read(name)
    if body is None:
        return None
    try:
        found = msgspec.json.decode(body, type=kind)
    except ValueError:  # msgspec's errors are ValueErrors
        return None
    return found if found.version == version else None
