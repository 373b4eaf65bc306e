"""Texts to be made into vectors."""

from __future__ import annotations

import msgspec


class EmbedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """
    `truncate`: a text that is too long is cut, else refused. `dimensions`: only so many, made unit vectors again.
    `normalised`: vectors of length 1; else as the engine gives them.
    """

    inputs: tuple[str, ...]
    truncate: bool = True
    dimensions: int | None = None
    normalised: bool = True
