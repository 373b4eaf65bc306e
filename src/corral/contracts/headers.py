"""Headers: what a model file says of itself. Read by the store, asked by engines, which know what it means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class NamedTensor(Protocol):
    """One tensor of a file."""

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> tuple[int, ...]: ...  # the first dimension varies fastest


class Header(Protocol):
    """The start of one GGUF file; `store.gguf.header.Header` is one."""

    @property
    def metadata(self) -> Mapping[str, object]: ...

    @property
    def tensors(self) -> Sequence[NamedTensor]: ...

    @property
    def architecture(self) -> str: ...

    def text(self, key: str) -> str:
        """A string of the metadata, or ""."""
        ...

    def number(self, key: str) -> int | None:
        """An integer of the architecture's own metadata: `number("block_count")`."""
        ...

    def array_length(self, key: str) -> int | None:
        """How long an array of the metadata is."""
        ...


class Headers(Protocol):
    """Reads headers. Blocks on the disk."""

    def __call__(self, path: str) -> Header:
        """The header of one file. Raises StoreFailed for one that is not whole or not GGUF."""
        ...
