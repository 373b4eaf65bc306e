"""
What an engine cannot bear in a request: looked at before the request goes out, whoever sends it.

Every request is read once anyway, for `model` and `stream`. `read` does that with a decoder that stumbles over whatever
could be out of range, so a plain request costs nothing more; only what stumbles is checked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from corral.domain.fleet import ModelSpec


class Wanted(Protocol):
    """What routing needs of a JSON body."""

    model: str | None
    stream: bool | None


class OwnFields(NamedTuple):
    """The request fields of one program. Pure, and quick."""

    concerns: Callable[[ModelSpec], bool]
    """Whether it is that program which serves a Model."""
    read: Callable[[bytes], Wanted]
    """
    Raises msgspec.ValidationError where `check` may find something, where a chat may need mending
    (dialects.openai.mends), and for a `model` or `stream` of wrong type.
    """
    check: Callable[[bytes, int], None]
    """See a body for an instance with so many slots. Raises BadRequest that names field and range."""
