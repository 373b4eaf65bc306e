"""
Bodies of requests that cannot be read: what is wrong with one is told in the same words wherever that is seen.

    try:
        fields = decode(body)
    except UNREADABLE as error:
        raise unreadable(error) from None
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from corral.domain.errors import BadRequest

_Body = TypeVar("_Body")
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""All that a decoder raises; a field of the wrong type among it."""


def unreadable(error: BaseException) -> BadRequest:
    """What its sender is told."""
    if isinstance(error, RecursionError):
        return BadRequest("The request body is nested too deeply.")
    if isinstance(error, msgspec.ValidationError):
        return BadRequest(f"The request body is wrong: {error}.")
    return BadRequest(f"The request body is not valid JSON: {error}.")


def decoded(decode: Callable[[bytes], _Body], body: bytes) -> _Body:
    """What `decode` makes of it. Raises BadRequest."""
    try:
        return decode(body)
    except UNREADABLE as error:
        raise unreadable(error) from None
